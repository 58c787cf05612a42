"""Light that reaches a point and leaves it again: numba device functions shared by all materials.

Light is linear RGB irradiance: a white wall that faces a light of colour 1 shows as 1. Directions are unit vectors from the
surface, in the world frame (x to the person's own left, y up, z to the camera).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from game.kernels import DEVICE

Triple = tuple[float, float, float]


class Lights(NamedTuple):
    """The light of one picture, as the kernels take it: float32 scalars only, which cost nothing to hand on.

    ``frame``: 3 rows of 4 numbers that map a point to the shadow map's column, row and nearness. ``ambient``: 9 colours.
    """

    key: Triple
    key_colour: Triple
    fill: Triple
    fill_colour: Triple
    rim: Triple
    rim_colour: Triple
    ambient: tuple[Triple, ...]
    frame: tuple[tuple[float, float, float, float], ...]


def scalars(values: object) -> tuple:
    """An array of any shape as nested tuples of float32 scalars."""
    array = np.asarray(values, np.float32)
    return tuple(scalars(row) for row in array) if array.ndim > 1 else tuple(np.float32(v) for v in array)


@njit(**DEVICE)
def smoothstep(low, high, value):
    """0 below ``low``, 1 above ``high`` (or the reverse where low > high), smooth between."""
    t = min(max((value - low) / (high - low), np.float32(0.0)), np.float32(1.0))
    return t * t * (np.float32(3.0) - np.float32(2.0) * t)


@njit(**DEVICE)
def normalised(x, y, z):
    """The unit vector in the direction (x, y, z)."""
    scale = np.float32(1.0) / math.sqrt(x * x + y * y + z * z + np.float32(1e-12))
    return x * scale, y * scale, z * scale


@njit(**DEVICE)
def lit_share(lights, shadow_map, x, y, z, nx, ny, nz):
    """Share in [0, 1] of the key light that reaches the point: 3 x 3 shadow map samples, weighted bilinearly."""
    key, frame = lights.key, lights.frame
    if nx * key[0] + ny * key[1] + nz * key[2] < np.float32(-0.5):
        return np.float32(1.0)
    size = shadow_map.shape[0]
    offset = np.float32(0.018)
    x, y, z = x + nx * offset, y + ny * offset, z + nz * offset
    u = frame[0][0] * x + frame[0][1] * y + frame[0][2] * z + frame[0][3] - np.float32(1.0)
    v = frame[1][0] * x + frame[1][1] * y + frame[1][2] * z + frame[1][3] - np.float32(1.0)
    nearness = frame[2][0] * x + frame[2][1] * y + frame[2][2] * z + frame[2][3] + np.float32(0.02)
    if u < 0 or v < 0 or u >= np.float32(size - 2) or v >= np.float32(size - 2):
        return np.float32(1.0)
    column, row = int(u), int(v)
    fu, fv = u - np.float32(column), v - np.float32(row)
    gu, gv = np.float32(1.0) - fu, np.float32(1.0) - fv
    lit = np.float32(0.0)
    for j in range(3):
        weight = gv if j == 0 else (fv if j == 2 else np.float32(1.0))
        line = gu if shadow_map[row + j, column] < nearness else np.float32(0.0)
        line += np.float32(1.0) if shadow_map[row + j, column + 1] < nearness else np.float32(0.0)
        line += fu if shadow_map[row + j, column + 2] < nearness else np.float32(0.0)
        lit += weight * line
    return lit * np.float32(0.25)


@njit(**DEVICE)
def ambient_light(ambient, channel, nx, ny, nz):
    """Ambient irradiance of one channel for a normal; see :func:`game.scene.ambient` for the basis."""
    value = (
        ambient[0][channel]
        + ambient[1][channel] * ny
        + ambient[2][channel] * nz
        + ambient[3][channel] * nx
        + ambient[4][channel] * nx * ny
        + ambient[5][channel] * ny * nz
        + ambient[6][channel] * (np.float32(3.0) * ny * ny - np.float32(1.0))
        + ambient[7][channel] * nx * nz
        + ambient[8][channel] * (nx * nx - nz * nz)
    )
    return max(value, np.float32(0.02) * ambient[0][channel])


@njit(**DEVICE)
def wrapped(cosine, wrap):
    """Diffuse share of light that wraps round the terminator by ``wrap``, as under the skin; energy is kept about equal."""
    t = max((cosine + wrap) / (np.float32(1.0) + wrap), np.float32(0.0))
    third = wrap * np.float32(0.35)
    return t * t * (np.float32(1.0) + third) / (t + third + np.float32(1e-6))


@njit(**DEVICE)
def glint(light, cosine, nx, ny, nz, vx, vy, vz, roughness):
    """Specular lobe (GGX with a cheap visibility term), times the cosine at the light; to be scaled by the reflectance.

    Without branches, so that loops over many points become vector instructions.
    """
    hx, hy, hz = normalised(light[0] + vx, light[1] + vy, light[2] + vz)
    nh = max(nx * hx + ny * hy + nz * hz, np.float32(0.0))
    lh = max(light[0] * hx + light[1] * hy + light[2] * hz, np.float32(0.0))
    a2 = roughness * roughness * roughness * roughness
    d = nh * nh * (a2 - np.float32(1.0)) + np.float32(1.0)
    grazing = (np.float32(1.0) - lh) * (np.float32(1.0) - lh)
    fresnel = np.float32(1.0) + np.float32(12.0) * grazing * grazing * (np.float32(1.0) - lh)
    spread = d * d * max(np.float32(0.1), lh * lh) * (roughness * np.float32(4.0) + np.float32(2.0))
    return fresnel * max(cosine, np.float32(0.0)) * a2 / spread
