"""The colours and strengths of one picture: palettes, tints and details of the skin, as the kernels take them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from game.lighting import scalars
from game.materials import Paint
from game.scene import Colour, Scene

Array = NDArray[np.float32]

_NATURAL_LIP = np.array([0.72, 0.44, 0.53], np.float32)
"""A natural lip is skin through which blood shows: what it keeps of each channel."""
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
_NATURAL_FLOOR = np.array([0.022, 0.012, 0.012], np.float32)

_STRENGTHS = (
    "lip_cover", "lip_gloss", "freckles", "redness", "oil", "pores",
    "eye_sockets", "eye_liner", "eye_shadow", "brow_density",
)  # fmt: skip


def _tinted(colour: Array, tint: Colour) -> Array:
    return np.clip(colour * np.asarray(tint, np.float32), 0.002, 0.95).astype(np.float32)


def _lip(skin: Array, lip: Array, natural: bool) -> Array:
    if natural:
        return (skin * _NATURAL_LIP + _NATURAL_FLOOR).astype(np.float32)
    return (0.88 * lip + 0.12 * skin * _NATURAL_LIP).astype(np.float32)


def paint(
    style: Mapping[str, int],
    scene: Scene,
    palettes: Mapping[str, Array],
    eyes: tuple[Array, Array],
    head_up: Array,
    mouth_line: float,
    mouth_light: float,
) -> Paint:
    """The paint of a character of this style in this scene.

    ``palettes``: slot name -> (options, 3) linear RGB; ``eyes``: template centres of the left and the right eyeball;
    ``head_up``: unit vector up the turned head; ``mouth_line``: template y between the lips;
    ``mouth_light``: share of all light that comes in between them to the teeth.
    """
    look = scene.look
    skin = _tinted(palettes["skin"][style["skin"]], look.skin_tint)
    hair = _tinted(palettes["hair_colour"][style["hair_colour"]], look.hair_tint)
    lip = _tinted(_lip(skin, palettes["lip"][style["lip"]], style["lip"] == 0), look.lip_tint)
    iris = _tinted(palettes["iris"][style["iris"]], look.iris_tint)
    # Brows and beard are a little darker than the hair on the head, and never lighter than the skin behind them.
    brow = 0.72 * hair + 0.03 * skin
    brow *= min(1.0, 0.5 * float(skin @ _LUMINANCE) / float(brow @ _LUMINANCE) + 0.05)
    return Paint(
        *(scalars(c) for c in (skin, lip, hair, brow, iris, scene.cloth, scene.glasses_colour, look.eye_shadow_colour)),
        *(scalars(c) for c in (*eyes, head_up)),
        *(np.float32(getattr(look, name)) for name in _STRENGTHS),
        beard_density=np.float32(0.0 if style["beard"] == 0 else look.beard_density),
        scalp=np.float32(0.0 if style["hair"] == 0 else 0.96),
        collar=np.float32(5.45 + 0.45 * scene.collar),
        mouth_line=np.float32(mouth_line),
        mouth_light=np.float32(mouth_light),
        detail_shift=np.float32(look.detail_shift),
    )
