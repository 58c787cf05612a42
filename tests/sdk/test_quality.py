"""Measures of a face and the reasons to refuse it: each by a picture made bad in that one way, from a real portrait."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from sdk import quality
from sdk.letterbox import letterbox
from sdk.quality import FACE_OVAL, Quality, count_faces, cut_off, measure, reasons, sharpness

onnxruntime = pytest.importorskip("onnxruntime")
Array = NDArray[Any]
MODEL = Path(__file__).parents[2] / "model_repository/align/1/model.onnx"
GOOD = Quality(detector_score=0.9, mesh_score=1.0, eye_distance=60, sharpness=0.1, brightness=0.5, contrast=0.4, yaw=5, cut_off=0)


@pytest.fixture(scope="module")
def portrait() -> Array:
    return np.asarray(pytest.importorskip("skimage.data").astronaut()[:400, :450])


@pytest.fixture(scope="module")
def judge() -> Callable[[Array], tuple[Quality, set[str], int]]:
    """A picture to its measures, the codes of the reasons against it, and the number of faces."""
    session = onnxruntime.InferenceSession(str(MODEL), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def run(picture: Array) -> tuple[Quality, set[str], int]:
        canvas, to_canvas = letterbox(np.ascontiguousarray(picture))
        align = {name: value[0] for name, value in zip(names, session.run(None, {"canvas": canvas[None]}), strict=True)}
        found = measure(align, canvas, 1 / to_canvas[0, 0])
        return found, {reason.code for reason in reasons(found)}, count_faces(align)

    return run


def test_good_portrait_is_accepted(judge, portrait) -> None:
    found, codes, count = judge(portrait)
    assert codes == set()
    assert count == 1
    assert found.cut_off < 0.02
    assert abs(found.yaw) < 30


def test_eye_distance_is_that_of_the_photo_or_of_the_canvas(judge, portrait) -> None:
    """Whichever is smaller: enlarging a photo adds no detail, and the canvas holds no more than 640 pixels."""
    at_its_size = judge(portrait)[0].eye_distance
    enlarged = judge(cv2.resize(portrait, None, fx=3, fy=3))[0].eye_distance
    reduced = judge(cv2.resize(portrait, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))[0].eye_distance
    assert reduced == pytest.approx(at_its_size / 2, rel=0.06)
    assert enlarged == pytest.approx(at_its_size * 640 / 450, rel=0.06)


@pytest.mark.parametrize(
    ("worsen", "code"),
    [
        (lambda p: cv2.resize(p, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA), "too_small"),
        (lambda p: cv2.GaussianBlur(p, (0, 0), 6), "blurred"),
        (lambda p: (p * 0.08).astype(np.uint8), "too_dark"),
        (lambda p: np.clip(p * 4.0 + 90, 0, 255).astype(np.uint8), "too_bright"),
        (lambda p: p[:, 215:], "cut_off"),
        (lambda p: p[::-1, ::-1], "unclear"),
        (lambda p: np.random.default_rng(0).integers(0, 256, p.shape).astype(np.uint8), "no_face"),
    ],
    ids=["small", "blurred", "dark", "bright", "cut", "upside down", "noise"],
)
def test_bad_picture_is_refused_with_the_reason(judge, portrait, worsen, code) -> None:
    _, codes, _ = judge(worsen(portrait))
    assert codes & {code, "no_face"}, codes


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("detector_score", 0.3, "no_face"),
        ("mesh_score", 0.3, "no_face"),
        ("eye_distance", 5.0, "too_small"),
        ("sharpness", 0.0, "blurred"),
        ("brightness", 0.0, "too_dark"),
        ("brightness", 1.0, "too_bright"),
        ("contrast", 0.0, "low_contrast"),
        ("yaw", -85.0, "turned_away"),
        ("mesh_score", 0.9, "unclear"),
        ("cut_off", 0.5, "cut_off"),
    ],
)
def test_each_limit_has_its_reason(field, value, code) -> None:
    assert reasons(GOOD) == ()
    (reason,) = reasons(dataclasses.replace(GOOD, **{field: value}))
    assert (reason.code, reason.value) == (code, abs(value))
    assert f"{reason.limit:g}" in reason.message or code == "no_face"


def test_cut_off_is_the_share_outside_the_photo() -> None:
    turn = np.linspace(0, 2 * np.pi, len(FACE_OVAL), endpoint=False)
    oval = np.stack([128 + 50 * np.cos(turn), 128 + 70 * np.sin(turn)], 1)
    canvas = np.full((640, 640, 3), 200, np.uint8)
    inside = np.array([[1.0, 0, -192], [0, 1, -192]])  # canvas -> crop: the face is in the middle
    assert cut_off(oval, inside, canvas) == pytest.approx(0, abs=1e-6)
    canvas[:, :320] = 0  # a black bar over its right half
    assert cut_off(oval, inside, canvas) == pytest.approx(0.5, abs=0.01)
    outside = np.array([[1.0, 0, 1000], [0, 1, -192]])
    assert cut_off(oval, outside, canvas) == pytest.approx(1, abs=1e-6)


def test_sharpness_knows_nothing_of_brightness_and_falls_with_blur() -> None:
    picture = np.random.default_rng(0).random((64, 64))
    picture = cv2.GaussianBlur(picture, (0, 0), 1)
    blurred = cv2.GaussianBlur(picture, (0, 0), 3)
    assert sharpness(picture * 0.5) == pytest.approx(sharpness(picture), rel=0.05)
    assert sharpness(blurred) < sharpness(picture) / 3


def test_needs_numpy_only() -> None:
    assert not {"cv2", "onnxruntime"} & set(vars(quality))
