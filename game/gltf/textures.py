"""Pictures for the materials: the renderer's own materials, photographed flat.

Every texel of an atlas is shaded by the functions that shade a picture, under white light from everywhere, without
shadow and seen head on. What comes back is the albedo, so brows, beards, lips, freckles and collar look as they do in
the renders, and there is one definition of them.
"""

from __future__ import annotations

import io

import numpy as np
from numba import njit
from numpy.typing import NDArray
from PIL import Image

from game.gltf.texels import Atlas, fill_gaps
from game.lighting import Lights, scalars, smoothstep
from game.material_eye import _iris as eye_albedo
from game.material_eye import shade_mouth, shade_tooth
from game.material_skin import shade_skin
from game.materials import NORMAL, OCCLUSION, Paint, Textures, blend
from game.rasteriser import KERNEL, STRANDS, strand_covers
from game.shading import M_MOUTH, M_SKIN, M_TONGUE, M_TOOTH_UPPER

Array = NDArray[np.float32]
_F = np.float32

EYE_REACH = _F(0.17)
"""Half the side in dm of the square in front of the eyeball that its texture shows."""
CAVITY = _F(0.45)
"""Ambient occlusion below this darkens the colours."""
RIBBONS, RIBBON_WIDTH, RIBBON_HEIGHT, RIBBON_MARGIN = 16, 32, 256, 3
"""The hair texture holds this many different ribbons side by side, each so many texels, empty at both edges."""


def albedo(
    atlas: Atlas,
    packed: Array,
    material: NDArray[np.uint8],
    paint: Paint,
    textures: Textures,
    strength: float = 1.0,
) -> NDArray[np.uint8]:
    """Colours, sRGB uint8 (S, S, 3), of the materials (T,) of an atlas's triangles, under light of this strength.

    ``packed``: the vertices of the base face as :mod:`game.materials` has them.
    """
    flat = packed.copy()
    flat[:, OCCLUSION] = cavity(packed[:, OCCLUSION])
    linear = np.zeros((*atlas.index.shape, 3), np.float32)
    light = _white_light(strength)
    _albedo(atlas.index, atlas.weights, atlas.triangles, flat, material, light, paint, textures, linear)
    return srgb(fill_gaps(linear, atlas.covered))


def cavity(occlusion: Array) -> Array:
    """The share of ambient occlusion (V,) that goes into the colours: 1 but in nostrils, ears and mouth.

    glTF's occlusion weakens ambient light only, and games rarely cast shadows into nostrils.
    """
    return np.clip(occlusion / CAVITY, 0.0, 1.0)


def surface(atlas: Atlas, occlusion: Array, lips: Array) -> NDArray[np.uint8]:
    """glTF's occlusion (red) and roughness (green), linear uint8 (S, S, 3), from vertex values (V,): lips shine."""
    occlusion, lips = atlas.carry(occlusion / np.maximum(cavity(occlusion), 1e-3)), atlas.carry(lips)
    roughness = 0.58 - 0.2 * np.clip(lips, 0, 1)
    both = np.stack([occlusion, roughness, np.zeros_like(occlusion)], axis=2)
    return np.round(255 * np.clip(both, 0, 1)).astype(np.uint8)


def eyeball(paint: Paint, size: int = 256) -> NDArray[np.uint8]:
    """The front of an eyeball, sRGB uint8 (size, size, 3); see :data:`EYE_REACH`."""
    linear = np.zeros((size, size, 3), np.float32)
    _eyeball(size, paint, linear)
    return srgb(linear)


def strands() -> tuple[NDArray[np.uint8], float]:
    """Hair ribbons, grey sRGB and alpha uint8 (H, W, 4), and the tone that white in it stands for."""
    tone_and_cover = np.zeros((RIBBON_HEIGHT, RIBBONS * RIBBON_WIDTH, 2), np.float32)
    _strands(tone_and_cover)
    brightest = float(tone_and_cover[..., 0].max())
    grey = srgb(np.repeat(tone_and_cover[..., :1] / brightest, 3, axis=2))
    alpha = np.round(255 * tone_and_cover[..., 1:]).astype(np.uint8)
    return np.concatenate([grey, alpha], axis=2), brightest


