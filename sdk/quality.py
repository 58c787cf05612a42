"""Is the face in a photo good enough to be solved? Measures, and machine-readable reasons where it is not.

Measures come from the canvas and the outputs of `align` alone, so that every client, embedded or on a server, judges
alike. The limits are calibrated: all but a few per thousand of the portraits and news photos of the development sets
pass, no picture without a face does, and each limit lies where photos that were made worse on purpose lose what is to
be solved (`python -m benchmarks.alignment`).

Needs numpy only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.contract import CANVAS_SIZE, CROP_EYE_DISTANCE
from sdk.errors import Reason

MIN_DETECTOR_SCORE = 0.6
"""Below, nothing was found. LFW's lowest is 0.81; of random corners of its photos 1.5 % score higher."""
MIN_MESH_SCORE = 0.5
"""Below, what was found is no face."""
SURE_MESH_SCORE = 0.999
"""Below, the landmarks lie beside the face. Real faces score above 0.9999 even when blurred, dark or with eyes ten pixels
apart; of faces that are upside down, whose landmarks are wrong, 4 % score higher."""
MIN_EYE_DISTANCE = 16.0
"""Pixels. Below, the landmarks' error grows: 0.031 eye distances at 16 pixels and more, 0.039 at 12."""
MIN_SHARPNESS = 0.04
"""LFW's lowest is 0.06, studio portraits' 0.11; a blur of 6 % of the eye distance gives 0.04."""
MIN_BRIGHTNESS = 0.06
MAX_BRIGHTNESS = 0.95
"""LFW's faces of all complexions lie between 0.27 and 0.77. Outside the limits landmarks hold, but colours are lost."""
MIN_CONTRAST = 0.04
"""LFW's lowest is 0.24."""
MAX_YAW = 60.0
"""Degrees. Beyond, half of the face is not seen; LFW's largest is 34."""
MAX_CUT_OFF = 0.1
"""LFW's and the portraits' largest is 0.003."""

FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
"""FaceMesh's outline of the face, once around."""
RIGHT_SIDE, LEFT_SIDE = 234, 454
"""FaceMesh's points before the ears; right and left are the person's own."""

Outputs = Mapping[str, NDArray[Any]]
"""Outputs of `align` for one photo by name, without the batch axis."""


@dataclass(frozen=True)
class Quality:
    """What was measured.

    Attributes:
        detector_score: probability that the detector gives the face.
        mesh_score: probability that the landmarks lie on a face.
        eye_distance: distance between the eyes, as if seen from the front, in pixels of the canvas or of the photo,
            whichever is smaller: the detail that there really is.
        sharpness: strength of fine structure in the face against its contrast; 0 is none.
        brightness: median luminance of the face, 0 black to 1 white.
        contrast: range of luminance in the face, from the 5th to the 95th percentile.
        yaw: degrees, > 0 when the head turns to the person's own left. A coarse estimate for rejection.
        cut_off: share of the face that lies outside the photo.
    """

    detector_score: float
    mesh_score: float
    eye_distance: float
    sharpness: float
    brightness: float
    contrast: float
    yaw: float
    cut_off: float


def count_faces(align: Outputs) -> int:
    """Number of faces in the photo, 0 to 4. The first is one only if its landmarks say so too."""
    scores = align["faces"][:, 4]
    if scores[0] < MIN_DETECTOR_SCORE or align["mesh_score"] < MIN_MESH_SCORE:
        return 0
    return int((scores >= MIN_DETECTOR_SCORE).sum())


def measure(align: Outputs, canvas: NDArray[np.uint8], photo_scale: float) -> Quality:
    """Measure the main face.

    Args:
        align: outputs of `align` by name, without the batch axis.
        canvas: (640, 640, 3) uint8, what `align` saw.
        photo_scale: pixels of the photo per pixel of the canvas.
    """
    transform = align["transform"].astype(np.float64)
    crop_scale = float(np.hypot(transform[0, 0], transform[1, 0]))  # crop pixels per canvas pixel
    landmarks = align["landmarks"].astype(np.float64)
    luminance = face_luminance(align["crop"], landmarks)
    low, middle, high = np.percentile(luminance, (5, 50, 95))
    across = landmarks[LEFT_SIDE] - landmarks[RIGHT_SIDE]
    return Quality(
        detector_score=float(align["detector_score"]),
        mesh_score=float(align["mesh_score"]),
        eye_distance=CROP_EYE_DISTANCE / crop_scale * min(1.0, photo_scale),
        sharpness=sharpness(luminance),
        brightness=float(middle),
        contrast=float(high - low),
        yaw=float(np.degrees(np.arctan2(across[2], across[0]))),
        cut_off=cut_off(landmarks[list(FACE_OVAL), :2], transform, canvas),
    )


