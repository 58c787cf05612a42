"""Random scenes: light, camera, background, spectacles, cloth and the details of the skin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from game.camera import Camera
from game.character import Character
from game.scene import Colour, Light, Look, Scene, gradient
from game.styles import EYEWEAR, linear_rgb
from sdk.schema import REFERENCE

Picture = NDArray[np.uint8]

GLASSES_SHARE = 0.12
PHOTO_SHARE = 0.8
"""Share of backgrounds cut from photos, where photos are given."""


def sample_scene(
    rng: np.random.Generator, backgrounds: Sequence[Picture] | None = None, character: Character | None = None, size: int = 256
) -> Scene:
    """A random scene for pictures of ``size`` pixels.

    ``backgrounds``: strips of photos (sRGB uint8, see :func:`game.backgrounds.load_strips`). With ``character`` given, its eyes
    look about as far to the camera as people's do, and its colours vary round its palette entries; without, the colours stay.
    """
    look = sample_look(rng)
    gaze = rng.normal(size=2) * (0.22, 0.15)
    key, fill, rim, ambient, exposure = sample_lights(rng)
    if character is not None:
        look = replace(look, **sample_tints(rng, character))
        exposure *= _metered(character)
        if rng.random() < 0.6:
            gaze += np.array([-character.pose[1] / 45, -character.pose[0] / 40]) * rng.uniform(0.5, 1.0)
    glasses = 0
    if rng.random() < GLASSES_SHARE:
        glasses = int(rng.integers(1, len(EYEWEAR)))
    return Scene(
        camera=sample_camera(rng, size),
        key=key,
        fill=fill,
        rim=rim,
        ambient=ambient,
        exposure=exposure,
        background=sample_background(rng, backgrounds),
        glasses=glasses,
        glasses_colour=_linear(rng.uniform(5, 60, 3) if rng.random() < 0.7 else rng.uniform(20, 200, 3)),
        lens_tint=float(rng.uniform(0.02, 0.12)),
        cloth=_linear(rng.uniform(15, 235) + rng.normal(size=3) * rng.choice([6, 45])),
        collar=float(rng.uniform(0.1, 1.0)),
        look=look,
        gaze=(float(np.clip(gaze[0], -1, 1)), float(np.clip(gaze[1], -1, 1))),
    )


def _metered(character: Character) -> float:
    """Photographers expose for the face: fair skin a little less, dark skin a little more."""
    skin = _palette("skin")[1][character.style["skin"]]
    return float(np.clip((0.30 / skin.mean()) ** 0.35, 0.75, 1.5))


def sample_camera(rng: np.random.Generator, size: int) -> Camera:
    """From an arm's length to across a room, framed and tilted as carelessly as photos are; alignment re-crops."""
    distance = math.exp(rng.uniform(math.log(4.5), math.log(16.0)))
    target = (float(rng.normal() * 0.10), float(7.12 + rng.normal() * 0.10))
    camera = Camera.portrait(size, view=float(rng.uniform(3.25, 3.95)), distance=distance, target=target)
    return replace(camera, roll=float(np.clip(rng.normal() * 5, -20, 20)))


def sample_lights(rng: np.random.Generator) -> tuple[Light, Light, Light, NDArray[np.float32], float]:
    """Key, fill and rim light, ambient coefficients and exposure: from an overcast sky to one hard lamp."""
    hardness = rng.uniform(0.15, 0.9)
    warmth = rng.normal() * 0.10
    azimuth = rng.uniform(-75, 75) if rng.random() < 0.9 else rng.uniform(-125, 125)
    key = Light.at(azimuth, float(np.clip(28 + rng.normal() * 20, -15, 75)), _tinted(rng, 1.15 * hardness, warmth))
    fill_at = -math.copysign(rng.uniform(20, 80), azimuth)
    fill = Light.at(fill_at, rng.uniform(-15, 35), _tinted(rng, rng.uniform(0.0, 0.35), rng.normal() * 0.10))
    rim_at = math.copysign(rng.uniform(110, 165), rng.normal())
    rim = Light.at(
        rim_at, rng.uniform(0, 50), _tinted(rng, rng.uniform(0, 0.8) if rng.random() < 0.6 else 0.0, rng.normal() * 0.15)
    )
    level = np.asarray(_tinted(rng, 0.16 + 0.55 * (1 - hardness), -0.5 * warmth + rng.normal() * 0.06))
    ambient = np.zeros((9, 3), np.float32)
    slopes = rng.normal(size=8) * (0.16, 0.12, 0.14, 0.05, 0.05, 0.05, 0.05, 0.05) + (0.22, 0.15, 0, 0, 0, 0, 0, 0)
    ambient[0], ambient[1:] = level, np.outer(slopes, level)
    exposure = math.exp(rng.normal() * (0.22 if rng.random() < 0.85 else 0.5))
    return key, fill, rim, ambient, float(np.clip(exposure, 0.3, 2.2))