def srgb(linear: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Linear RGB in [0, 1] as sRGB uint8."""
    value = np.clip(linear, 0.0, 1.0)
    encoded = np.where(value <= 0.0031308, 12.92 * value, 1.055 * np.maximum(value, 0.0031308) ** (1 / 2.4) - 0.055)
    return np.round(255 * encoded).astype(np.uint8)


def jpeg(picture: NDArray[np.uint8], quality: int = 92) -> tuple[bytes, str]:
    """RGB uint8 (H, W, 3) as a JPEG file with full colour resolution, and its MIME type."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality, subsampling=0, optimize=True)
    return stream.getvalue(), "image/jpeg"


def png(picture: NDArray[np.uint8]) -> tuple[bytes, str]:
    """RGBA uint8 (H, W, 4) as a PNG file, and its MIME type."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG", optimize=True)
    return stream.getvalue(), "image/png"


def _white_light(strength: float) -> Lights:
    """White light from everywhere; key, fill and rim are off."""
    off, towards = scalars(np.zeros(3)), scalars([0, 0, 1])
    ambient = scalars(np.eye(9, 1) * np.full(3, strength))
    return Lights(towards, off, towards, off, towards, off, ambient, scalars(np.zeros((3, 4))))


@njit(**KERNEL)
def _albedo(index, weights, triangles, packed, material, lights, paint, textures, out):
    """Shade every texel of an atlas, into ``out`` (S, S, 3) linear RGB."""
    off = _F(0.0)
    for row in range(index.shape[0]):
        for column in range(index.shape[1]):
            t = index[row, column]
            if t < 0:
                continue
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            u, v, w = weights[row, column, 0], weights[row, column, 1], weights[row, column, 2]
            normal = (
                blend(packed, a, b, c, u, v, w, NORMAL),
                blend(packed, a, b, c, u, v, w, NORMAL + 1),
                blend(packed, a, b, c, u, v, w, NORMAL + 2),
            )
            kind = material[t]
            if kind == M_SKIN:
                r, g, b_, _ = shade_skin(packed, a, b, c, u, v, w, normal, normal, off, lights, paint, textures)
            elif kind == M_TONGUE or kind == M_MOUTH:  # noqa: SIM109 (numba: faster than a tuple)
                r, g, b_ = shade_mouth(packed, a, b, c, u, v, w, normal, normal, off, lights, kind == M_TONGUE)
            else:
                r, g, b_ = shade_tooth(packed, a, b, c, u, v, w, normal, normal, off, lights, kind == M_TOOTH_UPPER)
            out[row, column, 0], out[row, column, 1], out[row, column, 2] = r, g, b_


@njit(**KERNEL)
def _eyeball(size, paint, out):
    """Sclera, iris and pupil, in the shade of the lids in which they mostly lie."""
    off = (_F(0.0), _F(0.0), _F(0.0))
    for row in range(size):
        for column in range(size):
            dx = ((column + _F(0.5)) / size - _F(0.5)) * _F(2.0) * EYE_REACH
            dy = (_F(0.5) - (row + _F(0.5)) / size) * _F(2.0) * EYE_REACH
            r, g, b = eye_albedo(paint, dx, dy, np.sqrt(dx * dx + dy * dy), off)
            corner = smoothstep(_F(0.10), _F(0.16), abs(dx))
            lid = smoothstep(_F(0.015), _F(0.095), dy)
            shade = (_F(0.85) - _F(0.35) * corner) * (_F(1.0) - _F(0.55) * lid)
            out[row, column, 0], out[row, column, 1], out[row, column, 2] = r * shade, g * shade, b * shade


@njit(**KERNEL)
def _strands(out):
    """Tone and coverage of ribbons (H, RIBBONS * RIBBON_WIDTH, 2), roots at the top."""
    inner = RIBBON_WIDTH - 2 * RIBBON_MARGIN
    for row in range(RIBBON_HEIGHT):
        for column in range(RIBBONS * RIBBON_WIDTH):
            number = _F((column // RIBBON_WIDTH + 0.5) / RIBBONS)
            covered = 0
            for y in range(4):
                along = _F((row + (y + 0.5) / 4) / RIBBON_HEIGHT)
                for x in range(4):
                    across = _F(2.0 * (column % RIBBON_WIDTH - RIBBON_MARGIN + (x + 0.5) / 4) / inner - 1.0)
                    if abs(across) < _F(1.0) and _covers(across, along, number):
                        covered += 1
            across = _F(2.0 * (column % RIBBON_WIDTH - RIBBON_MARGIN + 0.5) / inner - 1.0)
            out[row, column, 0] = _strand_tone(across, number)
            out[row, column, 1] = covered / _F(16.0)


@njit(**KERNEL)
def _covers(across, along, ribbon):
    """Like :func:`strand_covers`, but strands end closer together, and where they are half as wide.

    A mean alpha near one half over a long way, and fine tips, would turn into dust in a viewer's coarser mip levels.
    """
    along = along * _F(0.75) if along < _F(0.8) else _F(0.6) + (along - _F(0.8)) * _F(3.0)
    cell = (across + _F(1.0)) * _F(0.5 * STRANDS)
    half_way = (np.floor(cell) + _F(0.75)) / _F(0.5 * STRANDS) - _F(1.0)
    return strand_covers(across, along, ribbon) and strand_covers(half_way, along, ribbon)


@njit(**KERNEL)
def _strand_tone(across, ribbon):
    """Strands of one ribbon differ in tone, as :func:`game.material_hair.shade_hair` has it."""
    strand = min(max(np.floor((across + _F(1.0)) * _F(0.5 * STRANDS)), _F(0)), _F(STRANDS - 1))
    chance = ribbon * _F(57.3) + strand * _F(0.618)
    return _F(0.78) + _F(0.44) * (chance - np.floor(chance))
