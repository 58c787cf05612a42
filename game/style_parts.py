"""The geometry among the style parts: hair ribbons and spectacles that hang on the skin; how the asset's arrays become
them.

Frame and unit: x to the person's own left, y up, z forward; decimetres.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RIBBON_CENTRE, RIBBON_EXTENT = (0.0, 7.0, 0.2), 2.8
"""Hair is stored in a box around this point, +- this many dm."""
CROWN_AXIS = (5.0, 7.55, 0.30)
"""y of the lower end, y of the upper end and z of the segment inside neck and head from which hair points away."""

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Anchors:
    """Weighted means of skin vertices, and how the vertices of a part hang between them.

    indices: (A, K) int32, skin vertices of an anchor; weights: (A, K) float32, rows sum to 1.
    first, second: (N,) int32, the two anchors of a part's vertex; share: (N,) float32 in [0, 1], the share of
    ``second``.
    """

    indices: NDArray[np.int32]
    weights: Array
    first: NDArray[np.int32]
    second: NDArray[np.int32]
    share: Array

    def spread(self, values: NDArray[np.floating]) -> Array:
        """Carry values of the skin vertices, (V,) or (V, C), to the part's vertices: (N,) or (N, C) float32."""
        values = np.asarray(values, np.float32)
        columns = values.reshape(len(values), -1)
        anchors = np.einsum("ak,akc->ac", self.weights, np.take(columns, self.indices, axis=0))
        out = np.take(anchors, self.first, axis=0)
        out += self.share[:, None] * (np.take(anchors, self.second, axis=0) - out)
        return out.reshape(len(out), *values.shape[1:])


@dataclass(frozen=True)
class Part:
    """Triangles that follow the face.

    vertices: (N, 3) float32 rest positions on the base face, dm. normals: (N, 3) float32 unit.
    triangles: (T, 3) int32 into ``vertices``; drawn from both sides.
    anchors: how it hangs on the skin; rest: (N, 3) float32, ``anchors.spread(base)``.
    """

    name: str
    vertices: Array
    normals: Array
    triangles: NDArray[np.int32]
    anchors: Anchors
    rest: Array

    def attach(self, vertices: NDArray[np.floating]) -> Array:
        """Positions (N, 3) float32 on a face of skin vertices (V, 3), dm.

        Give the face *before* the head turns (identity, and expression where wanted), then turn the result with the
        weights of :meth:`pose_weights`: displacements alone would shear what stands off the skin.
        """
        return self.vertices + (self.anchors.spread(vertices) - self.rest)

    def pose_weights(self, skin_weights: NDArray[np.floating]) -> Array:
        """The share (N,) float32 of the head's rotation that each vertex follows, from that of the skin vertices
        (V,).
        """
        return self.anchors.spread(skin_weights)


@dataclass(frozen=True)
class HairStyle(Part):
    """Hair as ribbons: flat strips of triangles with tapered ends.

    tangents: (N, 3) float32 unit, root to tip. along: (N,) float32, 0 root, 1 tip. across: (N,) float32 in [-1, 1],
    from edge to edge (paint fine fibres with it). random: (N,) float32 in [0, 1], one value per ribbon (vary colour and
    highlight). openness: (N,) float32 in [0, 1], how much sky reaches the vertex through the other hair (0 deep inside,
    1 outermost).
    """

    tangents: Array
    along: Array
    across: Array
    random: Array
    openness: Array


@dataclass(frozen=True)
class Eyewear(Part):
    """Spectacles. material: (N,) uint8, 0 frame, 1 lens. colour: (3,) float32 linear RGB of the frame.

    lens_colour: (3,) float32 linear RGB; lens_opacity: in [0, 1], 1 hides the eyes.
    Every triangle is of one material. Lenses are to be blended over the picture, frames drawn solid.
    """

    material: NDArray[np.uint8]
    colour: Array
    lens_colour: Array
    lens_opacity: float

    @property
    def triangle_is_lens(self) -> NDArray[np.bool_]:
        """(T,) bool."""
        return self.material[self.triangles[:, 0]] == 1


def linear_rgb(colours: tuple[str, ...]) -> Array:
    """ "#rrggbb" sRGB colours as (n, 3) float32 linear RGB in [0, 1]."""
    srgb = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colours], np.float64) / 255
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4).astype(np.float32)


def outward(points: NDArray[np.floating]) -> NDArray[np.floating]:
    """Smooth unit directions (..., 3) away from the inside of head and neck, at points (..., 3): what hair is lit
    by.
    """
    low, high, z = CROWN_AXIS
    away = np.array(points, copy=True)
    away[..., 1] -= away[..., 1].clip(low, high)
    away[..., 2] -= z
    return _unit(away)


