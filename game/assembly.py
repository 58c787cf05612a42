"""One mesh from head, spectacles and hair, packed for the kernels.

The triangles and everything fixed about the vertices (template position, masks, ribbon coordinates) are put together once per
combination of hair and spectacles; for every picture only positions, normals and hair tangents are filled in.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from game.kernels import KERNEL
from game.materials import (
    ACROSS,
    ALONG,
    CHANNELS,
    EARS,
    LIDS,
    MOUTH,
    NECK,
    NORMAL,
    NOSE,
    OCCLUSION,
    OPENNESS,
    POSITION,
    RANDOM,
    TANGENT,
    TEMPLATE,
)
from game.rasteriser import vertex_normals
from game.rig import PARTS, Rig, rotation
from game.shading import M_FRAME, M_HAIR, MATERIALS
from game.styles import Eyewear, HairStyle

Array = NDArray[np.float32]

LAYERS = 8
"""Depth layers in which hair is drawn; the renderer brings its depth tiles up to date between them."""

_PART_MATERIAL = {
    "skin": "skin",
    "eye_left": "eye",
    "eye_right": "eye",
    "teeth_upper": "tooth_upper",
    "teeth_lower": "tooth_lower",
    "tongue": "tongue",
    "lashes": "lash",
}
_MASKS = {
    "nose": NOSE, "ears": EARS, "neck": NECK, "eyelids": LIDS, "mouth_interior": MOUTH,
}  # fmt: skip


@njit(**KERNEL)
def _turn_points(points, turn, pivot, shares, packed, first):
    """Write points (N, 3), turned about the pivot by each one's share of the rotation (3, 3), into packed rows."""
    for i in range(points.shape[0]):
        x, y, z = points[i, 0] - pivot[0], points[i, 1] - pivot[1], points[i, 2] - pivot[2]
        for k in range(3):
            turned = turn[k, 0] * x + turn[k, 1] * y + turn[k, 2] * z + pivot[k]
            packed[first + i, POSITION + k] = points[i, k] + shares[i] * (turned - points[i, k])


@njit(**KERNEL)
def _attach(rest, moved, indices, weights, first, second, share, attached):
    """:meth:`game.styles.Part.attach` in one pass: ``moved`` (V, 3) is how far the skin's vertices are from the base face's."""
    count, reach = indices.shape
    anchors = np.zeros((count, 3), np.float32)
    for i in range(count):
        for j in range(reach):
            for k in range(3):
                anchors[i, k] += weights[i, j] * moved[indices[i, j], k]
    for i in range(rest.shape[0]):
        for k in range(3):
            start = anchors[first[i], k]
            attached[i, k] = rest[i, k] + start + share[i] * (anchors[second[i], k] - start)


@njit(**KERNEL)
def _turn_vectors(vectors, turn, shares, packed, first, channel):
    """Write directions (N, 3), turned by each one's share of the rotation (3, 3), into packed rows."""
    for i in range(vectors.shape[0]):
        x, y, z = vectors[i, 0], vectors[i, 1], vectors[i, 2]
        for k in range(3):
            turned = turn[k, 0] * x + turn[k, 1] * y + turn[k, 2] * z
            packed[first + i, channel + k] = vectors[i, k] + shares[i] * (turned - vectors[i, k])


def _head_rows(rig: Rig) -> Array:
    """Packed vertices of the base head, with everything but normals."""
    rows = np.zeros((len(rig.base), CHANNELS), np.float32)
    rows[:, POSITION : POSITION + 3] = rig.base
    rows[:, TEMPLATE : TEMPLATE + 3] = rig.base
    rows[:, OCCLUSION] = rig.ambient_occlusion
    for mask, channel in _MASKS.items():
        rows[:, channel] = rig.masks[mask]
    return rows


def _head_materials(rig: Rig) -> NDArray[np.uint8]:
    """Material (T,) of every triangle of the head."""
    by_part = np.array([MATERIALS.index(_PART_MATERIAL[name]) for name in PARTS], np.uint8)
    material = by_part[rig.part]
    inside = rig.masks["mouth_interior"][rig.triangles].mean(1) > 0.5
    material[inside & (material == MATERIALS.index("skin"))] = MATERIALS.index("mouth")
    return material


