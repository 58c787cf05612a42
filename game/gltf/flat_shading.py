"""The renderer's materials without light: what colour is a point of the head?

The functions that shade a picture are called under white light from everywhere, without shadow and seen head on; what they
give is the albedo. So brows, beards, lips, freckles and collar look as they do in the renders, and there is one definition
of them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit
from numpy.typing import NDArray

from game.kernels import BATCH, DEVICE, KERNEL, source_stamp
from game.lighting import Lights, scalars, smoothstep
from game.material_cloth import collar_height, shade_cloth
from game.material_eye import iris_albedo, shade_mouth, shade_tooth
from game.material_skin import gather_skin, shade_skins
from game.materials import (
    BATCH_ROWS,
    BLUE,
    CHUNK,
    GREEN,
    NECK,
    NORMAL,
    POSITION,
    RED,
    TEMPLATE,
    Paint,
    Textures,
    blend,
)
from game.rasteriser import STRANDS, strand_covers
from game.shading import M_MOUTH, M_SKIN, M_TONGUE, M_TOOTH_UPPER

Array = NDArray[np.float32]
_F = np.float32
_NO_SHADOW = np.zeros((1, 1), np.float32)


def albedo(
    points: tuple[NDArray[np.int32], Array],
    mesh: tuple[Array, NDArray[np.int32], NDArray[np.uint8]],
    paint: Paint,
    textures: Textures,
    strength: float = 1.0,
) -> Array:
    """Linear RGB (N, 3) float32 of points of the head, lit by white light of this strength.

    ``points``: triangle (N,) and weights of its corners (N, 3) of each. ``mesh``: packed vertices of the base face as
    :mod:`game.materials` has them, with normals and the occlusion to darken by; triangles (T, 3) and materials (T,), of which
    skin, teeth, tongue and mouth are meant.
    """
    triangle, weights = points
    packed, triangles, material = mesh
    head_on = packed.copy()  # seen from the origin along the normal
    head_on[:, POSITION : POSITION + 3] = -packed[:, NORMAL : NORMAL + 3]
    out = np.zeros((len(triangle), 3), np.float32)
    smooth = paint._replace(pores=_F(0.0))
    _albedo(triangle, weights, head_on, triangles, material, white_light(strength), smooth, textures, _NO_SHADOW, out)
    return out


def white_light(strength: float) -> Lights:
    """White light from everywhere; key, fill and rim are off."""
    off, towards = scalars(np.zeros(3)), scalars([0, 0, 1])
    ambient = scalars(np.eye(9, 1) * np.full(3, strength))
    return Lights(towards, off, towards, off, towards, off, ambient, scalars(np.zeros((3, 4))))


@njit(**DEVICE)
def _flush(values, pending, count, out):
    for i in range(count):
        point = pending[i]
        out[point, 0], out[point, 1], out[point, 2] = values[RED + i], values[GREEN + i], values[BLUE + i]


@njit(**BATCH)
def _shade_points(triangle, weights, packed, triangles, material, lights, paint, textures, shadow_map, out):
    off, eye_point = _F(0.0), (_F(0.0), _F(0.0), _F(0.0))
    values, pending, count = np.empty(BATCH_ROWS * CHUNK, np.float32), np.empty(CHUNK, np.int64), 0
    for point in range(len(triangle)):
        t = triangle[point]
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        u, v, w = weights[point, 0], weights[point, 1], weights[point, 2]
        tx = blend(packed, a, b, c, u, v, w, TEMPLATE)
        ty = blend(packed, a, b, c, u, v, w, TEMPLATE + 1)
        tz = blend(packed, a, b, c, u, v, w, TEMPLATE + 2)
        neck = blend(packed, a, b, c, u, v, w, NECK)
        below = collar_height(paint, tx, tz) - ty if neck > _F(0.5) else _F(-1.0)
        kind = material[t]
        if kind == M_SKIN and below <= 0:
            gather_skin(values, count, packed, a, b, c, u, v, w, tx, ty, tz, neck, lights, shadow_map, paint, textures)
            pending[count] = point
            count += 1
            if count == CHUNK:
                shade_skins(values, count, lights, paint, eye_point)
                _flush(values, pending, count, out)
                count = 0
            continue
        normal = (
            blend(packed, a, b, c, u, v, w, NORMAL),
            blend(packed, a, b, c, u, v, w, NORMAL + 1),
            blend(packed, a, b, c, u, v, w, NORMAL + 2),
        )
        if kind == M_SKIN:
            r, g, b_ = shade_cloth(packed, a, b, c, u, v, w, below, normal, normal, off, lights, paint, textures)
        elif kind in (M_TONGUE, M_MOUTH):
            r, g, b_ = shade_mouth(packed, a, b, c, u, v, w, normal, normal, off, lights, kind == M_TONGUE)
        else:
            r, g, b_ = shade_tooth(packed, a, b, c, u, v, w, normal, normal, off, lights, paint, kind == M_TOOTH_UPPER)
        out[point, 0], out[point, 1], out[point, 2] = r, g, b_
    shade_skins(values, count, lights, paint, eye_point)
    _flush(values, pending, count, out)


@njit(**BATCH)
def _look_at_eye(reach, paint, out):
    size, off = out.shape[0], (_F(0.0), _F(0.0), _F(0.0))
    for row in range(size):
        for column in range(size):
            dx = ((column + _F(0.5)) / _F(size) - _F(0.5)) * _F(2.0) * reach
            dy = (_F(0.5) - (row + _F(0.5)) / _F(size)) * _F(2.0) * reach
            r, g, b = iris_albedo(paint, dx, dy, np.sqrt(dx * dx + dy * dy), off)
            corner = smoothstep(_F(0.10), _F(0.16), abs(dx))
            lid = smoothstep(_F(0.015), _F(0.095), dy)
            shade = (_F(0.85) - _F(0.35) * corner) * (_F(1.0) - _F(0.55) * lid)
            out[row, column, 0], out[row, column, 1], out[row, column, 2] = r * shade, g * shade, b * shade


@njit(**DEVICE)
def _strand_tone(across, ribbon):
    """Strands of one ribbon differ in tone, as in :func:`game.material_hair.shade_hairs`."""
    strand = min(max(np.floor((across + _F(1.0)) * _F(0.5 * STRANDS)), _F(0)), _F(STRANDS - 1))
    chance = ribbon * _F(57.3) + strand * _F(0.618)
    return _F(0.78) + _F(0.44) * (chance - np.floor(chance))


@njit(**BATCH)
def _lay_out_strands(ribbons, margin, taper, out):
    height, width = out.shape[0], out.shape[1] // ribbons
    inner = _F(width - 2 * margin)
    for row in range(height):
        for column in range(ribbons * width):
            number = (_F(column // width) + _F(0.5)) / _F(ribbons)
            covered = 0
            for y in range(4):
                along = (_F(row) + (_F(y) + _F(0.5)) * _F(0.25)) / _F(height)
                for x in range(4):
                    place = _F(column % width - margin) + (_F(x) + _F(0.5)) * _F(0.25)
                    across = (_F(2.0) * place / inner - _F(1.0)) / taper[row]
                    if abs(across) < _F(1.0) and strand_covers(across, along, number):
                        covered += 1
            across = (_F(2.0) * (_F(column % width - margin) + _F(0.5)) / inner - _F(1.0)) / taper[row]
            out[row, column, 0] = _strand_tone(across, number)
            out[row, column, 1] = _F(covered) / _F(16.0)


def _entries(stamp: int) -> tuple[Callable[..., None], Callable[..., None], Callable[..., None]]:
    """The kernels that call functions of other files; see :mod:`game.kernels`."""

    @njit(**KERNEL)
    def shade_points(*arguments):
        stamp  # noqa: B018
        _shade_points(*arguments)

    @njit(**KERNEL)
    def eyeball(reach, paint, out):
        """Fill ``out`` (S, S, 3): an eyeball from the front as far as ``reach`` dm from its middle, linear RGB.

        Sclera, iris and pupil, in the shade of the lids in which they mostly lie.
        """
        stamp  # noqa: B018
        _look_at_eye(reach, paint, out)

    @njit(**KERNEL)
    def strands(ribbons, margin, taper, out):
        """Fill ``out`` (H, W, 2): tone and coverage of ``ribbons`` hair ribbons side by side, roots at the top.

        ``margin``: empty texels at both edges of each; ``taper`` (H,): the ribbons' width in each row, 1 where widest.
        """
        stamp  # noqa: B018
        _lay_out_strands(ribbons, margin, taper, out)

    return shade_points, eyeball, strands


_albedo, eyeball, strands = _entries(source_stamp())
