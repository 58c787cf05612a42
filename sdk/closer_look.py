"""A second look at small faces in large photos.

The canvas has 640 pixels, a phone's photo 4000: the face of someone photographed full length is blurred or lost in the
canvas although the photo shows it well. So a face that is small in the canvas is looked at again: the region around it is
letterboxed onto a canvas of its own, from the photo's full resolution, and `align` runs a second time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sdk.assemble import Tensors
from sdk.contract import CROP_EYE_DISTANCE, CROP_SIZE
from sdk.geometry import Affine, apply, compose, invert, magnification
from sdk.quality import count_faces

SMALL_EYE_DISTANCE = 32.0
"""Faces with a smaller distance between the eyes, in canvas pixels, are looked at again: their crop is enlarged 1.7 times."""
MIN_GAIN = 1.25
"""A second look must bring at least this much more resolution."""
MARGIN = 1.25
"""Side of the region, in sides of the crop: all of the crop, and some to spare for the detector."""


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


def closer_box(aligned: Aligned) -> tuple[float, float, float, float] | None:
    """The region (x0, y0, x1, y1, pixels of the photo) that deserves a second look; None if the first was close enough."""
    eye_distance = CROP_EYE_DISTANCE / magnification(aligned.tensors["transform"])
    if eye_distance >= SMALL_EYE_DISTANCE or magnification(aligned.from_canvas) < MIN_GAIN:
        return None
    from_crop = compose(aligned.from_canvas, invert(aligned.tensors["transform"]))
    half = CROP_SIZE / 2
    corners = half + MARGIN * half * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    corners = apply(from_crop, corners)
    (x0, y0), (x1, y1) = corners.min(0), corners.max(0)
    return float(x0), float(y0), float(x1), float(y1)


def same_face(first: Aligned, second: Aligned) -> bool:
    """Whether the second look found a face again, and the same one: its centre lies within the first look's box."""
    if not count_faces(second.tensors):
        return False
    (x0, y0), (x1, y1) = apply(first.from_canvas, first.tensors["faces"][0, :4].reshape(2, 2))
    centre = second.tensors["faces"][0, :4].reshape(2, 2).mean(0, keepdims=True)
    ((x, y),) = apply(second.from_canvas, centre)
    return bool(x0 <= x <= x1 and y0 <= y <= y1)
