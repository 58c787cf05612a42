"""What skin, lips, eyes, teeth, cloth, hair and spectacle frames look like: one numba device function per material.

Textures are painted on a cylinder round the *template* (the base face before any slider): theta = atan2(x, z - 0.35) and y from
5 to 8.7 dm, so that freckles, brows and beards stay where they are on the face whatever its shape. Each function returns the
linear RGB radiance towards the camera; :mod:`game.shading` calls them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from game.kernels import DEVICE, whole_below
from game.lighting import Triple, ambient_light, glint, wrapped

POSITION, NORMAL = 0, 3
TEMPLATE, OCCLUSION, MOUTH, NOSE, EARS, NECK, LIDS, UPPER_LIP = 6, 9, 10, 11, 12, 13, 14, 15
TANGENT, RANDOM, ALONG, ACROSS, OPENNESS = 6, 9, 10, 11, 12
CHANNELS = 16
"""Columns of the packed vertices (V, 16): head vertices use the second line, hair vertices the third."""

CHUNK = 256
"""Points that are shaded together. A batch holds one row of CHUNK numbers per quantity, one after the other in one array: the
rows lie at constant distances, so that the compiler can prove them apart and shade 8 or 16 points with each instruction."""

BATCH_ROWS = 25
RED, GREEN, BLUE = (CHUNK * row for row in (22, 23, 24))
"""Where a batch's radiance lies after shading."""

_F = np.float32


class Paint(NamedTuple):
    """Colours (linear RGB) and strengths of one picture, as the kernels take them: float32 scalars and triples of them.

    See :class:`game.scene.Look` for the strengths. ``head``: unit vector up the turned head; ``eye_left``, ``eye_right``:
    template centres of the eyeballs.
    """

    skin: Triple
    lip: Triple
    hair: Triple
    brow: Triple
    iris: Triple
    cloth: Triple
    frame: Triple
    liner: Triple
    eye_left: Triple
    eye_right: Triple
    head: Triple
    lip_cover: float
    lip_gloss: float
    freckles: float
    redness: float
    oil: float
    pores: float
    eye_sockets: float
    eye_liner: float
    eye_shadow: float
    brow_density: float
    beard_density: float
    scalp: float
    collar: float
    mouth_line: float
    mouth_light: float
    detail_shift: float


class Textures(NamedTuple):
    """The pictures that skin is painted with, on the template's cylinder; see :class:`game.styles.Styles`."""

    detail: NDArray[np.uint8]
    freckles: NDArray[np.uint8]
    lips: NDArray[np.uint8]
    brow: NDArray[np.uint8]
    beard: NDArray[np.uint8]
    scalp: NDArray[np.uint8]


@njit(**DEVICE)
def blend(packed, a, b, c, u, v, w, channel):
    """A vertex channel interpolated in a triangle."""
    return packed[a, channel] * u + packed[b, channel] * v + packed[c, channel] * w


@njit(**DEVICE)
def cylinder(tx, ty, tz):
    """Texture coordinates (s, t) of a place on the template: the angle round the axis by a polynomial, good to 0.0001 rad."""
    z = tz - _F(0.35)
    ax, az = abs(tx), abs(z)
    ratio = min(ax, az) / max(max(ax, az), _F(1e-9))
    square = ratio * ratio
    angle = ((_F(-0.0464964749) * square + _F(0.15931422)) * square - _F(0.327622764)) * square * ratio + ratio
    if ax > az:
        angle = _F(0.5 * math.pi) - angle
    if z < 0:
        angle = _F(math.pi) - angle
    if tx < 0:
        angle = -angle
    return angle * _F(0.5 / math.pi) + _F(0.5), (_F(8.7) - ty) * _F(1.0 / 3.7)


@njit(**DEVICE)
def coverage(texture, s, t):
    """Bilinear look-up of a one-channel picture, 0 to 1, at s, t in [0, 1]."""
    height, width = texture.shape
    x = min(max(s * _F(width) - _F(0.5), _F(0.0)), _F(width - 1.001))
    y = min(max(t * _F(height) - _F(0.5), _F(0.0)), _F(height - 1.001))
    column, row = int(x), int(y)
    fx, fy = x - _F(column), y - _F(row)
    top = _F(texture[row, column]) * (_F(1.0) - fx) + _F(texture[row, column + 1]) * fx
    bottom = _F(texture[row + 1, column]) * (_F(1.0) - fx) + _F(texture[row + 1, column + 1]) * fx
    return (top * (_F(1.0) - fy) + bottom * fy) * _F(1.0 / 255.0)


