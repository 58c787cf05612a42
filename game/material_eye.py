"""Eyes, lashes, teeth, tongue and the inside of the mouth."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from game.kernels import DEVICE
from game.lighting import normalised, smoothstep
from game.materials import OCCLUSION, TEMPLATE, blend, cosines, gloss, skin_light

_F = np.float32
IRIS_RADIUS = _F(0.066)
PUPIL_RADIUS = _F(0.026)

# Distances (dm) of the gaps between the upper teeth from the middle.
_GAPS = (_F(0.0), _F(0.094), _F(0.170), _F(0.246), _F(0.316), _F(0.38))


@njit(**DEVICE)
def iris_albedo(paint, dx, dy, q, key):
    """Albedo of the eyeball at the offset (dx, dy), distance q from the middle of the pupil: sclera, limbal ring, iris, pupil."""
    vein = smoothstep(_F(0.07), _F(0.17), q)
    r, g, b = _F(0.66) - _F(0.05) * vein, _F(0.62) - _F(0.15) * vein, _F(0.59) - _F(0.16) * vein
    inside = smoothstep(IRIS_RADIUS * _F(1.07), IRIS_RADIUS * _F(0.94), q)
    if inside > 0:
        angle = math.atan2(dy, dx)
        rays = (
            _F(0.80)
            + _F(0.14) * math.sin(angle * _F(19.0) + _F(2.0) * math.sin(angle * _F(5.0)))
            + _F(0.10) * math.sin(angle * _F(37.0) + _F(60.0) * q)
        )
        ring = smoothstep(IRIS_RADIUS * _F(1.02), IRIS_RADIUS * _F(0.72), q)
        collar = _F(1.0) + _F(0.45) * math.exp(-(((q - _F(1.35) * PUPIL_RADIUS) * _F(110.0)) ** 2))
        # The iris is a dish: it is brighter away from the light, where the cornea throws the light.
        dish = _F(1.0) - _F(6.0) * (dx * key[0] + dy * key[1])
        tone = (_F(0.30) + _F(0.70) * ring) * rays * collar * max(dish, _F(0.35)) * _F(1.5)
        r += (paint.iris[0] * tone - r) * inside
        g += (paint.iris[1] * tone - g) * inside
        b += (paint.iris[2] * tone - b) * inside
        pupil = smoothstep(PUPIL_RADIUS * _F(0.86), PUPIL_RADIUS * _F(1.12), q)
        r, g, b = r * pupil + _F(0.004), g * pupil + _F(0.004), b * pupil + _F(0.004)
    return r, g, b


@njit(**DEVICE)
def _mirror(light, colour, sharpness_low, sharpness_high, rx, ry, rz):
    """Radiance of a round soft box seen in a mirror direction."""
    return colour * smoothstep(sharpness_low, sharpness_high, light[0] * rx + light[1] * ry + light[2] * rz)


@njit(**DEVICE)
def shade_eye(packed, a, b, c, u, v, w, normal, view, lit, lid_shadow, lights, paint):
    """Radiance of a point of the eyeball. ``lid_shadow``: 1 under the edge of the upper lid to 0 away from it."""
    tx = blend(packed, a, b, c, u, v, w, TEMPLATE)
    ty = blend(packed, a, b, c, u, v, w, TEMPLATE + 1)
    centre = paint.eye_left if tx > 0 else paint.eye_right
    dx, dy = tx - centre[0], ty - centre[1]
    q = math.sqrt(dx * dx + dy * dy)
    r, g, b_ = iris_albedo(paint, dx, dy, q, lights.key)
    corner = smoothstep(_F(0.10), _F(0.16), abs(dx))
    occlusion = (_F(0.80) - _F(0.30) * corner) * (_F(1.0) - _F(0.62) * lid_shadow)
    share = lit * (_F(1.0) - _F(0.75) * lid_shadow) * (_F(1.0) - _F(0.3) * corner)
    er = skin_light(lights, 0, _F(0.35), _F(0.1), share, normal, occlusion)
    eg = skin_light(lights, 1, _F(0.30), _F(0.0), share, normal, occlusion * (_F(0.9) + _F(0.1) * occlusion))
    eb = skin_light(lights, 2, _F(0.30), _F(0.0), share, normal, occlusion * (_F(0.85) + _F(0.15) * occlusion))

    # The cornea bulges: its normal runs outwards faster than the eyeball's.
    bulge = _F(3.2) * smoothstep(_F(0.095), _F(0.055), q)
    head = paint.head
    side_x, side_y, side_z = normalised(
        head[1] * normal[2] - head[2] * normal[1],
        head[2] * normal[0] - head[0] * normal[2],
        head[0] * normal[1] - head[1] * normal[0],
    )
    nx, ny, nz = normalised(
        normal[0] + bulge * (dx * side_x + dy * head[0]),
        normal[1] + bulge * (dx * side_y + dy * head[1]),
        normal[2] + bulge * (dx * side_z + dy * head[2]),
    )
    cosine = nx * view[0] + ny * view[1] + nz * view[2]
    rx, ry, rz = _F(2.0) * cosine * nx - view[0], _F(2.0) * cosine * ny - view[1], _F(2.0) * cosine * nz - view[2]
    open_share = (_F(0.25) + _F(0.75) * lit) * (_F(1.0) - _F(0.55) * lid_shadow)
    fresnel = _F(0.04) + _F(0.5) * (_F(1.0) - max(cosine, _F(0.0))) ** 5
    sky = smoothstep(_F(0.1), _F(0.8), ry) * fresnel * _F(0.7)
    for_fill = (
        smoothstep(_F(0.95), _F(0.985), lights.fill[0] * rx + lights.fill[1] * ry + lights.fill[2] * rz) * _F(0.35) * open_share
    )
    spark = smoothstep(_F(0.955), _F(0.98), lights.key[0] * rx + lights.key[1] * ry + lights.key[2] * rz) * _F(0.85) * open_share
    # A portrait always has something bright above the camera; where the key is out of the cornea's sight, a window stands in.
    window_x, window_y, window_z = normalised(lights.key[0] * _F(0.7), max(lights.key[1], _F(0.45)), _F(0.9))
    window = smoothstep(_F(0.95), _F(0.985), window_x * rx + window_y * ry + window_z * rz) * _F(0.30)
    spark = max(spark, window * (_F(1.0) - _F(0.5) * lid_shadow))
    k, f = lights.key_colour, lights.fill_colour
    amb = lights.ambient
    return (
        r * er + spark * (k[0] + amb[0][0]) + for_fill * f[0] + sky * amb[0][0] * occlusion,
        g * eg + spark * (k[1] + amb[0][1]) + for_fill * f[1] + sky * amb[0][1] * occlusion,
        b_ * eb + spark * (k[2] + amb[0][2]) + for_fill * f[2] + sky * amb[0][2] * occlusion,
    )


@njit(**DEVICE)
def shade_lash(lit, lights, paint):
    """Radiance of an eyelash: nearly black, tinted by the brows' colour."""
    light = _F(0.25) + _F(0.3) * lit
    r = _F(0.008) + _F(0.16) * paint.brow[0]
    g = _F(0.007) + _F(0.14) * paint.brow[1]
    b = _F(0.007) + _F(0.13) * paint.brow[2]
    amb = lights.ambient
    return r * (light + amb[0][0]), g * (light + amb[0][1]), b * (light + amb[0][2])


