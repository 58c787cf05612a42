"""Hair ribbons (Kajiya-Kay strands with two highlights, as Marschner describes them) and spectacle frames.

Like skin, hair is gathered into batches and lit a batch at a time; see :mod:`game.material_skin`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from game.kernels import BATCH, DEVICE, whole_below
from game.lighting import ambient_light, lit_share, normalised, smoothstep
from game.materials import (
    ACROSS,
    ALONG,
    BLUE,
    CHUNK,
    GREEN,
    NORMAL,
    OPENNESS,
    POSITION,
    RANDOM,
    RED,
    TANGENT,
    blend,
    cosines,
    gloss,
    skin_light,
)
from game.rasteriser import STRANDS

_F = np.float32

# Rows of a batch of hair.
(
    _NX, _NY, _NZ, _PX, _PY, _PZ, _TX, _TY, _TZ, _LIT, _RIBBON, _ALONG, _ACROSS, _OPENNESS,
) = (CHUNK * row for row in range(14))  # fmt: skip


@njit(**DEVICE)
def gather_hair(batch, i, packed, a, b, c, u, v, w, lights, shadow_map, eye_point):
    """Put a point of a hair ribbon into place ``i`` of a batch. Ribbons have two sides: the normal is made to face the camera."""
    nx, ny, nz = (
        blend(packed, a, b, c, u, v, w, NORMAL),
        blend(packed, a, b, c, u, v, w, NORMAL + 1),
        blend(packed, a, b, c, u, v, w, NORMAL + 2),
    )
    px, py, pz = (
        blend(packed, a, b, c, u, v, w, POSITION),
        blend(packed, a, b, c, u, v, w, POSITION + 1),
        blend(packed, a, b, c, u, v, w, POSITION + 2),
    )
    if nx * (eye_point[0] - px) + ny * (eye_point[1] - py) + nz * (eye_point[2] - pz) < 0:
        nx, ny, nz = -nx, -ny, -nz
    batch[_NX + i], batch[_NY + i], batch[_NZ + i] = nx, ny, nz
    batch[_PX + i], batch[_PY + i], batch[_PZ + i] = px, py, pz
    for k in range(3):
        batch[_TX + CHUNK * k + i] = blend(packed, a, b, c, u, v, w, TANGENT + k)
    batch[_LIT + i] = lit_share(lights, shadow_map, px, py, pz, nx, ny, nz)
    batch[_RIBBON + i] = packed[a, RANDOM]
    batch[_ALONG + i] = blend(packed, a, b, c, u, v, w, ALONG)
    batch[_ACROSS + i] = blend(packed, a, b, c, u, v, w, ACROSS)
    batch[_OPENNESS + i] = blend(packed, a, b, c, u, v, w, OPENNESS)


@njit(**DEVICE)
def _sine_square(tangent, normal, shift, half):
    """Squared sine between a half vector and a strand that is tilted towards its normal by ``shift``."""
    tx, ty, tz = normalised(tangent[0] + normal[0] * shift, tangent[1] + normal[1] * shift, tangent[2] + normal[2] * shift)
    cosine = tx * half[0] + ty * half[1] + tz * half[2]
    return max(_F(1.0) - cosine * cosine, _F(0.0))


@njit(**DEVICE)
def _lobes(light, tangent, normal, view, jitter):
    """What a strand returns of one light: diffuse, a white highlight towards the root, a tinted one towards the tip."""
    along = tangent[0] * light[0] + tangent[1] * light[1] + tangent[2] * light[2]
    sine = math.sqrt(max(_F(1.0) - along * along, _F(0.0)))
    facing = normal[0] * light[0] + normal[1] * light[1] + normal[2] * light[2]
    facing = max((facing + _F(0.30)) * _F(1.0 / 1.30), _F(0.0))
    half = normalised(light[0] + view[0], light[1] + view[1], light[2] + view[2])
    white = _sine_square(tangent, normal, jitter - _F(0.06), half)
    for _ in range(5):
        white *= white  # in the end the sine to the 64th
    tinted = _sine_square(tangent, normal, jitter * _F(1.4) + _F(0.10), half)
    tinted *= tinted
    fourth = tinted * tinted
    tinted = fourth * fourth * tinted
    return facing * (_F(0.30) + _F(0.70) * sine), facing * white, facing * tinted


@njit(**DEVICE)
def _strand_colour(lights, albedo, channel, normal, occlusion, key, fill, rim):
    """Radiance of one channel from the three lights' lobes and the ambient light."""
    k, f, m = lights.key_colour[channel], lights.fill_colour[channel], lights.rim_colour[channel]
    ambient = ambient_light(lights.ambient, channel, normal[0], normal[1], normal[2])
    diffuse = ambient * occlusion + key[0] * k + (fill[0] * f + rim[0] * m) * occlusion
    white = key[1] * k + (fill[1] * f + rim[1] * m) * occlusion
    tinted = key[2] * k + (fill[2] * f + rim[2] * m) * occlusion
    return albedo * diffuse + white * (_F(0.018) + _F(0.06) * albedo) + tinted * (_F(0.002) + _F(0.30) * albedo)


