"""Which triangle does each sample see? Numba kernels that fill a depth and an index buffer, one triangle at a time.

Every kernel walks the rows of a triangle and, in each row, the exact interval of sample centres between its edges, so that no
sample outside is ever tested. Depth is kept as *nearness* (larger is nearer): 1 / depth for a perspective picture, which is
linear in the picture, or a distance along the light for a shadow map.

Hair ribbons are cut into fine strands that end at different lengths and thin towards their tips, by a test on the interpolated
(across, along) coordinates. With 4 samples a pixel this feathers the edges.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from game.kernels import DEVICE, KERNEL, whole_above, whole_below

STRANDS = 5
"""Strands per hair ribbon."""

TILE = 8
"""Side in samples of the blocks that hidden triangles are rejected by."""

_ONE = np.float32(1.0)
_HALF = np.float32(0.5)
_ZERO = np.float32(0.0)
_TINY = np.float32(1e-6)
_FAR = np.float32(1e9)
_OVERLAP = np.float32(1e-3)


@njit(**KERNEL)
def vertex_normals(vertices, triangles, normals):
    """Area-weighted unit normals (V, 3) of a mesh, written into ``normals``."""
    normals[:] = 0.0
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ux, uy, uz = vertices[b, 0] - vertices[a, 0], vertices[b, 1] - vertices[a, 1], vertices[b, 2] - vertices[a, 2]
        vx, vy, vz = vertices[c, 0] - vertices[a, 0], vertices[c, 1] - vertices[a, 1], vertices[c, 2] - vertices[a, 2]
        x, y, z = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for i in (a, b, c):
            normals[i, 0] += x
            normals[i, 1] += y
            normals[i, 2] += z
    for i in range(normals.shape[0]):
        scale = _ONE / math.sqrt(
            normals[i, 0] * normals[i, 0] + normals[i, 1] * normals[i, 1] + normals[i, 2] * normals[i, 2] + np.float32(1e-20)
        )
        normals[i, 0] *= scale
        normals[i, 1] *= scale
        normals[i, 2] *= scale


@njit(**DEVICE)
def strand_covers(across, along, ribbon):
    """Does a strand of a ribbon pass here? ``across`` in [-1, 1], ``along`` in [0, 1] root to tip, ``ribbon`` a random number."""
    cell = (across + _ONE) * np.float32(0.5 * STRANDS)
    strand = np.float32(int(cell))
    offset = abs(cell - strand - _HALF)
    chance = ribbon * np.float32(91.7) + strand * np.float32(0.377)
    chance -= np.float32(int(chance))
    end = _ONE - np.float32(0.34) * chance
    if along >= end:
        return False
    tip = along / end
    return offset < _HALF + np.float32(0.12) - np.float32(0.5) * tip * tip * tip


@njit(**KERNEL)
def tile_floors(nearness, floors):
    """The least nearness of every TILE x TILE block of samples: nothing below it can be seen there."""
    for row in range(floors.shape[0]):
        for column in range(floors.shape[1]):
            least = nearness[row * TILE, column * TILE]
            for y in range(row * TILE, (row + 1) * TILE):
                for x in range(column * TILE, (column + 1) * TILE):
                    least = min(least, nearness[y, x])
            floors[row, column] = least


@njit(**DEVICE)
def _hidden(floors, top, bottom, left, right, nearest):
    """Is a box of samples hidden behind what was drawn when ``floors`` was filled?"""
    for row in range(top // TILE, bottom // TILE + 1):
        for column in range(int(left) // TILE, int(right) // TILE + 1):
            if floors[row, column] < nearest:
                return False
    return True


@njit(**DEVICE)
def _edge(weight, along, down):
    """Where a weight that is ``weight`` at x = 0 and grows by ``along`` a sample is 0: as lower and upper bound of x, and
    its step from row to row.

    The bound that the edge is not lies far away. Edges overlap by a hair, so that neighbours leave no sample between them.
    """
    if abs(along) < np.float32(1e-7):
        return -_FAR, _FAR, _ZERO
    inverse = _ONE / along
    crossing = -weight * inverse
    if along > 0:
        return crossing - _OVERLAP, _FAR, -down * inverse
    return -_FAR, crossing + _OVERLAP, -down * inverse


@njit(**KERNEL)
def rasterise(screen, triangles, owner, two_sided, facing, index0, floors, nearness, index):
    """Draw a mesh into ``nearness`` (H, W) float32 and ``index`` (H, W) int32, where it is nearer than what is there.

    ``screen`` (V, 3): x, y in samples and nearness. ``facing``: sign of the area of triangles that face the viewer (-1 where y
    runs down); the others are left out unless ``two_sided``. ``index0`` is added to the index of each triangle. ``floors``: see
    :func:`tile_floors`; triangles behind them are skipped unseen. ``owner`` (V, 3) float32: (ribbon random, along, across) per
    vertex of hair; of no rows for closed surfaces.
    """
    height, width = nearness.shape
    hair = owner.shape[0] > 0
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, y0, x1, y1, x2, y2 = screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1], screen[c, 0], screen[c, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area * facing < _TINY and (not two_sided or area * facing > -_TINY):
            continue
        top = max(0, whole_above(min(y0, min(y1, y2)) - _HALF))
        bottom = min(height - 1, whole_below(max(y0, max(y1, y2)) - _HALF))
        left = max(_ZERO, min(x0, min(x1, x2)) - _HALF)
        right = min(np.float32(width - 1), max(x0, max(x1, x2)) - _HALF)
        if top > bottom or left > right:
            continue
        nearest = max(screen[a, 2], max(screen[b, 2], screen[c, 2]))
        if _hidden(floors, top, bottom, left, right, nearest):
            continue
        scale = _ONE / area
        # Barycentric weights u (of a) and v (of b) of the sample (0, top), and their steps; w = 1 - u - v.
        ux, uy, vx, vy = (y1 - y2) * scale, (x2 - x1) * scale, (y2 - y0) * scale, (x0 - x2) * scale
        row = np.float32(top) + _HALF - y2
        u = ux * (_HALF - x2) + uy * row
        v = vx * (_HALF - x2) + vy * row
        lower_u, upper_u, step_u = _edge(u, ux, uy)
        lower_v, upper_v, step_v = _edge(v, vx, vy)
        lower_w, upper_w, step_w = _edge(_ONE - u - v, -ux - vx, -uy - vy)
        da, db, dc = screen[a, 2] - screen[c, 2], screen[b, 2] - screen[c, 2], screen[c, 2]
        step = ux * da + vx * db
        for y in range(top, bottom + 1):
            low = max(max(left, lower_u), max(lower_v, lower_w))
            high = min(min(right, upper_u), min(upper_v, upper_w))
            first = whole_above(low)
            depth = dc + (u + np.float32(first) * ux) * da + (v + np.float32(first) * vx) * db
            for x in range(first, whole_below(high) + 1):
                if depth > nearness[y, x]:
                    seen = True
                    if hair:
                        p, q = u + np.float32(x) * ux, v + np.float32(x) * vx
                        r = _ONE - p - q
                        seen = strand_covers(
                            owner[a, 2] * p + owner[b, 2] * q + owner[c, 2] * r,
                            owner[a, 1] * p + owner[b, 1] * q + owner[c, 1] * r,
                            owner[a, 0],
                        )
                    if seen:
                        nearness[y, x] = depth
                        index[y, x] = t + index0
                depth += step
            u += uy
            v += vy
            lower_u, upper_u = lower_u + step_u, upper_u + step_u
            lower_v, upper_v = lower_v + step_v, upper_v + step_v
            lower_w, upper_w = lower_w + step_w, upper_w + step_w


@njit(**KERNEL)
def rasterise_depth(screen, triangles, two_sided, facing, nearness):
    """Like :func:`rasterise`, without an index buffer: the shadow map's depths."""
    height, width = nearness.shape
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, y0, x1, y1, x2, y2 = screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1], screen[c, 0], screen[c, 1]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area * facing < _TINY and (not two_sided or area * facing > -_TINY):
            continue
        top = max(0, whole_above(min(y0, min(y1, y2)) - _HALF))
        bottom = min(height - 1, whole_below(max(y0, max(y1, y2)) - _HALF))
        left = max(0, whole_above(min(x0, min(x1, x2)) - _HALF))
        right = min(width - 1, whole_below(max(x0, max(x1, x2)) - _HALF))
        if top > bottom or left > right:
            continue
        scale = _ONE / area
        ux, uy, vx, vy = (y1 - y2) * scale, (x2 - x1) * scale, (y2 - y0) * scale, (x0 - x2) * scale
        column, row = np.float32(left) + _HALF - x2, np.float32(top) + _HALF - y2
        u0, v0 = ux * column + uy * row, vx * column + vy * row
        da, db, dc = screen[a, 2] - screen[c, 2], screen[b, 2] - screen[c, 2], screen[c, 2]
        for y in range(top, bottom + 1):
            u, v = u0, v0
            for x in range(left, right + 1):
                if u >= 0 and v >= 0 and u + v <= _ONE:
                    nearness[y, x] = max(nearness[y, x], dc + u * da + v * db)
                u += ux
                v += vx
            u0 += uy
            v0 += vy