@njit(**DEVICE)
def shade_tooth(packed, a, b, c, u, v, w, normal, view, lit, lights, paint, upper):
    """Radiance of the teeth: gaps between them, yellower and darker towards the gums, dark towards the back of the mouth."""
    tx = blend(packed, a, b, c, u, v, w, TEMPLATE)
    tz = blend(packed, a, b, c, u, v, w, TEMPLATE + 2)
    x = abs(tx) * (_F(1.0) if upper else _F(1.25))
    gap = _F(0.0)
    for middle in _GAPS:
        gap = max(gap, smoothstep(_F(0.012), _F(0.002), abs(x - middle)))
    # The base face's mouth is shut; its occlusion is that of an open one, whose front teeth take light from all sides.
    open_share = min(_F(1.0), _F(0.25) + _F(1.75) * blend(packed, a, b, c, u, v, w, OCCLUSION)) * smoothstep(
        _F(1.02), _F(1.36), tz
    )
    shade = paint.mouth_light * (_F(0.06) + _F(0.94) * open_share) * (_F(1.0) - _F(0.28) * gap)
    occlusion = shade * (_F(0.95) if upper else _F(0.8))
    # Enamel and the lips around it scatter light: most of the lip's shadow on the teeth is filled, and light from above
    # reaches the crowns, which lean inwards, as if they stood upright.
    share = (_F(0.65) + _F(0.35) * lit) * shade
    upright = normalised(normal[0], _F(0.3) * normal[1], normal[2])
    er = skin_light(lights, 0, _F(0.35), _F(0.2), share, upright, occlusion)
    eg = skin_light(lights, 1, _F(0.30), _F(0.1), share, upright, occlusion)
    eb = skin_light(lights, 2, _F(0.25), _F(0.1), share, upright, occlusion)
    sr, sg, sb = gloss(lights, cosines(lights, normal), normal, view, _F(0.32), share, occlusion * occlusion)
    return _F(0.88) * er + _F(0.03) * sr, _F(0.82) * eg + _F(0.03) * sg, _F(0.72) * eb + _F(0.03) * sb


@njit(**DEVICE)
def shade_mouth(packed, a, b, c, u, v, w, normal, view, lit, lights, tongue):
    """Radiance of tongue and mouth cavity: red, wet, ever darker inwards."""
    tz = blend(packed, a, b, c, u, v, w, TEMPLATE + 2)
    inward = smoothstep(_F(0.75), _F(1.42), tz)
    depth = inward * inward
    occlusion = _F(0.06) + _F(0.45) * depth
    share = lit * depth
    r, g, b_ = (_F(0.42), _F(0.13), _F(0.115)) if tongue else (_F(0.24), _F(0.055), _F(0.048))
    er = skin_light(lights, 0, _F(0.4), _F(0.2), share, normal, occlusion)
    eg = skin_light(lights, 1, _F(0.3), _F(0.0), share, normal, occlusion)
    eb = skin_light(lights, 2, _F(0.3), _F(0.0), share, normal, occlusion)
    sr, sg, sb = gloss(lights, cosines(lights, normal), normal, view, _F(0.35), share, occlusion * occlusion)
    return r * er + _F(0.02) * sr, g * eg + _F(0.02) * sg, b_ * eb + _F(0.02) * sb