def _unit(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)


def ribbons(name: str, arrays: Mapping[str, NDArray[np.generic]], base: NDArray[np.floating]) -> HairStyle:
    """The hair style stored as ``arrays`` (see ``game.baking.hair_pack.pack``) on base skin vertices (V, 3)."""
    points = (arrays["points"].astype(np.float32) - 32768) / 32767 * RIBBON_EXTENT + np.array(RIBBON_CENTRE, np.float32)
    lengths = arrays["lengths"].astype(np.int32)
    first = np.cumsum(lengths) - lengths
    strand = np.repeat(np.arange(len(lengths)), lengths)
    index = np.arange(len(points))
    is_first, is_last = index == first[strand], index == (first + lengths - 1)[strand]
    following, preceding = points[np.where(is_last, index, index + 1)], points[np.where(is_first, index, index - 1)]
    travelled = np.cumsum(np.where(is_first, 0, np.linalg.norm(points - preceding, axis=1)), dtype=np.float64)
    travelled -= travelled[first[strand]]
    along = (travelled / travelled[(first + lengths - 1)[strand]]).astype(np.float32)
    tangents = _unit(following - preceding)
    away = outward(points)
    normals = _unit(away - (away * tangents).sum(1, keepdims=True) * tangents)
    shape = arrays["shape"].astype(np.float32)[strand]
    twist = ((shape[:, 1] - 128) / 127)[:, None]
    side = np.cross(tangents, normals) * np.cos(twist) + normals * np.sin(twist)
    taper = (0.35 + 0.65 * np.minimum(travelled / 0.05, 1)) * (1 - 0.94 * along**3)
    half = side * (shape[:, 0] / 2000 * taper)[:, None]
    edges = np.stack([points - half, points + half], 1).reshape(-1, 3)
    left = 2 * np.flatnonzero(~is_last)
    triangles = np.stack([left, left + 1, left + 2, left + 1, left + 3, left + 2], 1).reshape(-1, 3)
    anchors = _strand_anchors(arrays, np.repeat(strand, 2), np.repeat(along, 2))

    def doubled(values: NDArray[np.floating]) -> Array:
        return np.repeat(values, 2, axis=0).astype(np.float32)

    return HairStyle(
        name=name,
        vertices=edges.astype(np.float32),
        normals=doubled(normals),
        triangles=triangles.astype(np.int32),
        anchors=anchors,
        rest=anchors.spread(base),
        tangents=doubled(tangents),
        along=doubled(along),
        across=np.tile(np.array([-1, 1], np.float32), len(points)),
        random=doubled(shape[:, 2] / 255),
        openness=doubled(arrays["openness"].astype(np.float32) / 255),
    )


def _strand_anchors(arrays: Mapping[str, NDArray[np.generic]], strand: NDArray[np.int_], along: Array) -> Anchors:
    """Vertices hang between root and middle, or between middle and tip, of their strand."""
    weights = arrays["anchor_weights"].reshape(-1, arrays["anchor_weights"].shape[-1]).astype(np.float32)
    half = along > 0.5
    first = (strand * 3 + half).astype(np.int32)
    return Anchors(
        indices=arrays["anchor_indices"].reshape(weights.shape).astype(np.int32),
        weights=weights / weights.sum(1, keepdims=True),
        first=first,
        second=first + 1,
        share=(2 * along - half).astype(np.float32),
    )


def eyewear(name: str, arrays: Mapping[str, NDArray[np.generic]], base: NDArray[np.floating]) -> Eyewear:
    """The spectacles stored as ``arrays`` (see ``game.baking.eyewear.build``) on base skin vertices (V, 3)."""
    vertices = arrays["vertices"].astype(np.float32)
    triangles = arrays["triangles"].astype(np.int32)
    anchors = Anchors(
        indices=arrays["anchor_indices"].astype(np.int32),
        weights=arrays["anchor_weights"].astype(np.float32),
        first=arrays["first"].astype(np.int32),
        second=arrays["second"].astype(np.int32),
        share=arrays["share"].astype(np.float32),
    )
    corners = vertices[triangles]
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normals, triangles[:, k], faces)
    frame, lens = linear_rgb(tuple(f"#{r:02x}{g:02x}{b:02x}" for r, g, b in arrays["colours"].tolist()))
    return Eyewear(
        name=name,
        vertices=vertices,
        normals=_unit(normals).astype(np.float32),
        triangles=triangles,
        anchors=anchors,
        rest=anchors.spread(base),
        material=arrays["material"],
        colour=frame,
        lens_colour=lens,
        lens_opacity=float(arrays["opacity"]),
    )
