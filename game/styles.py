"""The style parts of the reference game: hair, brows, beards, skin detail, eyewear and the colour palettes.

Everything is read from the committed asset (keys ``styles/...``, written by ``game.baking.styles_stage``) and is needed
at run time as plain numpy arrays. Two kinds of part:

- *geometry* (:class:`HairStyle`, :class:`Eyewear`): triangles near the skin that follow every face. A few *anchors*
  (three per hair strand; nose bridge, temples and ears for eyewear) are weighted means of skin vertices of the base
  face. A part's vertex moves by the displacement of the two anchors it lies between. So a part costs two small gathers,
  stays smooth, and is exact for the base face: ``attach(rig.base)`` is the rest shape.
- *textures*: painted on a cylinder around the base face, ``theta = atan2(x, z - AXIS_Z)`` and ``y`` from TOP to BOTTOM,
  and sampled with the *base* position of a surface point (interpolated over its triangle), so that paint sticks to the
  skin whatever identity and expression do.

Frame and unit: x to the person's own left, y up, z forward; decimetres.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from game.asset import load_asset
from game.style_parts import Eyewear, HairStyle, eyewear, linear_rgb, ribbons
from sdk.schema import REFERENCE, Schema

AXIS_Z = 0.35
"""z of the vertical axis of the texture cylinder, in dm."""
TOP, BOTTOM = 8.7, 5.0
"""y of the upper and lower edge of the textures, in dm."""
TEXTURE_SHAPE = (1024, 2048)
DETAIL_REPEATS = (4, 2)
"""How often ``Styles.detail`` tiles around the cylinder and from TOP to BOTTOM."""
EYEWEAR = ("none", "round", "rectangular", "browline", "sunglasses")
"""Eyewear options; not part of the schema (no parameter describes them), they only make the networks robust."""
Array = NDArray[np.float32]


@dataclass(frozen=True)
class Styles:
    """All style parts, in the order of the options of the schema's slots.

    hair: one :class:`HairStyle` per option, None for "bald".
    scalp: (hair options, H, W) uint8: hair colour painted on the skin under the roots (0 for "bald").
    brow: (brow options, H, W) uint8, beard: (beard options, H, W) uint8: alpha of the hair over the skin; both sides
    painted. lips: (H, W) uint8: red of the lips. freckles: (H, W) uint8.
    detail: (512, 512, 4) uint8, tiles :data:`DETAIL_REPEATS` times around and down the cylinder; 128 stands for 0:
       slope of the skin's height along theta (to the person's left) and along y (up), fine tone (pores, lines), coarse
       tone (mottling).
    eyewear: in the order of :data:`EYEWEAR`, None for "none".
    palettes: slot name -> (options, 3) float32 linear RGB.

    (H, W) is :data:`TEXTURE_SHAPE`; see :func:`texture_coordinates`. 0..255 stands for 0..1.
    """

    hair: tuple[HairStyle | None, ...]
    scalp: NDArray[np.uint8]
    brow: NDArray[np.uint8]
    beard: NDArray[np.uint8]
    lips: NDArray[np.uint8]
    freckles: NDArray[np.uint8]
    detail: NDArray[np.uint8]
    eyewear: tuple[Eyewear | None, ...]
    palettes: Mapping[str, Array]

    @classmethod
    def load(cls) -> Styles:
        """The styles of the committed asset, read once."""
        return _load()


def texture_coordinates(points: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """(s, t) in [0, 1] of base positions (..., 3), dm. s repeats; texel (row, column) has its centre at ((column + 0.5)
    / W, (row + 0.5) / H). s = 0.5 is the middle of the face and grows to the person's left, t = 0 is the top."""
    s = np.arctan2(points[..., 0], points[..., 2] - AXIS_Z) / (2 * np.pi) + 0.5
    return s, (TOP - points[..., 1]) / (TOP - BOTTOM)


def palettes(schema: Schema = REFERENCE) -> dict[str, Array]:
    """Slot name -> (options, 3) float32 linear RGB, for the slots of ``schema`` that have colours."""
    return {slot.name: linear_rgb(slot.colours) for slot in schema.style if slot.colours}


def _uncropped(arrays: Mapping[str, NDArray[np.generic]]) -> NDArray[np.uint8]:
    """Textures (n, H, W) from the window of them that is stored."""
    pixels, (row, column) = arrays["pixels"], arrays["corner"].astype(int)
    out = np.zeros((len(pixels), *TEXTURE_SHAPE), np.uint8)
    out[:, row : row + pixels.shape[1], column : column + pixels.shape[2]] = pixels
    return out


def _below(arrays: Mapping[str, NDArray[np.generic]], prefix: str) -> dict[str, NDArray[np.generic]]:
    """The arrays whose keys begin with ``prefix``, keyed by the rest."""
    return {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}


def from_arrays(arrays: Mapping[str, NDArray[np.generic]], base: NDArray[np.floating], schema: Schema = REFERENCE) -> Styles:
    """Styles from the asset's ``styles/...`` arrays, on the rig's base vertices (V, 3), dm."""
    part = _below(arrays, "styles/")
    hair = [
        None if name == "bald" else ribbons(name, _below(part, f"hair/{name}/"), base) for name in schema.slot("hair").options
    ]
    wear = [None if name == "none" else eyewear(name, _below(part, f"eyewear/{name}/"), base) for name in EYEWEAR]
    return Styles(
        hair=tuple(hair),
        scalp=part["scalp"][part["scalp_of_hair"]],
        brow=_uncropped(_below(part, "texture/brow/")),
        beard=_uncropped(_below(part, "texture/beard/")),
        lips=_uncropped(_below(part, "texture/lips/"))[0],
        freckles=_uncropped(_below(part, "texture/freckles/"))[0],
        detail=part["detail"],
        eyewear=tuple(wear),
        palettes=palettes(schema),
    )


@lru_cache(maxsize=1)
def _load() -> Styles:
    from game.rig import Rig

    return from_arrays(load_asset(), Rig.load().base)
