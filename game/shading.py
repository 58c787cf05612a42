"""From the index buffer to the picture: shade, tone map and average the 2 x 2 samples of every pixel, and vote on its label.

Samples of one pixel that see the same surface (skin of about one depth, one hair ribbon, one tooth) are shaded once, at their
centroid; eyes, which carry the finest detail, are shaded sample by sample. Skin and hair, which are most of the picture, are
collected into batches that are lit with vector instructions. Samples are averaged after tone mapping, so that a bright highlight
does not alias. The label of a pixel is the class of most of its samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from game import labels
from game.kernels import BATCH, DEVICE, KERNEL, source_stamp
from game.lighting import lit_share, normalised, smoothstep
from game.material_cloth import collar_height, shade_cloth
from game.material_eye import shade_eye, shade_lash, shade_mouth, shade_tooth
from game.material_hair import gather_hair, shade_frame, shade_hairs
from game.material_skin import gather_skin, shade_skins
from game.materials import BATCH_ROWS, BLUE, CHUNK, GREEN, NECK, NORMAL, POSITION, RANDOM, RED, TEMPLATE, blend

_F = np.float32
MATERIALS = ("skin", "eye", "lash", "tooth_upper", "tooth_lower", "tongue", "mouth", "frame", "hair")
M_SKIN, M_EYE, M_LASH, M_TOOTH_UPPER, M_TOOTH_LOWER, M_TONGUE, M_MOUTH, M_FRAME, M_HAIR = range(len(MATERIALS))

TONE_LIMIT = 8.0
"""Radiance above this shows as white."""
_TONE_STEPS = 4096


def tone_curve() -> NDArray[np.float32]:
    """Radiance to sRGB-encoded display value in [0, 255]: entry i is for radiance TONE_LIMIT * (i / 4095)^2.

    Straight up to middle tones, with a soft shoulder instead of clipping and a short toe, as film has.
    """
    radiance = TONE_LIMIT * np.square(np.arange(_TONE_STEPS, dtype=np.float64) / (_TONE_STEPS - 1))
    knee = 0.42
    shoulder = knee + (1 - knee) * (1 - np.exp(-(radiance - knee) / (1 - knee) * 0.9))
    linear = np.where(radiance < knee, radiance, np.minimum(shoulder, 1.0))
    linear = linear * (1 - 0.25 * np.exp(-linear / 0.012))
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)
    return (255.0 * srgb).astype(np.float32)


@njit(**DEVICE)
def _display(tone, value):
    scaled = math.sqrt(min(max(value, _F(0.0)), _F(TONE_LIMIT)) * _F(1.0 / TONE_LIMIT))
    return tone[int(scaled * _F(_TONE_STEPS - 1))]


@njit(**DEVICE)
def _same_surface(material, first, second, nearness0, nearness1, packed, triangles):
    """May two samples of a pixel be shaded as one?"""
    if second < 0 or material[first] != material[second] or material[first] == M_EYE:
        return False
    if material[first] == M_HAIR:
        return packed[triangles[first, 0], RANDOM] == packed[triangles[second, 0], RANDOM]
    return abs(nearness0 - nearness1) < _F(0.012) * nearness0


@njit(**DEVICE)
def _weights(screen, a, b, c, x, y):
    """Perspective-correct barycentric weights of a point in the picture, clamped to the triangle."""
    x0, y0, x1, y1, x2, y2 = screen[a, 0], screen[a, 1], screen[b, 0], screen[b, 1], screen[c, 0], screen[c, 1]
    u = max(((x1 - x) * (y2 - y) - (x2 - x) * (y1 - y)) / ((x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)), _F(0.0))
    v = max(((x2 - x) * (y0 - y) - (x0 - x) * (y2 - y)) / ((x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)), _F(0.0))
    w = max(_F(1.0) - u - v, _F(0.0))
    u, v, w = u * screen[a, 2], v * screen[b, 2], w * screen[c, 2]
    scale = _F(1.0) / (u + v + w)
    return u * scale, v * scale, w * scale


@njit(**DEVICE)
def _lid_shadow(index, material, x, y, up_x, up_y, reach):
    """1 right under the upper lid to 0 at ``reach`` samples below it: steps up the picture until the eye ends."""
    height, width = index.shape
    for step in range(1, reach + 1):
        column, row = int(x + up_x * _F(step)), int(y + up_y * _F(step))
        if column < 0 or row < 0 or column >= width or row >= height:
            return _F(0.0)
        t = index[row, column]
        if t < 0 or material[t] != M_EYE:
            return smoothstep(_F(reach), _F(0.0), _F(step - 1))
    return _F(0.0)


@njit(**BATCH)
def _shade_single(kind, packed, a, b, c, u, v, w, below, lid_shadow, lights, paint, textures, shadow_map, eye_point):
    """Radiance and label of a point of anything but skin and hair. ``below``: dm under the collar."""
    px = blend(packed, a, b, c, u, v, w, POSITION)
    py = blend(packed, a, b, c, u, v, w, POSITION + 1)
    pz = blend(packed, a, b, c, u, v, w, POSITION + 2)
    normal = normalised(
        blend(packed, a, b, c, u, v, w, NORMAL),
        blend(packed, a, b, c, u, v, w, NORMAL + 1),
        blend(packed, a, b, c, u, v, w, NORMAL + 2),
    )
    view = normalised(eye_point[0] - px, eye_point[1] - py, eye_point[2] - pz)
    if kind == M_FRAME and normal[0] * view[0] + normal[1] * view[1] + normal[2] * view[2] < 0:
        normal = (-normal[0], -normal[1], -normal[2])
    lit = lit_share(lights, shadow_map, px, py, pz, normal[0], normal[1], normal[2])
    label = labels.EYE_LEFT if packed[a, TEMPLATE] > 0 else labels.EYE_RIGHT
    if kind == M_SKIN:
        r, g, b_ = shade_cloth(packed, a, b, c, u, v, w, below, normal, view, lit, lights, paint, textures)
        label = labels.CLOTH
    elif kind == M_EYE:
        r, g, b_ = shade_eye(packed, a, b, c, u, v, w, normal, view, lit, lid_shadow, lights, paint)
    elif kind == M_LASH:
        r, g, b_ = shade_lash(lit, lights, paint)
    elif kind == M_FRAME:
        r, g, b_ = shade_frame(normal, view, lit, lights, paint)
        label = labels.GLASSES
    elif kind in (M_TONGUE, M_MOUTH):
        r, g, b_ = shade_mouth(packed, a, b, c, u, v, w, normal, view, lit, lights, kind == M_TONGUE)
        label = labels.MOUTH_INTERIOR
    else:
        r, g, b_ = shade_tooth(packed, a, b, c, u, v, w, normal, view, lit, lights, paint, kind == M_TOOTH_UPPER)
        label = labels.TEETH
    return r, g, b_, label


class Batch(NamedTuple):
    """Points that wait to be lit together: their numbers (see :data:`game.materials.CHUNK`), pixels and shares in them."""

    values: NDArray[np.float32]
    pixels: NDArray[np.int32]
    shares: NDArray[np.float32]


@njit(**DEVICE)
def _empty_batch():
    return Batch(np.empty(BATCH_ROWS * CHUNK, np.float32), np.empty(CHUNK, np.int32), np.empty(CHUNK, np.float32))


@njit(**DEVICE)
def _settle(batch, count, tone, shown):
    """Add a lit batch to its pixels, tone mapped."""
    values = batch.values
    for i in range(count):
        pixel, share = batch.pixels[i], batch.shares[i]
        shown[pixel, 0] += share * _display(tone, values[RED + i])
        shown[pixel, 1] += share * _display(tone, values[GREEN + i])
        shown[pixel, 2] += share * _display(tone, values[BLUE + i])


@njit(**DEVICE)
def _group(s, row, column, done, material, index, nearness, packed, triangles):
    """The samples of a pixel that are shaded together with sample ``s``: (bit mask, count, mean x, mean y in samples)."""
    y, x = 2 * row + s // 2, 2 * column + s % 2
    mask, share, sum_x, sum_y = 1 << s, _F(1.0), _F(x), _F(y)
    for other in range(s + 1, 4):
        oy, ox = 2 * row + other // 2, 2 * column + other % 2
        if not done & (1 << other) and _same_surface(
            material, index[y, x], index[oy, ox], nearness[y, x], nearness[oy, ox], packed, triangles
        ):
            mask |= 1 << other
            share, sum_x, sum_y = share + _F(1.0), sum_x + _F(ox), sum_y + _F(oy)
    return mask, share, sum_x / share + _F(0.5), sum_y / share + _F(0.5)


@njit(**DEVICE)
def _vote(seen, row, column, mask, label):
    for s in range(4):
        if mask & (1 << s):
            seen[row, column, s] = label


@njit(**BATCH)
def _shade_picture(
    screen, packed, triangles, material, index, nearness, lights, paint, textures, shadow_map, eye_point, up, background, tone,
    shown, seen,
):  # fmt: skip
    size = seen.shape[0]
    skin, skins, hair, hairs = _empty_batch(), np.int64(0), _empty_batch(), np.int64(0)
    for row in range(size):
        for column in range(size):
            pixel, done = row * size + column, 0
            for s in range(4):
                if done & (1 << s):
                    continue
                t = index[2 * row + s // 2, 2 * column + s % 2]
                if t < 0:
                    for k in range(3):
                        shown[pixel, k] += _F(background[row, column, k])
                    seen[row, column, s] = labels.BACKGROUND
                    continue
                mask, share, x, y = _group(s, row, column, done, material, index, nearness, packed, triangles)
                done |= mask
                kind = material[t]
                a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
                u, v, w = _weights(screen, a, b, c, x, y)
                if kind == M_HAIR:
                    gather_hair(hair.values, hairs, packed, a, b, c, u, v, w, lights, shadow_map, eye_point)
                    _vote(seen, row, column, mask, labels.HAIR)
                    hair.pixels[hairs], hair.shares[hairs] = pixel, share
                    hairs += 1
                    if hairs == CHUNK:
                        shade_hairs(hair.values, hairs, lights, paint, eye_point)
                        _settle(hair, hairs, tone, shown)
                        hairs = 0
                    continue
                tx = blend(packed, a, b, c, u, v, w, TEMPLATE)
                ty = blend(packed, a, b, c, u, v, w, TEMPLATE + 1)
                tz = blend(packed, a, b, c, u, v, w, TEMPLATE + 2)
                neck = blend(packed, a, b, c, u, v, w, NECK)
                below = collar_height(paint, tx, tz) - ty if neck > _F(0.5) else _F(-1.0)
                if kind == M_SKIN and below <= 0:
                    label = gather_skin(
                        skin.values, skins, packed, a, b, c, u, v, w, tx, ty, tz, neck, lights, shadow_map, paint, textures
                    )
                    _vote(seen, row, column, mask, label)
                    skin.pixels[skins], skin.shares[skins] = pixel, share
                    skins += 1
                    if skins == CHUNK:
                        shade_skins(skin.values, skins, lights, paint, eye_point)
                        _settle(skin, skins, tone, shown)
                        skins = 0
                    continue
                lid = _lid_shadow(index, material, int(x), int(y), up[0], up[1], int(up[2])) if kind == M_EYE else _F(0.0)
                r, g, b_, label = _shade_single(
                    kind, packed, a, b, c, u, v, w, below, lid, lights, paint, textures, shadow_map, eye_point
                )
                _vote(seen, row, column, mask, label)
                shown[pixel, 0] += share * _display(tone, r)
                shown[pixel, 1] += share * _display(tone, g)
                shown[pixel, 2] += share * _display(tone, b_)
    shade_hairs(hair.values, hairs, lights, paint, eye_point)
    _settle(hair, hairs, tone, shown)
    shade_skins(skin.values, skins, lights, paint, eye_point)
    _settle(skin, skins, tone, shown)


@njit(**DEVICE)
def _majority(first, second, third, fourth):
    """The commonest of four classes; of equals the one that is not background, then the earlier."""
    best, votes = first, 0
    for label in (first, second, third, fourth):
        count = (label == first) + (label == second) + (label == third) + (label == fourth)
        if count > votes or (count == votes and best == labels.BACKGROUND):
            best, votes = label, count
    return best


@njit(**KERNEL)
def resolve(shown, seen, nearness, image, label, depth):
    """The finished picture from the sums over each pixel's samples: ``image`` (S, S, 3) uint8, ``label`` (S, S) uint8, and
    ``depth`` (S, S) float32, that of the nearest sample, or inf where the label is background."""
    size = image.shape[0]
    for row in range(size):
        for column in range(size):
            for k in range(3):
                image[row, column, k] = np.uint8(min(shown[row * size + column, k] * _F(0.25) + _F(0.5), _F(255.0)))
            votes = seen[row, column]
            label[row, column] = _majority(votes[0], votes[1], votes[2], votes[3])
            y, x = 2 * row, 2 * column
            nearest = max(max(nearness[y, x], nearness[y, x + 1]), max(nearness[y + 1, x], nearness[y + 1, x + 1]))
            depth[row, column] = np.inf if label[row, column] == labels.BACKGROUND else _F(1.0) / nearest


@njit(**BATCH)
def _blend_lenses(screen, packed, lenses, index, lights, eye_point, colour, opacity, tone, image):
    size = image.shape[0]
    for row in range(size):
        for column in range(size):
            for s in range(4):
                y, x = 2 * row + s // 2, 2 * column + s % 2
                t = index[y, x]
                if t < 0:
                    continue
                a, b, c = lenses[t, 0], lenses[t, 1], lenses[t, 2]
                u, v, w = _weights(screen, a, b, c, _F(x) + _F(0.5), _F(y) + _F(0.5))
                px = blend(packed, a, b, c, u, v, w, POSITION)
                py = blend(packed, a, b, c, u, v, w, POSITION + 1)
                pz = blend(packed, a, b, c, u, v, w, POSITION + 2)
                nx, ny, nz = normalised(
                    blend(packed, a, b, c, u, v, w, NORMAL),
                    blend(packed, a, b, c, u, v, w, NORMAL + 1),
                    blend(packed, a, b, c, u, v, w, NORMAL + 2),
                )
                vx, vy, vz = normalised(eye_point[0] - px, eye_point[1] - py, eye_point[2] - pz)
                cosine = nx * vx + ny * vy + nz * vz
                if cosine < 0:
                    nx, ny, nz, cosine = -nx, -ny, -nz, -cosine
                rx, ry, rz = _F(2.0) * cosine * nx - vx, _F(2.0) * cosine * ny - vy, _F(2.0) * cosine * nz - vz
                fresnel = _F(0.05) + _F(0.6) * (_F(1.0) - cosine) ** 4
                spark = smoothstep(_F(0.96), _F(0.99), lights.key[0] * rx + lights.key[1] * ry + lights.key[2] * rz)
                sky = fresnel * smoothstep(_F(-0.05), _F(0.45), ry + _F(0.25) * rx) * _F(0.9)
                for k in range(3):
                    mirrored = sky * lights.ambient[0][k] + _F(0.5) * spark * lights.key_colour[k]
                    through = _F(image[row, column, k]) * (_F(1.0) - opacity) + opacity * _display(
                        tone, colour[k] * lights.ambient[0][k]
                    )
                    shown = min(through + _display(tone, mirrored) * _F(0.55), _F(255.0))
                    image[row, column, k] = np.uint8(
                        _F(image[row, column, k]) + (shown - _F(image[row, column, k])) * _F(0.25) + _F(0.5)
                    )


def _entries(stamp: int) -> tuple[Callable[..., None], Callable[..., None]]:
    """The two kernels that call functions of other files; see :mod:`game.kernels`."""

    @njit(**KERNEL)
    def shade_picture(*arguments):
        """Shade every sample: adds display values (0-255) to ``shown`` (S * S, 3) float32, four times what the pixel will have,
        and writes the label of every sample to ``seen`` (S, S, 4) uint8. Samples are at 2S x 2S.

        ``up`` (3,): the step in samples that goes up the head in the picture, and how many steps long the upper lid's shadow is.
        """
        stamp  # noqa: B018
        _shade_picture(*arguments)

    @njit(**KERNEL)
    def blend_lenses(*arguments):
        """Blend spectacle lenses over a finished picture: a tint, and what slightly curved glass mirrors of sky and key light."""
        stamp  # noqa: B018
        _blend_lenses(*arguments)

    return shade_picture, blend_lenses


shade_picture, blend_lenses = _entries(source_stamp())
