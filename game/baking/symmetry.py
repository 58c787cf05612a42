"""The mirror map of the mesh, and exact left-right symmetry of what should be symmetric."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from game.baking.anatomy import FloatArray

_FLIP = np.array([-1.0, 1.0, 1.0], np.float32)


def mirror_map(template: FloatArray) -> npt.NDArray[np.int32]:
    """(V,) index of each vertex's mirror image; ValueError where the mesh is not symmetric to 1e-5 dm."""
    order = np.lexsort(np.round(template * [1, 1, 1], 5).T)
    flipped = np.lexsort(np.round(template * _FLIP, 5).T)
    mirror = np.empty(len(template), np.int32)
    mirror[flipped] = order
    if np.abs(template[mirror] * _FLIP - template).max() > 1e-5:
        raise ValueError("the template is not symmetric")
    return mirror


def mirrored_name(name: str) -> str:
    """The name of the action on the other side."""
    if name.endswith("Left"):
        return name[:-4] + "Right"
    return name[:-5] + "Left" if name.endswith("Right") else name


def mirrored_names(names: list[str]) -> list[int]:
    """For each action the index of its mirror image."""
    return [names.index(mirrored_name(name)) for name in names]


def mirrored_field(field: FloatArray, mirror: npt.NDArray[np.int32]) -> FloatArray:
    """The mirror image of displacement fields (..., V, 3)."""
    return field[..., mirror, :] * _FLIP


def symmetrised(field: FloatArray, mirror: npt.NDArray[np.int32]) -> FloatArray:
    """The symmetric part of displacement fields (..., V, 3)."""
    return (field + mirrored_field(field, mirror)) / 2