@njit(**BATCH)
def shade_hairs(batch, count, lights, paint, eye_point):
    """Light the first ``count`` points of a batch of hair: fills its rows RED, GREEN and BLUE with radiance."""
    for i in range(count):
        ribbon, lit = batch[_RIBBON + i], batch[_LIT + i]
        cell = (batch[_ACROSS + i] + _F(1.0)) * _F(0.5 * STRANDS)
        strand = _F(whole_below(cell))
        chance = ribbon * _F(57.3) + strand * _F(0.618)
        chance -= _F(whole_below(chance))
        tangent = normalised(batch[_TX + i], batch[_TY + i], batch[_TZ + i])
        normal = normalised(batch[_NX + i], batch[_NY + i], batch[_NZ + i])
        view = normalised(eye_point[0] - batch[_PX + i], eye_point[1] - batch[_PY + i], eye_point[2] - batch[_PZ + i])
        # Each strand is a little cylinder: its normal leans to the side across the ribbon.
        lean = (cell - strand - _F(0.5)) * _F(0.9)
        sx = tangent[1] * normal[2] - tangent[2] * normal[1]
        sy = tangent[2] * normal[0] - tangent[0] * normal[2]
        sz = tangent[0] * normal[1] - tangent[1] * normal[0]
        leaned = normalised(normal[0] + sx * lean, normal[1] + sy * lean, normal[2] + sz * lean)
        root = _F(0.55) + _F(0.45) * smoothstep(_F(0.0), _F(0.30), batch[_ALONG + i])
        tone = (_F(0.62) + _F(0.42) * ribbon) * (_F(0.78) + _F(0.44) * chance) * root
        jitter = (chance - _F(0.5)) * _F(0.16) + (ribbon - _F(0.5)) * _F(0.08)
        diffuse, white, tinted = _lobes(lights.key, tangent, leaned, view, jitter)
        key = (diffuse * lit, white * lit, tinted * lit)
        fill = _lobes(lights.fill, tangent, leaned, view, jitter)
        rim = _lobes(lights.rim, tangent, leaned, view, jitter)
        occlusion = _F(0.20) + _F(0.80) * batch[_OPENNESS + i]
        batch[RED + i] = _strand_colour(lights, paint.hair[0] * tone, 0, leaned, occlusion, key, fill, rim)
        batch[GREEN + i] = _strand_colour(lights, paint.hair[1] * tone, 1, leaned, occlusion, key, fill, rim)
        batch[BLUE + i] = _strand_colour(lights, paint.hair[2] * tone, 2, leaned, occlusion, key, fill, rim)


@njit(**DEVICE)
def shade_frame(normal, view, lit, lights, paint):
    """Radiance of a spectacle frame: smooth plastic or metal."""
    er = skin_light(lights, 0, _F(0.1), _F(0.0), lit, normal, _F(0.9))
    eg = skin_light(lights, 1, _F(0.1), _F(0.0), lit, normal, _F(0.9))
    eb = skin_light(lights, 2, _F(0.1), _F(0.0), lit, normal, _F(0.9))
    sr, sg, sb = gloss(lights, cosines(lights, normal), normal, view, _F(0.30), lit, _F(0.9))
    return paint.frame[0] * er + _F(0.06) * sr, paint.frame[1] * eg + _F(0.06) * sg, paint.frame[2] * eb + _F(0.06) * sb
