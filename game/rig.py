"""The reference game's face rig: 244 identity sliders, 23 action units, gaze and head pose -> vertices.

    vertices = base + identity @ identity_basis + actions @ arkit_basis      (linear: displacement fields on one mesh)
             -> lids and lips kept apart                                     (:mod:`game.apertures`)
             -> turned about the neck with smooth weights

A slider is an affine map on a few weight fields (:mod:`game.baking.handles`), so identity costs one small matrix
product instead of one with the whole (244, V, 3) basis; :attr:`Rig.identity_basis` expands it where it is wanted
(training, PCA).

Frame: x to the person's own left, y up, z forward; decimetres. Pitch > 0 looks up, yaw > 0 turns to the person's own
left; degrees.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, cached_property

import numpy as np
import numpy.typing as npt

from game.apertures import Apertures
from game.asset import load_asset
from sdk import arkit

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]

PARTS = ("skin", "eye_left", "eye_right", "teeth_upper", "teeth_lower", "tongue", "lashes")
"""Part classes of vertices and triangles, in the order of their numbers."""

GAZE_ACTIONS = {
    "left": ("eyeLookOutLeft", "eyeLookInRight"),
    "right": ("eyeLookInLeft", "eyeLookOutRight"),
    "up": ("eyeLookUpLeft", "eyeLookUpRight"),
    "down": ("eyeLookDownLeft", "eyeLookDownRight"),
}
"""ARKit actions of looking to the person's own left and right, up and down."""


