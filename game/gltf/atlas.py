"""Texture coordinates of the head: MakeHuman's islands, repacked for square textures of a head alone.

MakeHuman unwraps a whole body, and conformally, so the face is a small part of its square and eyes and lips are the
least magnified part of that. In the skin's atlas the largest island (face, scalp and neck) stands upright over the
full width, warped along each axis by the distribution of its own vertices: detail gets texels. The others (bust, eye
sockets, mouth cavity) share a strip below it. A monotone warp along each axis keeps islands free of overlaps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

STRIP = 0.24
"""Share of the skin atlas's height that the small islands get."""
PADDING = 0.006
EVEN = 0.35
"""Share of the warp that leaves the island as it is; the rest equalises the distribution of its vertices."""
KNOTS = 48


def skin_atlas(uv: NDArray[np.floating]) -> NDArray[np.float32]:
    """Texture coordinates (T, 3, 2) in [0, 1], v down as glTF wants it, from MakeHuman's (T, 3, 2), v up."""
    corners = uv.reshape(-1, 2).astype(np.float64)
    island = islands(corners)
    names, sizes = np.unique(island, return_counts=True)
    atlas = np.empty_like(corners)
    largest = names[np.argmax(sizes)]
    face = island == largest
    # MakeHuman's face lies on its side: its forehead points to smaller u, the person's own left to larger v.
    upright = np.stack([_equalise(corners[face, 1]), _equalise(corners[face, 0])], axis=1)
    atlas[face] = _fit(upright, 0.0, 0.0, 1.0, 1.0 - STRIP)
    _pack_row(corners, island, names[names != largest], 1.0 - STRIP, atlas)
    return atlas.reshape(uv.shape).astype(np.float32)


def row_atlas(uv: NDArray[np.floating]) -> NDArray[np.float32]:
    """The same for a part whose islands simply stand side by side."""
    corners = uv.reshape(-1, 2).astype(np.float64)
    island = islands(corners)
    atlas = np.empty_like(corners)
    _pack_row(corners, island, np.unique(island), 0.0, atlas)
    return atlas.reshape(uv.shape).astype(np.float32)


def islands(corners: NDArray[np.floating]) -> NDArray[np.int64]:
    """For the corners (3 T, 2) of a triangle list the number of the connected piece of unwrapping they belong to."""
    _, point = np.unique(np.round(corners, 6), axis=0, return_inverse=True)
    triangles = point.reshape(-1, 3)
    label = np.arange(triangles.max() + 1)
    while True:  # the smallest label spreads over each piece
        spread = label.copy()
        lowest = label[triangles].min(axis=1)
        for corner in range(3):
            np.minimum.at(spread, triangles[:, corner], lowest)
        spread = spread[spread]
        if np.array_equal(spread, label):
            return label[triangles.ravel()]
        label = spread


def _equalise(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Spread values over [0, 1] by a monotone piecewise linear function, the steeper the more values lie there."""
    low, high = values.min(), values.max()
    unit = (values - low) / (high - low)
    knots = np.linspace(0.0, 1.0, KNOTS + 1)
    density, _ = np.histogram(unit, bins=knots, density=True)
    smooth = np.convolve(np.pad(density, 2, mode="edge"), np.array([1, 2, 3, 2, 1]) / 9.0, mode="valid")
    density = EVEN + (1.0 - EVEN) * smooth
    warp = np.concatenate([[0.0], np.cumsum(density)])
    return np.interp(unit, knots, warp / warp[-1])


def _fit(points: NDArray[np.float64], left: float, top: float, right: float, bottom: float) -> NDArray[np.float64]:
    low, high = points.min(axis=0), points.max(axis=0)
    corner, size = np.array([left, top]) + PADDING, np.array([right - left, bottom - top]) - 2 * PADDING
    return corner + (points - low) / (high - low) * size


def _pack_row(
    corners: NDArray[np.float64],
    island: NDArray[np.int64],
    names: NDArray[np.int64],
    top: float,
    atlas: NDArray[np.float64],
) -> None:
    """Stand islands side by side under ``top``, at one horizontal scale, and no higher than there is room."""
    widths = {name: np.ptp(corners[island == name, 0]) for name in names}
    heights = {name: np.ptp(corners[island == name, 1]) for name in names}
    scale = 1.0 / sum(widths.values())
    upwards = min(scale, (1.0 - top - 2 * PADDING) / max(heights.values()))
    left = 0.0
    for name in names:
        right, bottom = left + widths[name] * scale, top + heights[name] * upwards + 2 * PADDING
        atlas[island == name] = _fit(corners[island == name] * (1.0, -1.0), left, top, right, bottom)
        left = right