def sample_look(rng: np.random.Generator) -> Look:
    """Details of skin, make-up and lips."""
    made_up = rng.random() < 0.3
    return Look(
        freckles=float(rng.uniform(0.2, 1.0)) if rng.random() < 0.18 else 0.0,
        redness=float(rng.uniform(0.1, 0.9)),
        oil=float(rng.uniform(0.1, 0.9)),
        pores=float(rng.uniform(0.15, 0.6)),
        eye_sockets=float(rng.uniform(0.1, 0.8)),
        eye_liner=float(rng.uniform(0.3, 0.9)) if made_up else float(rng.uniform(0.0, 0.2)),
        eye_shadow=float(rng.uniform(0.1, 0.7)) if made_up and rng.random() < 0.6 else 0.0,
        eye_shadow_colour=_linear(rng.uniform(30, 110) + rng.normal(size=3) * 18),
        lip_gloss=float(rng.uniform(0.1, 0.9)),
        lip_cover=float(rng.uniform(0.7, 1.0)),
        brow_density=float(rng.uniform(0.75, 1.15)),
        beard_density=float(rng.uniform(0.8, 1.1)),
        detail_shift=float(rng.random()),
    )


def sample_tints(rng: np.random.Generator, character: Character) -> dict[str, Colour]:
    """Factors that move the character's colours off their palette entries, but not past half way to another one."""
    slots = {"skin_tint": "skin", "hair_tint": "hair_colour", "iris_tint": "iris", "lip_tint": "lip"}
    return {tint: _off_entry(rng, slot, character.style[slot]) for tint, slot in slots.items()}


def _off_entry(rng: np.random.Generator, slot: str, index: int) -> Colour:
    palette, linear = _palette(slot)
    entry, other = palette[index], palette[rng.integers(len(palette))]
    step = rng.uniform(0.0, 0.45) * (other - entry) + rng.normal(size=3) * 0.03 * entry
    # A colour past half way to another entry would be that entry's: halve the step until it is not, nor a strange hue.
    while np.any(np.abs(step) > 0.16 * entry + 2) or np.argmin(np.square(palette - entry - step).sum(1)) != index:
        step *= 0.5
    shifted = _linear(entry + step)
    return tuple(float(a / b) for a, b in zip(shifted, linear[index], strict=True))


@cache
def _palette(slot: str) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """The colours of a slot's options: sRGB in 0-255, and linear RGB."""
    colours = REFERENCE.slot(slot).colours
    return np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in colours], np.float64), linear_rgb(colours)


def sample_background(rng: np.random.Generator, strips: Sequence[Picture] | None = None) -> Picture:
    """A background picture (sRGB uint8): strips of photos, a gradient, or soft noise."""
    if strips and rng.random() < PHOTO_SHARE:
        return _photo_background(rng, strips)
    if rng.random() < 0.5:
        middle = rng.uniform(20, 225) + rng.normal(size=3) * rng.choice([5, 30])
        slope = rng.normal() * 35 + rng.normal(size=3) * 8
        return gradient(tuple(middle + slope), tuple(middle - slope))
    cells = int(rng.integers(2, 14))
    noise = (
        rng.uniform(20, 225)
        + rng.normal(size=(cells, cells, 1)) * rng.uniform(8, 60)
        + rng.normal(size=(cells, cells, 3)) * rng.uniform(3, 35)
    )
    picture = Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8))
    return np.asarray(picture.resize((96, 96), Image.Resampling.BICUBIC))


def _photo_background(rng: np.random.Generator, strips: Sequence[Picture]) -> Picture:
    """One strip, a strip with its mirror image, or two strips side by side; sometimes out of focus."""
    strip = strips[rng.integers(len(strips))]
    height = int(rng.integers(min(60, len(strip)), len(strip) + 1))
    top = int(rng.integers(0, len(strip) - height + 1))
    strip = strip[top : top + height]
    kind = rng.random()
    if kind < 0.4:
        strip = np.concatenate([strip, strip[:, ::-1]], 1)
    picture = Image.fromarray(np.ascontiguousarray(strip)).resize((160, 160), Image.Resampling.BILINEAR)
    if kind > 0.7:
        other = strips[rng.integers(len(strips))]
        picture.paste(Image.fromarray(np.ascontiguousarray(other)).resize((80, 160), Image.Resampling.BILINEAR), (80, 0))
    if rng.random() < 0.3:
        picture = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(1, 6))))
    bright = np.asarray(picture, np.float32) * np.float32(rng.uniform(0.6, 1.3))
    return np.clip(bright, 0, 255).astype(np.uint8)


def _tinted(rng: np.random.Generator, level: float, warmth: float) -> Colour:
    green = 1 + rng.normal() * 0.02
    return level * (1 + warmth), level * green, level * (1 - warmth)


def _linear(srgb: NDArray[np.floating]) -> Colour:
    """sRGB in 0-255 to linear RGB."""
    share = np.clip(np.asarray(srgb, np.float64), 1, 254) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return float(linear[0]), float(linear[1]), float(linear[2])
