"""Affine maps between the frames of pixels: photo, decoded pixels, canvas, crop.

A map is an array (2, 3); a point p goes to ``map[:, :2] @ p + map[:, 2]``. The centre of the first pixel is (0.5, 0.5).
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Affine: TypeAlias = NDArray[np.float64]


def scaling(factor: float, left: float = 0.0, top: float = 0.0) -> Affine:
    """Scale by a factor, then shift."""
    return np.array([[factor, 0, left], [0, factor, top]], np.float64)


def invert(affine: NDArray[Any]) -> Affine:
    """The way back."""
    linear = np.linalg.inv(affine[:, :2].astype(np.float64))
    return np.concatenate([linear, -linear @ affine[:, 2:]], 1)


def compose(second: NDArray[Any], first: NDArray[Any]) -> Affine:
    """The map that does `first`, then `second`."""
    linear = second[:, :2].astype(np.float64)
    return np.concatenate([linear @ first[:, :2], linear @ first[:, 2:] + second[:, 2:]], 1)


def apply(affine: NDArray[Any], points: NDArray[Any]) -> Affine:
    """Points (N, 2) through a map: (N, 2)."""
    return np.asarray(points @ affine[:, :2].T.astype(np.float64) + affine[:, 2], np.float64)


def magnification(affine: NDArray[Any]) -> float:
    """Pixels after the map per pixel before it."""
    (a, b), (c, d) = affine[:, :2].tolist()
    return float(np.sqrt(abs(a * d - b * c)))