@njit(**DEVICE)
def _mean_texel(p, q, r, z, w00, w01, w10, w11):
    return (_F(p) * w00 + _F(q) * w01 + _F(r) * w10 + _F(z) * w11) * _F(1.0 / 127.0) - _F(128.0 / 127.0)


@njit(**DEVICE)
def detail_at(pixels, s, t):
    """Bilinear look-up of the four detail channels, each about [-1, 1] (128 stands for 0); s and t repeat."""
    height, width = pixels.shape[0], pixels.shape[1]
    x, y = s * _F(width) - _F(0.5), t * _F(height) - _F(0.5)
    column, row = whole_below(x), whole_below(y)
    fx, fy = x - _F(column), y - _F(row)
    column %= width
    row %= height
    right = column + 1 if column + 1 < width else 0
    below = row + 1 if row + 1 < height else 0
    w11 = fx * fy
    w01, w10 = fx - w11, fy - w11
    w00 = _F(1.0) - fx - w10
    p, q, r, z = pixels[row, column], pixels[row, right], pixels[below, column], pixels[below, right]
    return (
        _mean_texel(p[0], q[0], r[0], z[0], w00, w01, w10, w11),
        _mean_texel(p[1], q[1], r[1], z[1], w00, w01, w10, w11),
        _mean_texel(p[2], q[2], r[2], z[2], w00, w01, w10, w11),
        _mean_texel(p[3], q[3], r[3], z[3], w00, w01, w10, w11),
    )


@njit(**DEVICE)
def cosines(lights, normal):
    """Cosines between a normal and the key, fill and rim lights."""
    nx, ny, nz = normal
    key, fill, rim = lights.key, lights.fill, lights.rim
    return (
        nx * key[0] + ny * key[1] + nz * key[2],
        nx * fill[0] + ny * fill[1] + nz * fill[2],
        nx * rim[0] + ny * rim[1] + nz * rim[2],
    )


@njit(**DEVICE)
def soft_light(lights, channel, wrap, bleed, lit, towards, normal, occlusion):
    """Diffuse irradiance of one channel: ``wrap`` softens the terminator, ``bleed`` lifts the edge of the cast shadow.

    ``towards``: cosines to the lights; ``normal``: for the ambient light.
    """
    share = lit + bleed * lit * (_F(1.0) - lit) * _F(4.0)
    direct = wrapped(towards[0], wrap) * share * lights.key_colour[channel] * (_F(0.35) + _F(0.65) * occlusion)
    others = wrapped(towards[1], wrap) * lights.fill_colour[channel] + wrapped(towards[2], wrap) * lights.rim_colour[channel]
    return direct + (others + ambient_light(lights.ambient, channel, normal[0], normal[1], normal[2])) * occlusion


@njit(**DEVICE)
def skin_light(lights, channel, wrap, bleed, lit, normal, occlusion):
    """:func:`soft_light` where all of it goes by one normal."""
    return soft_light(lights, channel, wrap, bleed, lit, cosines(lights, normal), normal, occlusion)


@njit(**DEVICE)
def gloss(lights, towards, normal, view, roughness, lit, occlusion):
    """Specular light of key, fill and rim together, per unit of reflectance, for the three channels."""
    nx, ny, nz = normal
    vx, vy, vz = view
    first = glint(lights.key, towards[0], nx, ny, nz, vx, vy, vz, roughness) * lit
    second = glint(lights.fill, towards[1], nx, ny, nz, vx, vy, vz, roughness) * occlusion
    third = glint(lights.rim, towards[2], nx, ny, nz, vx, vy, vz, roughness) * occlusion
    k, f, r = lights.key_colour, lights.fill_colour, lights.rim_colour
    return (
        first * k[0] + second * f[0] + third * r[0],
        first * k[1] + second * f[1] + third * r[1],
        first * k[2] + second * f[2] + third * r[2],
    )