def face_luminance(crop: NDArray[Any], landmarks: NDArray[Any]) -> NDArray[np.float64]:
    """Luminance in [0, 1] of the box around the face's inner features at half the crop's resolution.

    Args:
        crop: (3, 256, 256) RGB in [0, 1].
        landmarks: (468, 3) crop pixels.
    """
    size = crop.shape[-1] // 2
    grey = np.tensordot([0.299, 0.587, 0.114], crop, 1)
    grey = grey.reshape(size, 2, size, 2).mean((1, 3))
    oval = landmarks[list(FACE_OVAL), :2] / 2
    (x0, y0), (x1, y1) = oval.min(0), oval.max(0)
    # A margin: hair and background, and light on them, say nothing about the face.
    dx, dy = 0.15 * (x1 - x0), 0.1 * (y1 - y0)
    left, right = np.clip([x0 + dx, x1 - dx], 0, size).astype(int)
    top, bottom = np.clip([y0 + dy, y1 - dy], 0, size).astype(int)
    box = grey[top:bottom, left:right]
    return np.asarray(box if min(box.shape) >= 8 else grey, np.float64)


def sharpness(luminance: NDArray[np.float64]) -> float:
    """Mean strength of the Laplacian of a picture, divided by the picture's standard deviation."""
    inner = luminance[1:-1, 1:-1]
    around = luminance[:-2, 1:-1] + luminance[2:, 1:-1] + luminance[1:-1, :-2] + luminance[1:-1, 2:]
    return float(np.std(around / 4 - inner) / (np.std(luminance) + 1e-3))


def cut_off(oval: NDArray[np.float64], transform: NDArray[np.float64], canvas: NDArray[np.uint8]) -> float:
    """Share of the face's area outside the photo.

    Args:
        oval: (N, 2) outline of the face, crop pixels.
        transform: (2, 3) canvas -> crop pixels.
        canvas: (640, 640, 3) uint8; black bars at its sides are not part of the photo.
    """
    outline = (oval - transform[:, 2]) @ np.linalg.inv(transform[:, :2]).T
    # Columns one axis at a time: a hundred times faster than any((0, 2)).
    columns, rows = canvas.max(0).max(1).nonzero()[0], canvas.any((1, 2)).nonzero()[0]
    low = (columns[0], rows[0]) if columns.size else (0, 0)
    high = (columns[-1] + 1, rows[-1] + 1) if columns.size else (CANVAS_SIZE, CANVAS_SIZE)
    inside = outline
    for axis in (0, 1):
        inside = _clip(inside, axis, low[axis], 1)
        inside = _clip(inside, axis, high[axis], -1)
    whole = _area(outline)
    return 1 - _area(inside) / whole if whole > 0 else 1.0


def _clip(polygon: NDArray[np.float64], axis: int, limit: float, sign: int) -> NDArray[np.float64]:
    """The part of a polygon (N, 2) where ``sign * (coordinate - limit) >= 0`` (Sutherland and Hodgman, 1974)."""
    kept = []
    depth = sign * (polygon[:, axis] - limit) if len(polygon) else polygon
    for i, here in enumerate(polygon):
        before = polygon[i - 1]
        if (depth[i] >= 0) != (depth[i - 1] >= 0):
            kept.append(before + (here - before) * (depth[i - 1] / (depth[i - 1] - depth[i])))
        if depth[i] >= 0:
            kept.append(here)
    return np.array(kept).reshape(-1, 2)


def _area(polygon: NDArray[np.float64]) -> float:
    if len(polygon) < 3:
        return 0.0
    x, y = polygon.T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def reasons(quality: Quality) -> tuple[Reason, ...]:
    """Why the face cannot be solved, worst first; empty if it can."""
    q = quality
    if q.detector_score < MIN_DETECTOR_SCORE:
        return (Reason("no_face", q.detector_score, MIN_DETECTOR_SCORE, "no face was found"),)
    if q.mesh_score < MIN_MESH_SCORE:
        return (Reason("no_face", q.mesh_score, MIN_MESH_SCORE, "what was found does not look like a face"),)
    unclear = "the face is upside down, covered or hardly visible"
    checks = (
        (q.mesh_score < SURE_MESH_SCORE, "unclear", q.mesh_score, SURE_MESH_SCORE, unclear),
        (q.eye_distance < MIN_EYE_DISTANCE, "too_small", q.eye_distance, MIN_EYE_DISTANCE, "the face is too small"),
        (q.cut_off > MAX_CUT_OFF, "cut_off", q.cut_off, MAX_CUT_OFF, "the face is cut off by the border of the photo"),
        (abs(q.yaw) > MAX_YAW, "turned_away", abs(q.yaw), MAX_YAW, "the face is turned too far to the side"),
        (q.brightness < MIN_BRIGHTNESS, "too_dark", q.brightness, MIN_BRIGHTNESS, "the face is too dark"),
        (q.brightness > MAX_BRIGHTNESS, "too_bright", q.brightness, MAX_BRIGHTNESS, "the face is overexposed"),
        (q.contrast < MIN_CONTRAST, "low_contrast", q.contrast, MIN_CONTRAST, "the face has hardly any contrast"),
        (q.sharpness < MIN_SHARPNESS, "blurred", q.sharpness, MIN_SHARPNESS, "the face is blurred"),
    )
    return tuple(
        Reason(code, value, limit, f"{what} ({value:.3g}; the limit is {limit:g})")
        for failed, code, value, limit, what in checks
        if failed
    )
