"""What FaceMesh's landmarks tell about the parts of a face in a photo: for every pixel, which parts it may be.

Labels for photos without labels. Lids and lips are known by their rings, brows and the nose by their surroundings and their
middle: inside, away from the edge, there is only one possibility; outside, away from the edge, that part is excluded. In
between everything stays possible: landmarks are good to about two pixels. Of hair they say that a head goes on above its
forehead, hairy or bald: no render shows real hair, which was taken for background before. To exclude matters as much as to
name: where landmarks only named parts, brows and noses grew over the unlabelled skin around them.

The nose is drawn where the game's labels hold it under these landmarks, so that photos and renders mean the same by it."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from sdk.contract import CROP_SIZE
from train.face_parts import (
    ANY,
    BACKGROUND,
    BROW_LEFT,
    BROW_RIGHT,
    EYE_LEFT,
    EYE_RIGHT,
    LOWER_LIP,
    NECK_AND_EARS,
    NOSE,
    TEETH,
    UPPER_LIP,
    set_of,
)

Points = npt.NDArray[np.float32]
Sets = npt.NDArray[np.int16]

_UPPER_RIM = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)  # of the upper lip, from the person's right
_LOWER_RIM = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
_UNDER_UPPER = (308, 415, 310, 311, 312, 13, 82, 81, 80, 191, 78)  # edge between upper lip and teeth, from the person's left
_OVER_LOWER = (308, 324, 318, 402, 317, 14, 87, 178, 88, 95, 78)
_MOUTH = (*_UPPER_RIM, *_LOWER_RIM[-2:0:-1])
_EYE_RIGHT = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
_EYE_LEFT = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)
_FACE = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip


class Area(NamedTuple):
    """A ring of landmarks; the pixels within, or at most so many pixels outside of it (inside, where negative)."""

    ring: tuple[int, ...]
    margin: int


ONLY_WITHIN = (
    (set_of(EYE_RIGHT), Area(_EYE_RIGHT, 3)),
    (set_of(EYE_LEFT), Area(_EYE_LEFT, 3)),
    (set_of(BROW_RIGHT), Area((70, 63, 105, 66, 107, 55, 65, 52, 53, 46), 5)),
    (set_of(BROW_LEFT), Area((300, 293, 334, 296, 336, 285, 295, 282, 283, 276), 5)),
    (set_of(NOSE), Area((168, 193, 47, 142, 203, 165, 164, 391, 423, 371, 277, 417), 4)),
    (set_of(UPPER_LIP, TEETH, LOWER_LIP), Area(_MOUTH, 3)),
    (set_of(UPPER_LIP), Area((*_UPPER_RIM, *_UNDER_UPPER), 3)),
    (set_of(LOWER_LIP), Area((*_LOWER_RIM, *_OVER_LOWER), 3)),
    (set_of(TEETH), Area((*_UNDER_UPPER, *_OVER_LOWER[-2:0:-1]), 2)),
)
"""Parts that cannot be elsewhere."""
SURELY = (
    (set_of(EYE_RIGHT), Area(_EYE_RIGHT, -1)),
    (set_of(EYE_LEFT), Area(_EYE_LEFT, -1)),
    (set_of(NOSE), Area((6, 196, 236, 134, 131, 49, 64, 98, 97, 2, 326, 327, 294, 279, 360, 363, 456, 419), -1)),
    (set_of(UPPER_LIP), Area((*_UPPER_RIM, *_UNDER_UPPER), -1)),
    (set_of(LOWER_LIP), Area((*_LOWER_RIM, *_OVER_LOWER), -1)),
    (set_of(TEETH), Area((*_UNDER_UPPER, *_OVER_LOWER[-2:0:-1]), -2)),
)
"""Parts that are the only possibility there."""
BROW_MIDDLES = (
    (set_of(BROW_RIGHT), ((70, 46), (63, 53), (105, 52), (66, 65), (107, 55))),
    (set_of(BROW_LEFT), ((300, 276), (293, 283), (334, 282), (296, 295), (336, 285))),
)
"""Pairs of landmarks above and below a brow's middle, along which there is nothing but brow."""
NOT_IN_FACE = set_of(BACKGROUND, NECK_AND_EARS)
HAIRLINE = ((54, 0.3), (103, 0.6), (67, 0.85), (109, 1.0), (10, 1.0), (338, 1.0), (297, 0.85), (332, 0.6), (284, 0.3))
"""Landmarks along the upper forehead, and how far the head surely goes on above each, in units of HEAD."""
HEAD = 0.15
"""Share of the height of the face, from chin to hairline: half of what is above the hairline of a bald head."""
FACE = Area(_FACE, -8)

_SUBPIXEL = 4  # bits of OpenCV's fixed-point coordinates


def possible_parts(landmarks: Points) -> Sets:
    """Landmarks (468, 2) in crop pixels -> for every pixel (256, 256) the set of parts that it may be, see
    :data:`train.face_parts.ANY`."""
    possible = np.full((CROP_SIZE, CROP_SIZE), ANY, np.int16)
    possible[_drawn(landmarks, FACE) | _above(landmarks)] &= ANY & ~NOT_IN_FACE
    for parts, area in ONLY_WITHIN:
        possible[~_drawn(landmarks, area)] &= ANY & ~parts
    for parts, area in SURELY:
        possible[_drawn(landmarks, area)] = parts
    for parts, pairs in BROW_MIDDLES:
        middle = np.array([landmarks[list(pair)].mean(0) for pair in pairs])
        cv2.polylines(possible, [_fixed(middle)], False, parts, 2, cv2.LINE_8, _SUBPIXEL)
    return possible


def _above(landmarks: Points) -> npt.NDArray[np.bool_]:
    """(256, 256) where a head goes on above its forehead."""
    up = HEAD * (landmarks[10] - landmarks[152])
    over, under = (np.array([landmarks[point] + sign * height * up for point, height in HAIRLINE]) for sign in (1, -1))
    canvas = np.zeros((CROP_SIZE, CROP_SIZE), np.uint8)
    cv2.fillPoly(canvas, [_fixed(np.concatenate([under, over[::-1]]))], 1, cv2.LINE_8, _SUBPIXEL)
    return canvas.astype(bool)


def _drawn(landmarks: Points, area: Area) -> npt.NDArray[np.bool_]:
    """(256, 256) which pixels an area has."""
    canvas = np.zeros((CROP_SIZE, CROP_SIZE), np.uint8)
    ring = [_fixed(landmarks[list(area.ring)])]
    cv2.fillPoly(canvas, ring, 1, cv2.LINE_8, _SUBPIXEL)
    cv2.polylines(canvas, ring, True, int(area.margin > 0), 2 * abs(area.margin), cv2.LINE_8, _SUBPIXEL)
    return canvas.astype(bool)


def _fixed(points: Points) -> npt.NDArray[np.int32]:
    """OpenCV's fixed-point coordinates, which count from the centre of the first pixel."""
    return np.round((points - 0.5) * 2**_SUBPIXEL).astype(np.int32)
