"""The knitted shirt that begins at the collar."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from game.kernels import DEVICE
from game.lighting import ambient_light, normalised, smoothstep, wrapped
from game.materials import OCCLUSION, TEMPLATE, blend, detail_at

_F = np.float32


@njit(**DEVICE)
def collar_height(paint, tx, tz):
    """Template y of the collar's edge: it hangs lower in front."""
    return paint.collar - _F(0.10) * math.cos(tx * _F(2.2)) * smoothstep(_F(-0.2), _F(0.9), tz)


@njit(**DEVICE)
def shade_cloth(packed, a, b, c, u, v, w, below, normal, view, lit, lights, paint, textures):
    """Radiance of cloth: matt, ribbed along the collar, folds below. ``below``: dm under the collar's edge."""
    tx, ty = blend(packed, a, b, c, u, v, w, TEMPLATE), blend(packed, a, b, c, u, v, w, TEMPLATE + 1)
    occlusion = blend(packed, a, b, c, u, v, w, OCCLUSION)
    _, fold, fine, coarse = detail_at(textures.detail, tx * _F(0.25), ty * _F(0.25))
    rib = smoothstep(_F(0.085), _F(0.075), below)
    seam = smoothstep(_F(0.012), _F(0.0), abs(below - _F(0.085)))
    tone = _F(0.92) + _F(0.08) * coarse + _F(0.06) * fine + _F(0.10) * rib * math.sin(tx * _F(260.0)) - _F(0.35) * seam
    tone *= _F(0.7) + _F(0.3) * smoothstep(_F(0.0), _F(0.03), below)
    nx, ny, nz = normalised(
        normal[0] + _F(0.25) * coarse, normal[1] + _F(0.18) * fold + _F(0.35) * rib * (below - _F(0.04)) * _F(20.0), normal[2]
    )
    key, fill, rim = lights.key, lights.fill, lights.rim
    direct = wrapped(nx * key[0] + ny * key[1] + nz * key[2], _F(0.15)) * lit
    second = max(nx * fill[0] + ny * fill[1] + nz * fill[2], _F(0.0)) * occlusion
    third = max(nx * rim[0] + ny * rim[1] + nz * rim[2], _F(0.0)) * occlusion
    facing = max(normal[0] * view[0] + normal[1] * view[1] + normal[2] * view[2], _F(0.0))
    fuzz = _F(1.0) + _F(0.6) * (_F(1.0) - facing) * (_F(1.0) - facing)
    out_r = paint.cloth[0] * tone * fuzz
    out_g = paint.cloth[1] * tone * fuzz
    out_b = paint.cloth[2] * tone * fuzz
    k, f, m = lights.key_colour, lights.fill_colour, lights.rim_colour
    amb = lights.ambient
    return (
        out_r * (direct * k[0] + second * f[0] + third * m[0] + ambient_light(amb, 0, nx, ny, nz) * occlusion),
        out_g * (direct * k[1] + second * f[1] + third * m[1] + ambient_light(amb, 1, nx, ny, nz) * occlusion),
        out_b * (direct * k[2] + second * f[2] + third * m[2] + ambient_light(amb, 2, nx, ny, nz) * occlusion),
    )
