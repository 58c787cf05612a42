"""Which point of a mesh does each texel show? An atlas rasterised once, and values carried over to its texels."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from game.kernels import KERNEL

Array = NDArray[np.float32]
_F = np.float32


class Atlas:
    """The texels of a square texture and the points of a mesh that they show.

    ``triangles`` (T, 3) int32 into the mesh's vertices; ``index`` (S, S) int32, the triangle under each texel's
    centre or -1; ``weights`` (S, S, 3) float32, where in the triangle. Built from texture coordinates ``uv`` (T, 3,
    2) in [0, 1], v down.
    """

    def __init__(self, uv: NDArray[np.floating], triangles: NDArray[np.int32], size: int) -> None:
        self.triangles = np.ascontiguousarray(triangles)
        self.index = np.full((size, size), -1, np.int32)
        self.weights = np.zeros((size, size, 3), np.float32)
        _rasterise((uv * size).astype(np.float32), self.index, self.weights)

    @property
    def covered(self) -> NDArray[np.bool_]:
        """(S, S), whether a texel shows any point."""
        return self.index >= 0

    def carry(self, values: NDArray[np.floating]) -> Array:
        """Values (V,) of the mesh's vertices on the texels: (S, S) float32."""
        corners = np.asarray(values, np.float32)[self.triangles[self.index]]
        return fill_gaps(np.einsum("yxk,yxk->yx", corners, self.weights)[..., None], self.covered)[..., 0]


@njit(**KERNEL)
def _rasterise(corners, index, weights):
    """Draw triangles (T, 3, 2), in texels, into ``index`` and ``weights``; either side may face up."""
    size = index.shape[0]
    for t in range(len(corners)):
        x0, y0, x1, y1 = corners[t, 0, 0], corners[t, 0, 1], corners[t, 1, 0], corners[t, 1, 1]
        x2, y2 = corners[t, 2, 0], corners[t, 2, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == 0:
            continue
        left, right = max(int(min(x0, x1, x2)), 0), min(int(max(x0, x1, x2)) + 1, size)
        top, bottom = max(int(min(y0, y1, y2)), 0), min(int(max(y0, y1, y2)) + 1, size)
        for row in range(top, bottom):
            for column in range(left, right):
                x, y = column + _F(0.5), row + _F(0.5)
                u = ((x1 - x) * (y2 - y) - (x2 - x) * (y1 - y)) / area
                v = ((x2 - x) * (y0 - y) - (x0 - x) * (y2 - y)) / area
                w = _F(1.0) - u - v
                if u >= 0 and v >= 0 and w >= 0:
                    index[row, column] = t
                    weights[row, column, 0], weights[row, column, 1], weights[row, column, 2] = u, v, w


def fill_gaps(image: Array, covered: NDArray[np.bool_]) -> Array:
    """Continue an image (S, S, C), S a power of two, smoothly where it is not covered, so that no filter bleeds black
    in.

    Coarser and coarser means of what is covered, then back down: each gap takes the finest mean that reaches it.
    """
    if covered.all() or len(image) == 1:
        return image
    weight = covered[..., None].astype(np.float32)
    summed, share = _halved(image * weight), _halved(weight)
    coarse = fill_gaps(summed / np.maximum(share, 1.0), share[..., 0] > 0)
    return np.where(covered[..., None], image, coarse.repeat(2, axis=0).repeat(2, axis=1))


def _halved(image: Array) -> Array:
    return image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2]
