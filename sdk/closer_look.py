"""A second look at small faces in large photos.

The canvas has 640 pixels, a phone's photo 4000: the face of someone photographed full length is blurred or lost in the
canvas although the photo shows it well. So a face that is small in the canvas is looked at again: the region around it is
letterboxed onto a canvas of its own, from the photo's full resolution, and `align` runs once more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from sdk.assemble import Tensors
from sdk.geometry import Affine, apply, magnification
from sdk.quality import count_faces

CANDIDATE_SCORE = 0.3
"""What the detector gives at least this probability is worth a second look, though 0.6 is wanted in the end."""
SMALL_BOX = 75.0
"""Faces whose box is smaller, in canvas pixels, are looked at again: their eyes are less than 32 pixels apart, and their
crop is enlarged more than 1.7 times."""
UNSURE_BOX = 150.0
"""The same for what was not accepted as a face: the box of a tiny face is rough and may hold the shoulders too."""
MAX_CLOSER_LOOKS = 2
"""So the region may want to be narrowed once more."""
MIN_GAIN = 1.25
"""A second look must bring at least this much more resolution."""
REGION = 3.0
"""Side of the region, in sides of the box: all of the crop, however the head leans."""


@dataclass(frozen=True)
class Aligned:
    """What `align` said about one canvas.

    Attributes:
        canvas: (640, 640, 3) uint8 RGB.
        from_canvas: (2, 3), canvas pixels -> pixels of the photo.
        tensors: the outputs of `align` without the batch axis.
    """

    canvas: NDArray[np.uint8]
    from_canvas: Affine
    tensors: Tensors


Box: TypeAlias = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels of the photo."""


def look_closer(first: Aligned, look: Callable[[Box], Aligned]) -> tuple[Aligned, int]:
    """The main face, looked at as closely as needed, and the number of faces.

    Args:
        first: the whole photo.
        look: aligns a region of the photo.
    """
    aligned, count = first, count_faces(first.tensors)
    for _ in range(MAX_CLOSER_LOOKS):
        box = closer_box(aligned)
        if box is None:
            break
        closer = look(box)
        if not same_face(aligned, closer):
            break
        aligned, count = closer, max(count, 1)
    return aligned, count


def closer_box(aligned: Aligned) -> Box | None:
    """The region that deserves a second look; None if the first was close enough."""
    x0, y0, x1, y1, score = aligned.tensors["faces"][0].astype(np.float64)
    side = max(x1 - x0, y1 - y0)
    small = SMALL_BOX if count_faces(aligned.tensors) else UNSURE_BOX
    if side >= small or score < CANDIDATE_SCORE or magnification(aligned.from_canvas) < MIN_GAIN:
        return None
    middle, half = np.array([x0 + x1, y0 + y1]) / 2, REGION * side / 2
    (left, top), (right, bottom) = apply(aligned.from_canvas, np.stack([middle - half, middle + half]))
    return float(left), float(top), float(right), float(bottom)


def same_face(first: Aligned, second: Aligned) -> bool:
    """Whether the second look found a face, and the one meant: its centre lies within a box's side of the first's centre.

    Boxes of tiny faces are rough, and another person's head is farther away.
    """
    if not count_faces(second.tensors):
        return False
    before, after = (apply(look.from_canvas, look.tensors["faces"][0, :4].reshape(2, 2)) for look in (first, second))
    return bool(np.abs(before.mean(0) - after.mean(0)).max() <= (before[1] - before[0]).max())