class Rig:
    """The face rig. Use :meth:`load`, which is cached; arrays are read-only and shared.

    Attributes (V vertices, T triangles):
        base: (V, 3) float32, the base face. triangles: (T, 3) int32. uv: (T, 3, 2) float32 per corner in MakeHuman's
            square, v up.
        part: (T,) uint8 and vertex_part: (V,) uint8, indices into :data:`PARTS`.
        masks: (V,) float32 in [0, 1] for lips, nose, ears, neck, mouth_interior, eyelids.
        ambient_occlusion: (V,) float32 in [0, 1], 1 is open. mirror: (V,) int32, the vertex on the other side.
        field_weights: (F, V) float32 and slider_maps: (244, F, 3, 4) float32, the identity basis in factors: each
            slider adds an affine map of positions relative to slider_origin (3,) to each field.
        arkit_names: the 52 names; arkit_basis: (52, V, 3) float32; expression_mix: (23, 52) float32, ARKit weights of
            each unit.
        pose_pivot: (3,) float32; pose_weights: (V,) float32, share of the head's rotation.
        landmark_vertices: (468, 3) int32 and landmark_weights: (468, 3) float32, MediaPipe's points on the mesh.
        landmark_mirror: (468,) int32, the point on the other side. landmarks68: (68,) int32, the usual 68 points among
            the 468.
        phenotype_identity: (N, 244) float32 sampled people as identity sliders; phenotype_traits: (N, 7) float32, named
            by trait_names.
    """

    def __init__(self, arrays: Mapping[str, npt.NDArray]) -> None:
        def get(name: str) -> npt.NDArray:
            array = arrays[f"rig/{name}"]
            if array.dtype == np.float16:
                array = array.astype(np.float32)
                array.setflags(write=False)
            return array

        self.base: FloatArray = get("base")
        self.triangles: IntArray = get("triangles")
        self.part: npt.NDArray[np.uint8] = get("triangle_part")
        self.vertex_part: npt.NDArray[np.uint8] = _vertex_part(self.triangles, self.part, len(self.base))
        self.uv: FloatArray = get("uv")
        self.mirror: IntArray = get("mirror")
        self.ambient_occlusion: FloatArray = get("ambient_occlusion")
        self.masks = {key.split("/")[2]: get(key.removeprefix("rig/")) for key in arrays if key.startswith("rig/masks/")}
        self.field_weights: FloatArray = get("field_weights")
        self.slider_maps: FloatArray = get("slider_maps")
        self.slider_origin: FloatArray = get("slider_origin")
        self.arkit_names = tuple(str(name) for name in get("arkit_names"))
        self.arkit_basis: FloatArray = get("arkit_basis")
        self.expression_mix: FloatArray = get("expression_mix")
        self.pose_pivot: FloatArray = get("pose_pivot")
        self.pose_weights: FloatArray = get("pose_weights")
        self.landmark_vertices: IntArray = get("landmark_vertices")
        self.landmark_weights: FloatArray = get("landmark_weights")
        self.landmark_mirror: IntArray = get("landmark_mirror")
        self.landmarks68: IntArray = get("landmarks68")
        self.phenotype_identity: FloatArray = get("phenotype_identity")
        self.phenotype_traits: FloatArray = get("phenotype_traits")
        self.trait_names = tuple(str(name) for name in get("trait_names"))
        prefix = "rig/aperture_"
        self.apertures = Apertures.from_arrays(
            {key.removeprefix(prefix): get(key.removeprefix("rig/")) for key in arrays if key.startswith(prefix)},
            closing_fields=self.expression_basis[:2],
        )
        # (244, 12 * F), so that each vertex's own affine map comes out with one contiguous row (V,) per coefficient.
        self._maps_flat = np.ascontiguousarray(self.slider_maps.transpose(0, 2, 3, 1)).reshape(len(self.slider_maps), -1)
        self._base_rows = np.ascontiguousarray((self.base - self.slider_origin).T)  # (3, V)
        self._expression_flat = self.expression_basis.reshape(len(self.expression_mix), -1)

    @staticmethod
    @cache
    def load() -> Rig:
        """The rig of the packaged asset; :class:`game.asset.AssetError` where that is missing."""
        return Rig(load_asset())

    @cached_property
    def identity_basis(self) -> FloatArray:
        """(244, V, 3) float32 displacement of each identity slider at 1 (16 MB, made when first asked for)."""
        homogeneous = np.concatenate([self.base - self.slider_origin, np.ones((len(self.base), 1), np.float32)], 1)
        basis = np.zeros((len(self.slider_maps), len(self.base), 3), np.float32)
        for field, weights in enumerate(self.field_weights):
            moved = np.flatnonzero(weights)
            for slider in np.flatnonzero(np.abs(self.slider_maps[:, field]).max((1, 2))):
                basis[slider, moved] += weights[moved, None] * (homogeneous[moved] @ self.slider_maps[slider, field].T)
        basis.setflags(write=False)
        return basis

    @cached_property
    def expression_basis(self) -> FloatArray:
        """(23, V, 3) float32 displacement of each action unit at 1."""
        return np.tensordot(self.expression_mix, self.arkit_basis, axes=1)

    @cached_property
    def gaze_basis(self) -> FloatArray:
        """(4, V, 3) float32 displacement of looking fully to the person's own left, right, up, down."""
        index = self.arkit_names.index
        return np.stack([self.arkit_basis[[index(name) for name in names]].sum(0) for names in GAZE_ACTIONS.values()])

    def vertices(
        self,
        identity: npt.ArrayLike | None = None,
        expression: npt.ArrayLike | None = None,
        pose: npt.ArrayLike | None = None,
        gaze: npt.ArrayLike | None = None,
    ) -> FloatArray:
        """Deformed vertices (V, 3) float32, dm.

        ``identity`` (244,) in [-1, 1]; ``expression`` (23,) in [0, 1]; ``pose`` (pitch, yaw) in degrees; ``gaze`` (x,
        y) in [-1, 1], x to the person's own left, y up. What is not given is 0. ValueError for a wrong shape. Values
        outside the ranges extrapolate.
        """
        vertices = self.base.copy()
        if identity is not None:
            self._add_identity(vertices, _vector(identity, len(self.slider_maps), "identity"))
        closing = np.zeros(2, np.float32)
        if expression is not None:
            units = _vector(expression, len(self.expression_mix), "expression")
            vertices += (units @ self._expression_flat).reshape(-1, 3)
            closing = units[:2]
        if gaze is not None:
            vertices += np.tensordot(gaze_weights(_vector(gaze, 2, "gaze")), self.gaze_basis, axes=1)
        self.apertures.keep_apart(vertices, closing)
        if pose is not None:
            pitch, yaw = _vector(pose, 2, "pose")
            turn = (rotation(pitch, yaw) - np.eye(3, dtype=np.float32)).T
            vertices += self.pose_weights[:, None] * ((vertices - self.pose_pivot) @ turn)
        return vertices

    def _add_identity(self, vertices: FloatArray, identity: FloatArray) -> None:
        affine = (identity @ self._maps_flat).reshape(12, -1) @ self.field_weights  # (12, V), a map (A | c) per vertex
        x, y, z = self._base_rows
        for row in range(3):
            a, b, c, moved = affine[4 * row : 4 * row + 4]
            vertices[:, row] += a * x + b * y + c * z + moved

    def landmarks(self, vertices: FloatArray) -> FloatArray:
        """MediaPipe's 468 FaceMesh points (468, 3) on vertices (V, 3), in the vertices' frame."""
        return np.einsum("lk,lkc->lc", self.landmark_weights, vertices[self.landmark_vertices])

    def arkit_from_expression(self, expression: npt.ArrayLike, gaze: npt.ArrayLike = (0.0, 0.0)) -> FloatArray:
        """(52,) float32 ARKit weights of an expression (23,) and gaze (2,), clipped to [0, 1], in the order of
        ``arkit_names``."""
        weights = _vector(expression, len(self.expression_mix), "expression") @ self.expression_mix
        for amount, names in zip(gaze_weights(_vector(gaze, 2, "gaze")), GAZE_ACTIONS.values(), strict=True):
            for name in names:
                weights[self.arkit_names.index(name)] += amount
        return np.clip(weights, 0, 1)

    def expression_from_arkit(self, weights: npt.ArrayLike) -> FloatArray:
        """(23,) float32 in [0, 1]: the expression whose ARKit weights are nearest to ``weights`` (52,) by least
        squares.

        The way back of :meth:`arkit_from_expression`; see :func:`sdk.arkit.expression`.
        """
        return arkit.expression(_vector(weights, len(self.arkit_names), "ARKit weights"))


