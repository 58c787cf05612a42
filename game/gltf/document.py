"""The glTF document of a character: nodes, skin, meshes and materials.

    scene
      neck         joint at the origin: what does not follow the head
        head       joint, turned by the character's pose
      face         mesh (skin, eyes, mouth, lashes) with morph targets, skinned to both joints
      hair         mesh, skinned too, with morph targets where it moves with the face

The rig blends linearly between the still and the turned head, which is what skinning with two joints does: a game
that turns the head joint bends the neck as the reference game does.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from game.gltf.container import ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER, GlbBuilder
from game.gltf.geometry import METRES, Morph, Shapes

Array = NDArray[np.float32]

_LINEAR, _MIPMAPS, _CLAMP = 9729, 9987, 33071
_FULL = 65535


def add_rig_nodes(builder: GlbBuilder, pose: NDArray[np.floating]) -> int:
    """Append the neck and head joints, turned by ``pose`` (pitch, yaw in degrees), and the skin. Returns the skin's
    index.

    The neck becomes node 0, the head node 1.
    """
    builder.add("nodes", name="neck", children=[1])
    builder.add("nodes", name="head", rotation=quaternion(*(float(angle) for angle in pose)))
    rest = builder.add_accessor(np.stack([np.eye(4, dtype=np.float32)] * 2))
    return builder.add("skins", name="head", joints=[0, 1], skeleton=0, inverseBindMatrices=rest)


def quaternion(pitch: float, yaw: float) -> list[float]:
    """(x, y, z, w) of :func:`game.rig.rotation`: look up by ``pitch`` degrees, then turn left by ``yaw`` degrees."""
    a, b = math.radians(-pitch) / 2, math.radians(yaw) / 2
    return [
        math.cos(b) * math.sin(a), math.sin(b) * math.cos(a), -math.sin(b) * math.sin(a), math.cos(b) * math.cos(a),
    ]  # fmt: skip


def add_vertices(builder: GlbBuilder, vertices: Array, normals: Array, pose_weights: Array, pivot: Array) -> dict[str, int]:
    """Append vertices (N, 3) in dm, unit normals (N, 3) and shares (N,) of the head's turn; returns the attributes."""
    head = np.round(np.clip(pose_weights, 0, 1) * _FULL).astype(np.uint16)
    weights = np.zeros((len(head), 4), np.uint16)
    weights[:, 0], weights[:, 1] = _FULL - head, head
    joints = np.zeros((len(head), 4), np.uint8)
    joints[:, 1] = head > 0
    return {
        "POSITION": builder.add_accessor((vertices - pivot) * METRES, target=ARRAY_BUFFER, bounds=True),
        "NORMAL": builder.add_accessor(normals, target=ARRAY_BUFFER),
        "JOINTS_0": builder.add_accessor(joints, target=ARRAY_BUFFER),
        "WEIGHTS_0": builder.add_accessor(weights, target=ARRAY_BUFFER, normalised=True),
    }


def add_uv(builder: GlbBuilder, uv: NDArray[np.uint16]) -> int:
    """Append texture coordinates (N, 2), 65535 for 1."""
    return builder.add_accessor(uv, target=ARRAY_BUFFER, normalised=True)


def add_primitive(
    builder: GlbBuilder,
    attributes: dict[str, int],
    triangles: NDArray[np.integer],
    material: int,
    morphs: list[Morph] | None,
    count: int,
) -> dict[str, Any]:
    """Append the triangles (T, 3) and morph targets of ``count`` vertices. Returns the primitive's JSON."""
    narrow = triangles.astype(np.uint16 if count <= 0xFFFF else np.uint32).ravel()
    primitive: dict[str, Any] = {
        "attributes": attributes,
        "indices": builder.add_accessor(narrow, target=ELEMENT_ARRAY_BUFFER),
        "material": material,
    }
    if morphs is not None:
        primitive["targets"] = [_target(builder, morph, count) for morph in morphs]
    return primitive


def _target(builder: GlbBuilder, morph: Morph, count: int) -> dict[str, int]:
    if morph.normals is None:
        return {"POSITION": builder.add_sparse(count, morph.where, morph.positions)[0]}
    position, normal = builder.add_sparse(count, morph.where, morph.positions, morph.normals)
    return {"POSITION": position, "NORMAL": normal}


def add_mesh(builder: GlbBuilder, name: str, primitives: list[dict[str, Any]], skin: int, shapes: Shapes | None) -> int:
    """Append a mesh and its node, with the names and weights of ``shapes`` where given; returns the node's index."""
    weights = None if shapes is None else [float(weight) for weight in shapes.weights]
    extras = None if shapes is None else {"targetNames": list(shapes.names)}
    mesh = builder.add("meshes", name=name, primitives=primitives, weights=weights, extras=extras)
    return builder.add("nodes", name=name, mesh=mesh, skin=skin)


class MaterialShelf:
    """Appends the materials of a character, and their textures."""

    def __init__(self, builder: GlbBuilder) -> None:
        self._builder = builder
        self._sampler = builder.add("samplers", magFilter=_LINEAR, minFilter=_MIPMAPS, wrapS=_CLAMP, wrapT=_CLAMP)

    def add(
        self,
        name: str,
        roughness: float,
        *,
        colour: NDArray[np.floating] | None = None,
        picture: tuple[bytes, str] | None = None,
        surface: tuple[bytes, str] | None = None,
        cut_out: bool = False,
        two_sided: bool = False,
    ) -> int:
        """Append a dielectric material.

        ``colour``: linear RGB factor. ``picture``: encoded colours and their MIME type; ``cut_out`` hides what its
        alpha leaves below one half. ``surface``: encoded occlusion (red) and roughness (green), scaled by
        ``roughness``.
        """
        pbr: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": roughness}
        if colour is not None:
            pbr["baseColorFactor"] = [round(float(channel), 6) for channel in np.clip(colour, 0, 1)] + [1.0]
        if picture is not None:
            pbr["baseColorTexture"] = {"index": self._builder.add_texture(name, *picture, self._sampler)}
        occlusion = None
        if surface is not None:
            texture = {"index": self._builder.add_texture(f"{name}_surface", *surface, self._sampler)}
            pbr["metallicRoughnessTexture"], occlusion = texture, texture
        return self._builder.add(
            "materials",
            name=name,
            pbrMetallicRoughness=pbr,
            occlusionTexture=occlusion,
            alphaMode="MASK" if cut_out else None,
            alphaCutoff=0.5 if cut_out else None,
            doubleSided=True if two_sided else None,
        )
