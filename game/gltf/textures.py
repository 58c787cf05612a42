"""The pictures of a character's materials, as glTF wants them: atlases of skin and mouth, an eyeball, hair ribbons."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from game.gltf import flat_shading
from game.gltf.texels import Atlas, fill_gaps
from game.materials import OCCLUSION, Paint, Textures

Array = NDArray[np.float32]

EYE_REACH = np.float32(0.17)
"""Half the side in dm of the square in front of the eyeball that its texture shows."""
CAVITY = np.float32(0.45)
"""Ambient occlusion below this darkens the colours."""
RIBBONS, RIBBON_WIDTH, RIBBON_HEIGHT, RIBBON_MARGIN = 16, 32, 256, 3
"""The hair texture holds this many different ribbons side by side, each so many texels, empty at both edges."""


def colours(
    atlas: Atlas, packed: Array, material: NDArray[np.uint8], paint: Paint, textures: Textures, strength: float = 1.0
) -> NDArray[np.uint8]:
    """Colours, sRGB uint8 (S, S, 3), of an atlas of the base face; for the rest see :func:`game.gltf.flat_shading.albedo`."""
    mesh = packed.copy()
    mesh[:, OCCLUSION] = cavity(packed[:, OCCLUSION])
    shown = atlas.covered
    linear = np.zeros((*atlas.index.shape, 3), np.float32)
    points = (atlas.index[shown], atlas.weights[shown])
    linear[shown] = flat_shading.albedo(points, (mesh, atlas.triangles, material), paint, textures, strength)
    return srgb(fill_gaps(linear, shown))


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
    flat_shading.eyeball(EYE_REACH, paint, linear)
    return srgb(linear)


def strands(taper: Array) -> tuple[NDArray[np.uint8], float]:
    """Hair ribbons, grey sRGB and alpha uint8 (H, W, 4), and the tone that white in it stands for.

    ``taper`` (n,): the ribbons' width from root to tip, 1 where widest; see :func:`game.gltf.geometry.even_ribbons`.
    """
    rows = (np.arange(RIBBON_HEIGHT) + 0.5) / RIBBON_HEIGHT
    taper = np.interp(rows, np.linspace(0, 1, len(taper)), taper).astype(np.float32)
    tone_and_cover = np.zeros((RIBBON_HEIGHT, RIBBONS * RIBBON_WIDTH, 2), np.float32)
    flat_shading.strands(RIBBONS, RIBBON_MARGIN, taper, tone_and_cover)
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
