"""The parts of a face that the segmenter tells apart (CN112200236A [0188]), and how other labels map to them.

[0188] names "left brow, right brow, left eye, right eye, nose, upper lip, teeth, lower lip, face, hair, background and so
on"; neck and ears are added, as one part, so that "face" means what the sliders shape. *Left* and *right* are the person's
own."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from game import labels

Labels = npt.NDArray[np.uint8]

PARTS = (
    "background",
    "skin",
    "brow_left",
    "brow_right",
    "eye_left",
    "eye_right",
    "nose",
    "upper_lip",
    "teeth",
    "lower_lip",
    "hair",
    "neck_and_ears",
)
(
    BACKGROUND,
    SKIN,
    BROW_LEFT,
    BROW_RIGHT,
    EYE_LEFT,
    EYE_RIGHT,
    NOSE,
    UPPER_LIP,
    TEETH,
    LOWER_LIP,
    HAIR,
    NECK_AND_EARS,
) = range(len(PARTS))

ANY = (1 << len(PARTS)) - 1
"""A set of parts is a number with bit *p* for part *p*; this is the set of all."""

MOUTH = (UPPER_LIP, TEETH, LOWER_LIP)
"""What the mouth loss looks at ([0108])."""
REBUILT = (SKIN, BROW_LEFT, BROW_RIGHT, EYE_LEFT, EYE_RIGHT, NOSE, *MOUTH)
"""What identity, expression and pose shape, and the content loss compares: not hair, clothes and the background."""

MIRRORED = tuple(
    PARTS.index(name.replace("left", "right") if "left" in name else name.replace("right", "left")) for name in PARTS
)
"""For every part the part that it becomes in the mirror."""

MIRRORED_SETS = tuple(sum(1 << MIRRORED[part] for part in range(len(PARTS)) if parts >> part & 1) for parts in range(ANY + 1))
"""For every set of parts the set that it becomes in the mirror."""

COLOURS = tuple(labels.COLOURS[labels.LABELS.index({"neck_and_ears": "neck"}.get(part, part))] for part in PARTS)
"""One sRGB colour per part."""

_MERGED = {
    "ears": NECK_AND_EARS,
    "neck": NECK_AND_EARS,
    "mouth_interior": TEETH,  # what is seen between the lips; its dark part has no name in [0188] and cannot be told without them
    "cloth": BACKGROUND,
    "glasses": SKIN,  # thin frames in front of the face; what is seen through the lenses keeps its own label
}
OF_LABELS = tuple(_MERGED[name] if name in _MERGED else PARTS.index(name) for name in labels.LABELS)
"""For every class of :mod:`game.labels` its part. A beard is skin there and here."""


def set_of(*parts: int) -> int:
    """A set of parts as a number."""
    return sum(1 << part for part in parts)


def table(values: tuple[int, ...]) -> Labels:
    """A look-up table (256,) for labels; numbers beyond the given values stay what they are."""
    numbers = np.arange(256, dtype=np.uint8)
    numbers[: len(values)] = values
    return numbers


def picture(parts: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Labels (H, W) as a picture (H, W, 3) in :data:`COLOURS`; numbers of no part are grey."""
    colours = np.full((256, 3), 128, np.uint8)
    colours[: len(PARTS)] = COLOURS
    return colours[parts]