def rotation(pitch: float, yaw: float) -> FloatArray:
    """(3, 3) rotation of a head looking up by ``pitch`` degrees, then turned to its own left by ``yaw`` degrees."""
    a, b = np.deg2rad(-pitch), np.deg2rad(yaw)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    return (about_y @ about_x).astype(np.float32)


def gaze_weights(gaze: FloatArray) -> FloatArray:
    """(4,) weights of :attr:`Rig.gaze_basis` for gaze (2,)."""
    return np.maximum(np.array([gaze[0], -gaze[0], gaze[1], -gaze[1]], np.float32), 0)


def _vector(values: npt.ArrayLike, size: int, name: str) -> FloatArray:
    vector = np.asarray(values, np.float32)
    if vector.shape != (size,):
        raise ValueError(f"{name} must have shape ({size},), not {vector.shape}")
    return vector


def is_of(part: npt.NDArray[np.uint8], *names: str) -> npt.NDArray[np.bool_]:
    """Which of some triangles or vertices, given their parts, belong to one of the parts of these names."""
    return np.isin(part, [PARTS.index(name) for name in names])


def _vertex_part(triangles: IntArray, part: npt.NDArray[np.uint8], count: int) -> npt.NDArray[np.uint8]:
    vertex_part = np.zeros(count, np.uint8)
    vertex_part[triangles.ravel()] = np.repeat(part, 3)
    return vertex_part