class Assembly:
    """Head, spectacles and hair as one mesh.

    ``packed`` (N, CHANNELS) float32 vertices; ``triangles`` (T, 3) int32 into them, ``material`` (T,) uint8;
    ``shadow_casters``: the triangles of the spectacles and of most ribbons, which shade as well as all of them do;
    ``head``, ``frame``, ``hair``: the ranges of triangles of each; ``lenses`` (L, 3) int32 triangles of the spectacles' glass.
    """

    def __init__(self, rig: Rig, hair: HairStyle | None, eyewear: Eyewear | None) -> None:
        self.rig, self.hair_style, self.eyewear = rig, hair, eyewear
        rows, triangles, material = [_head_rows(rig)], [rig.triangles], [_head_materials(rig)]
        self.head = (0, len(rig.triangles))
        self.frame_row = self.hair_row = len(rig.base)
        self.lenses = np.zeros((0, 3), np.int32)
        if eyewear is not None:
            rows.append(np.zeros((len(eyewear.vertices), CHANNELS), np.float32))
            lens = eyewear.triangle_is_lens
            self.lenses = (eyewear.triangles[lens] + self.frame_row).astype(np.int32)
            triangles.append(eyewear.triangles[~lens] + self.frame_row)
            material.append(np.full(len(triangles[-1]), M_FRAME, np.uint8))
            self.hair_row += len(eyewear.vertices)
        self.frame = (self.head[1], sum(map(len, triangles)))
        if hair is not None:
            ribbons = np.zeros((len(hair.vertices), CHANNELS), np.float32)
            ribbons[:, RANDOM], ribbons[:, ALONG], ribbons[:, ACROSS] = hair.random, hair.along, hair.across
            ribbons[:, OPENNESS] = hair.openness
            rows.append(ribbons)
            triangles.append(_drawing_order(hair) + self.hair_row)
            material.append(np.full(len(hair.triangles), M_HAIR, np.uint8))
        self.hair = (self.frame[1], sum(map(len, triangles)))
        self.packed = _aligned(np.concatenate(rows))
        self.triangles = np.ascontiguousarray(np.concatenate(triangles), np.int32)
        self.material = np.concatenate(material)
        self.owner = np.ascontiguousarray(self.packed[:, [RANDOM, ALONG, ACROSS]])
        frame, strips = self.triangles[self.frame[0] : self.frame[1]], self.triangles[self.hair[0] :]
        most = self.packed[strips[:, 0], RANDOM] < 0.7
        self.shadow_casters = np.ascontiguousarray(np.concatenate([frame, strips[most]]))
        self._normals = np.zeros((len(rig.base), 3), np.float32)
        self._attached = [(part, row) for part, row in ((eyewear, self.frame_row), (hair, self.hair_row)) if part is not None]
        self._head_shares = np.array(rig.pose_weights, np.float32)
        self._shares = [np.ascontiguousarray(part.pose_weights(rig.pose_weights), np.float32) for part, _ in self._attached]

    def place(self, face: Array, pose: NDArray[np.floating]) -> Array:
        """Fill in a face: vertices (V, 3) before the head turns, and (pitch, yaw) in degrees. Returns the turned vertices."""
        turn = rotation(float(pose[0]), float(pose[1]))
        packed, pivot, count = self.packed, self.rig.pose_pivot, len(face)
        _turn_points(face, turn, pivot, self._head_shares, packed, 0)
        turned = np.ascontiguousarray(packed[:count, POSITION : POSITION + 3])
        vertex_normals(turned, self.triangles[: self.head[1]], self._normals)
        packed[:count, NORMAL : NORMAL + 3] = self._normals
        moved = face - self.rig.base
        for (part, row), shares in zip(self._attached, self._shares, strict=True):
            hung = part.anchors
            attached = np.empty(part.vertices.shape, np.float32)
            _attach(part.vertices, moved, hung.indices, hung.weights, hung.first, hung.second, hung.share, attached)
            _turn_points(attached, turn, pivot, shares, packed, row)
            _turn_vectors(part.normals, turn, shares, packed, row, NORMAL)
            if isinstance(part, HairStyle):
                _turn_vectors(part.tangents, turn, shares, packed, row, TANGENT)
        return turned


def _aligned(rows: Array) -> Array:
    """A copy whose rows of 64 bytes each fill one line of the cache."""
    buffer = np.empty(rows.size + 16, np.float32)
    start = (-buffer.ctypes.data // 4) % 16
    aligned = buffer[start : start + rows.size].reshape(rows.shape)
    aligned[:] = rows
    return aligned


def _drawing_order(hair: HairStyle) -> NDArray[np.int32]:
    """The ribbons' triangles (T, 3) in an order that is fast to draw: in layers from front to back, so that what is hidden fails
    the depth test early, and within a layer along a space-filling curve, so that neighbours find the buffers in the cache."""
    corners = hair.vertices[hair.triangles]
    front = corners[..., 2].mean(1) + hair.openness[hair.triangles].mean(1)
    layer = LAYERS - 1 - (np.argsort(np.argsort(front, kind="stable")) * LAYERS) // max(len(front), 1)
    cell = np.clip((corners[..., :2].mean(1) - (-2.0, 4.0)) / 0.1, 0, 63).astype(np.int64)
    return hair.triangles[np.lexsort((_interleaved(cell), layer))]


def _interleaved(cell: NDArray[np.int64]) -> NDArray[np.int64]:
    """Place of cells (N, 2) of a 64 x 64 grid along the Z-order curve."""
    code = np.zeros(len(cell), np.int64)
    for bit in range(6):
        code |= ((cell[:, 0] >> bit) & 1) << (2 * bit) | ((cell[:, 1] >> bit) & 1) << (2 * bit + 1)
    return code
