"""How far each identity slider goes: about equal visual effect, without folding the skin, and wide enough for people.

A handle's translation stays below its field's radius (beyond that the skin folds over itself). Its rotations and scales
are then given a comparable visual effect, within anatomical limits. Sliders in which projected people still stick out
are widened to hold them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from trimesh import Trimesh

from game.baking.anatomy import FloatArray
from game.baking.handles import HANDLE_FIELDS, Field, expand_basis, slider_maps
from game.baking.projection import project
from sdk.schema import HANDLES

_TRANSLATION_PER_RADIUS = 0.75
_LARGEST_TRANSLATION = 0.085
_EYE_TRANSLATION = 0.07
_ROTATION = np.deg2rad(10.0)
_SCALE = 0.18
_TURNING_EFFECT = 0.6
_HEAD_SCALE = 0.06
_WIDEST = 2.0
_BACK_WEIGHT = 0.25


def visual_weights(base: FloatArray, triangles: npt.NDArray[np.int32], face: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """(V,) square roots of how much each vertex of the ``face`` (V,) shows: its area, most of all what looks forward.
    Mean square 1."""
    mesh = Trimesh(base, triangles, process=False)
    area = np.zeros(len(base))
    np.add.at(area, triangles.ravel(), np.repeat(mesh.area_faces / 3, 3))
    forward = np.clip(np.asarray(mesh.vertex_normals)[:, 2], 0, 1)
    weights = np.sqrt(area * face * (_BACK_WEIGHT + (1 - _BACK_WEIGHT) * forward))
    return weights / np.sqrt((weights[face] ** 2).mean())


def slider_ranges(
    base: FloatArray, fields: list[Field], weights: npt.NDArray[np.float64], people: FloatArray
) -> npt.NDArray[np.float64]:
    """(244,) what a slider at 1 does: dm, radians or relative size. ``people`` (N, V, 3) are offsets from the base face
    to hold."""
    ranges = []
    for name in HANDLES:
        radius = float(np.mean(HANDLE_FIELDS[name].radius))
        reach = _EYE_TRANSLATION if name == "eye" else min(_TRANSLATION_PER_RADIUS * radius, _LARGEST_TRANSLATION)
        ranges += [reach] * 3 + [_ROTATION] * 3 + [_SCALE] * 3
    balanced = np.array([*ranges, _HEAD_SCALE])
    effect = _effects(base, fields, weights, balanced)
    for first in range(0, 9 * len(HANDLES), 9):
        turning = slice(first + 3, first + 9)
        wanted = _TURNING_EFFECT * effect[first : first + 3].mean()
        balanced[turning] *= np.clip(wanted / effect[turning], 0.55, 2.0)
    basis = _basis(base, fields, balanced)
    needed = np.percentile(np.abs(project(people, base, basis, weights).identity), 99, axis=0)
    return balanced * np.clip(needed, 1.0, _WIDEST)


def _basis(base: FloatArray, fields: list[Field], ranges: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return expand_basis(base, np.stack([field.weights for field in fields]), slider_maps(fields, ranges))


def _effects(
    base: FloatArray, fields: list[Field], weights: npt.NDArray[np.float64], ranges: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """(244,) weighted root mean square displacement of each slider at 1."""
    moved = _basis(base, fields, ranges) * weights[:, None]
    return np.sqrt((moved**2).sum(2).mean(1))
