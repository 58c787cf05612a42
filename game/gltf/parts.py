"""The primitives of a character: skin, eyes, mouth and lashes of the face's mesh, and the hair."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from game.assembly import Assembly
from game.gltf import document, geometry, textures
from game.gltf.atlas import row_atlas, skin_atlas
from game.gltf.container import ARRAY_BUFFER, GlbBuilder
from game.gltf.document import MaterialShelf
from game.gltf.geometry import Shapes, Surface
from game.gltf.texels import Atlas
from game.materials import NORMAL, Paint, Textures
from game.rig import PARTS, Rig, is_of
from game.style_parts import HairStyle

Array = NDArray[np.float32]

SKIN_TEXELS, MOUTH_TEXELS, SURFACE_TEXELS = 1024, 256, 512
EYES, MOUTH, LASHES = ("eye_left", "eye_right"), ("teeth_upper", "teeth_lower", "tongue"), ("lashes",)


class FaceParts:
    """Adds the primitives of a face to a file. ``paint`` and ``pictures``: the colours and textures of its style."""

    def __init__(self, builder: GlbBuilder, rig: Rig, shapes: Shapes, paint: Paint, pictures: Textures) -> None:
        self._builder, self._rig, self._shapes = builder, rig, shapes
        self._paint, self._pictures = paint, pictures
        self._shelf = MaterialShelf(builder)
        self._normals = geometry.normals_of(shapes.neutral, rig.triangles)
        self._morphs = geometry.skin_morphs(rig, shapes)
        base = Assembly(rig, None, None)
        self._packed, self._material = np.array(base.packed), base.material
        self._packed[:, NORMAL : NORMAL + 3] = geometry.normals_of(rig.base, rig.triangles)

    def primitives(self) -> list[dict[str, Any]]:
        """The JSON of all primitives of the face's mesh."""
        return [self._skin(), self._eyes(), self._mouth(), self._lashes()]

    def _chosen(self, parts: tuple[str, ...]) -> NDArray[np.bool_]:
        return is_of(self._rig.part, *parts)

    def _skin(self) -> dict[str, Any]:
        chosen = self._chosen(("skin",))
        triangles, uv = self._rig.triangles[chosen], skin_atlas(self._rig.uv[chosen])
        colours = textures.colours(
            Atlas(uv, triangles, SKIN_TEXELS), self._packed, self._material[chosen], self._paint, self._pictures
        )
        surface = textures.surface(Atlas(uv, triangles, SURFACE_TEXELS), self._rig.ambient_occlusion, self._rig.masks["lips"])
        material = self._shelf.add("skin", 1.0, picture=textures.jpeg(colours), surface=textures.jpeg(surface))
        return self._add(triangles, uv, material)

    def _eyes(self) -> dict[str, Any]:
        """Both eyeballs share one picture, projected along z."""
        triangles = self._rig.triangles[self._chosen(EYES)]
        uv = np.zeros((*triangles.shape, 2), np.float32)
        for part in EYES:
            vertices = self._rig.vertex_part == PARTS.index(part)
            offset = self._rig.base - self._rig.base[vertices].mean(0)
            own = vertices[triangles]
            uv[own] = 0.5 + 0.5 / textures.EYE_REACH * (offset[triangles][own][:, :2] * (1.0, -1.0))
        material = self._shelf.add("eyes", 0.12, picture=textures.jpeg(textures.eyeball(self._paint)))
        return self._add(triangles, uv, material)

    def _mouth(self) -> dict[str, Any]:
        chosen = self._chosen(MOUTH)
        triangles, uv = self._rig.triangles[chosen], row_atlas(self._rig.uv[chosen])
        atlas = Atlas(uv, triangles, MOUTH_TEXELS)
        # The renderer's teeth and tongue lie in deep shade, of which a viewer adds its own.
        colours = textures.colours(atlas, self._packed, self._material[chosen], self._paint, self._pictures, strength=1.6)
        return self._add(triangles, uv, self._shelf.add("mouth", 0.6, picture=textures.jpeg(colours)))

    def _lashes(self) -> dict[str, Any]:
        colour = 0.008 + 0.16 * np.asarray(self._paint.brow)
        material = self._shelf.add("lashes", 0.9, colour=colour, two_sided=True)
        return self._add(self._rig.triangles[self._chosen(LASHES)], None, material)

    def _add(self, triangles: NDArray[np.int32], uv: Array | None, material: int) -> dict[str, Any]:
        rig = self._rig
        surface = Surface.split(triangles, np.zeros((*triangles.shape, 2)) if uv is None else uv)
        source, count = surface.source, len(surface.source)
        attributes = document.add_vertices(
            self._builder, self._shapes.neutral[source], self._normals[source], rig.pose_weights[source], rig.pose_pivot
        )
        if uv is not None:
            attributes["TEXCOORD_0"] = document.add_uv(self._builder, surface.uv)
        morphs = [geometry.on_surface(morph, surface, len(rig.base)) for morph in self._morphs]
        return document.add_primitive(self._builder, attributes, surface.triangles, material, morphs, count)

    def hair(self, hair: HairStyle) -> tuple[dict[str, Any], bool]:
        """The JSON of the hair's primitive, and whether it moves with the face."""
        vertices, taper = geometry.even_ribbons(hair, hair.attach(self._shapes.neutral))
        shares = hair.pose_weights(self._rig.pose_weights)
        attributes = document.add_vertices(self._builder, vertices, hair.normals, shares, self._rig.pose_pivot)
        attributes["TEXCOORD_0"] = document.add_uv(self._builder, _ribbon_uv(hair))
        attributes["COLOR_0"] = self._builder.add_accessor(_ribbon_tone(hair), target=ARRAY_BUFFER, normalised=True)
        picture, brightest = textures.strands(taper)
        material = self._shelf.add(
            "hair", 0.72, colour=np.asarray(self._paint.hair) * brightest, picture=textures.png(picture),
            cut_out=True, two_sided=True,
        )  # fmt: skip
        triangles = geometry.facing_outwards(hair.triangles, hair.vertices, hair.normals)
        morphs = geometry.hair_morphs(hair, self._shapes)
        moves = any(len(morph.where) for morph in morphs)
        primitive = document.add_primitive(
            self._builder, attributes, triangles, material, morphs if moves else None, len(vertices)
        )
        return primitive, moves


def _ribbon_uv(hair: HairStyle) -> NDArray[np.uint16]:
    """Texture coordinates (N, 2): each hair ribbon takes the picture of the ribbon with about its random number."""
    ribbon = np.minimum((hair.random * textures.RIBBONS).astype(int), textures.RIBBONS - 1)
    margin = textures.RIBBON_MARGIN / textures.RIBBON_WIDTH
    across = margin + (1 - 2 * margin) * (hair.across + 1) / 2
    return np.round(65535 * np.stack([(ribbon + across) / textures.RIBBONS, hair.along], axis=1)).astype(np.uint16)


def _ribbon_tone(hair: HairStyle) -> NDArray[np.uint8]:
    """Vertex colours (N, 4), grey: ribbons differ, roots are dark, and so is what lies deep in the hair."""
    rise = np.clip(hair.along / 0.3, 0, 1)
    root = 0.55 + 0.45 * rise * rise * (3 - 2 * rise)
    tone = (0.62 + 0.38 * hair.random) * root * (0.35 + 0.65 * hair.openness)
    return np.round(255 * np.stack([tone, tone, tone, np.ones_like(tone)], axis=1)).astype(np.uint8)
