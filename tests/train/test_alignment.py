"""Alignment on a real photo (scikit-image's public-domain portrait) and on drawn ones, through the committed ONNX file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray

from sdk import contract
from sdk.letterbox import letterbox
from train.alignment import LEFT_EYE, MOUTH, RIGHT_EYE
from train.mediapipe_weights import load_blazeface, load_facemesh
from train.warp import PyramidBuilder, Warp

Array = NDArray[Any]
Outputs = dict[str, Array]
MODEL = Path(__file__).parents[2] / "model_repository/align/1/model.onnx"
REFERENCE = Path(__file__).parent / "mediapipe_reference.npz"
SIZE = contract.CANVAS_SIZE


@pytest.fixture(scope="module")
def portrait() -> Array:
    """(512, 512, 3) uint8."""
    return np.asarray(pytest.importorskip("skimage.data").astronaut())


@pytest.fixture(scope="module")
def canvas(portrait: Array) -> Array:
    """Eyes 72 pixels apart, about (278, 184) between them."""
    return letterbox(portrait[:400, 50:450])[0]


@pytest.fixture(scope="module")
def align() -> Callable[[Array], Outputs]:
    """Canvases (B, 640, 640, 3) to the model's outputs by name."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(MODEL), options, providers=["CPUExecutionProvider"])

    def run(canvases: Array) -> Outputs:
        outputs = session.run(None, {contract.CANVAS.name: canvases})
        return dict(zip(contract.ALIGN.output_names, outputs, strict=True))

    return run


@pytest.fixture(scope="module")
def aligned(align: Callable[[Array], Outputs], canvas: Array) -> Outputs:
    """The portrait's outputs, without the batch axis."""
    return {name: value[0] for name, value in align(canvas[None]).items()}


def similarity(scale: float, degrees: float, shift: tuple[float, float] = (0, 0)) -> Array:
    """(2, 3): about the canvas' centre, then shifted; ``degrees`` > 0 turns the x axis to the y axis, clockwise to the eye."""
    angle = np.radians(degrees)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.full(2, SIZE / 2)
    return np.column_stack([linear, middle - linear @ middle + shift])


def warped(picture: Array, transform: Array) -> Array:
    """The picture under a transform whose first pixel's centre is (0.5, 0.5); OpenCV's is (0, 0)."""
    shifted = transform.copy()
    shifted[:, 2] += transform[:, :2] @ [0.5, 0.5] - 0.5
    return cv2.warpAffine(picture, shifted, (SIZE, SIZE), flags=cv2.INTER_AREA)


def moved(points: Array, transform: Array) -> Array:
    return points @ transform[:, :2].T + transform[:, 2]


def moved_back(points: Array, transform: Array) -> Array:
    return (points - transform[:, 2]) @ np.linalg.inv(transform[:, :2]).T


def features(landmarks: Array) -> Array:
    """(5, 2): right eye, left eye, mouth, tip of the nose, chin."""
    groups = (list(RIGHT_EYE), list(LEFT_EYE), list(MOUTH), [1], [152])
    return np.stack([landmarks[group, :2].mean(0) for group in groups])


def on_black(canvas: Array, transform: Array, onto: Array | None = None) -> Array:
    """The canvas under a transform, laid over another picture where it is not black."""
    picture = warped(canvas, transform)
    return picture if onto is None else np.where(picture.max(2, keepdims=True) > 0, picture, onto)


def test_portrait_is_found_and_framed(aligned: Outputs) -> None:
    assert aligned["detector_score"] > 0.75
    assert aligned["mesh_score"] > 0.9
    right, left, *_ = features(aligned["landmarks"])
    assert left[0] - right[0] == pytest.approx(contract.CROP_EYE_DISTANCE, rel=0.12)  # her head is turned a little
    assert (left[1] + right[1]) / 2 == pytest.approx(contract.CROP_EYE_LINE * contract.CROP_SIZE, abs=4)
    assert (left[0] + right[0]) / 2 == pytest.approx(contract.CROP_SIZE / 2, abs=6)
    assert abs(right[1] - left[1]) < 3


@pytest.mark.parametrize(
    ("scale", "degrees", "shift"), [(0.9, 12, (-20, 50)), (0.7, -25, (60, 60)), (1.3, 5, (40, 150)), (0.8, 0, (10.3, 0.6))]
)
def test_known_transform_is_recovered(align, aligned, canvas, scale, degrees, shift) -> None:
    """The crop of a photo that was turned, scaled and moved shows the same places within a pixel."""
    transform = similarity(scale, degrees, shift)
    again = align(warped(canvas, transform)[None])
    grid = np.stack(np.meshgrid([64, 128, 192], [64, 128, 192]), -1).reshape(-1, 2).astype(float)
    there = moved(moved(moved_back(grid, aligned["transform"]), transform), again["transform"][0])
    assert np.linalg.norm(there - grid, axis=1).mean() < 1.0
    assert again["roll"][0] - aligned["roll"] == pytest.approx(-degrees, abs=1)


def test_mirrored_photo_gives_mirrored_landmarks(align, aligned, canvas) -> None:
    mirrored = align(np.ascontiguousarray(canvas[:, ::-1])[None])
    found = features(mirrored["landmarks"][0])[[1, 0, 2, 3, 4]]
    found[:, 0] = contract.CROP_SIZE - found[:, 0]
    error = np.linalg.norm(found - features(aligned["landmarks"]), axis=1).mean()
    assert error < 0.05 * contract.CROP_EYE_DISTANCE
    assert mirrored["roll"][0] == pytest.approx(-aligned["roll"], abs=1.5)


@pytest.mark.parametrize("degrees", [-40, 40])
def test_roll_is_measured(align, canvas, degrees) -> None:
    """A picture turned clockwise shows the head leaning to the person's own left: roll < 0."""
    roll = align(warped(canvas, similarity(0.6, degrees))[None])["roll"][0]
    assert roll == pytest.approx(-degrees, abs=8)


def test_batch_gives_the_same_as_single_pictures(align, canvas) -> None:
    """Although its pictures need different levels of the pyramid and different passes of the detector."""
    transforms = [similarity(1, 0), similarity(3, 0, (170, 400)), similarity(0.2, 10), similarity(0.5, -30)]
    canvases = np.stack([warped(canvas, transform) for transform in transforms])
    together = align(canvases)
    for i, one in enumerate(canvases):
        for name, value in align(one[None]).items():
            np.testing.assert_allclose(together[name][i], value[0], atol=2e-3, err_msg=f"{name} of picture {i}")


def test_small_face_is_found(align, aligned, canvas) -> None:
    transform = similarity(0.2, 0, (150, 100))
    small = align(warped(canvas, transform)[None])
    assert small["detector_score"][0] > 0.6
    assert small["mesh_score"][0] > 0.5
    expected = moved(moved_back(features(aligned["landmarks"]), aligned["transform"]), transform)
    found = moved_back(features(small["landmarks"][0]), small["transform"][0])
    assert np.linalg.norm(found - expected, axis=1).mean() < 0.08 * np.linalg.norm(expected[1] - expected[0])


def test_faces_are_told_apart_and_the_larger_one_is_the_main_one(align, canvas) -> None:
    large, small = similarity(0.7, 0, (-90, 60)), similarity(0.5, 0, (200, -180))
    faces = align(on_black(canvas, small, on_black(canvas, large))[None])["faces"][0]
    assert (faces[:2, 4] > 0.6).all()
    sizes = faces[:, 2] - faces[:, 0]
    assert 1.1 < sizes[0] / sizes[1] < 2.1
    assert (faces[0, 0] + faces[0, 2]) / 2 < SIZE / 2 < (faces[1, 0] + faces[1, 2]) / 2
    assert (faces[2:, 4] < 0.6).all()


def test_mask_and_crop_are_zero_outside_the_canvas(align, canvas) -> None:
    outputs = {name: value[0] for name, value in align(warped(canvas, similarity(1, 0, (150, -70)))[None]).items()}
    y, x = np.mgrid[: contract.CROP_SIZE, : contract.CROP_SIZE] + 0.5
    places = moved_back(np.stack([x, y], -1).reshape(-1, 2), outputs["transform"]).reshape(*x.shape, 2)
    depth = np.minimum(places, SIZE - places).min(-1)  # canvas pixels inside
    mask = outputs["mask"][0]
    assert (mask[depth > 3] == 1).all() and (depth > 3).any()
    assert (mask[depth < -3] == 0).all() and (depth < -3).any()
    assert (outputs["crop"][:, depth < -3] == 0).all()


@pytest.mark.parametrize("kind", ["noise", "grey", "stripes", "text"])
def test_pictures_without_a_face_are_refused(align, kind) -> None:
    rng = np.random.default_rng(0)
    pictures = {
        "noise": rng.integers(0, 256, (SIZE, SIZE, 3)).astype(np.uint8),
        "grey": np.full((SIZE, SIZE, 3), 127, np.uint8),
        "stripes": np.repeat(((np.indices((SIZE, SIZE)).sum(0) // 20 % 2) * 255)[..., None], 3, 2).astype(np.uint8),
        "text": np.full((SIZE, SIZE, 3), 255, np.uint8),
    }
    for row in range(40, SIZE, 50):
        cv2.putText(pictures["text"], "not a face, only text", (20, row), cv2.FONT_HERSHEY_SIMPLEX, 1.5, (0, 0, 0), 3)
    outputs = align(pictures[kind][None])
    assert outputs["detector_score"][0] < 0.6 or outputs["mesh_score"][0] < 0.5


@pytest.mark.parametrize("step", [0.3, 0.8, 1.7, 1.8, 3.0, 4.2])
def test_one_sample_per_pixel_is_sharp_and_does_not_alias(canvas, step) -> None:
    """Against 6x6 samples per pixel."""
    pyramid = PyramidBuilder()(torch.from_numpy(canvas)[None])
    along = step * torch.tensor([[np.cos(0.3), np.sin(0.3)]], dtype=torch.float32)
    corner = torch.tensor([[278.0, 184.0]]) - 64 * (along + along.flip(1) * torch.tensor([[-1.0, 1.0]]))
    found = Warp(128)(pyramid, along, corner)[0]
    full = torch.from_numpy(canvas)[None].float().permute(0, 3, 1, 2) / 255
    centres = (torch.arange(128 * 6) + 0.5) / 6
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    u = corner[0, 0] + x * along[0, 0] - y * along[0, 1]
    v = corner[0, 1] + x * along[0, 1] + y * along[0, 0]
    grid = torch.stack([u, v], -1)[None] * (2 / SIZE) - 1
    fine = torch.nn.functional.grid_sample(full, grid, align_corners=False)
    expected = torch.nn.functional.avg_pool2d(fine, 6)
    error = ((found - expected) ** 2).mean()
    assert -10 * torch.log10(error) > 38


def test_networks_give_what_mediapipe_gives(portrait: Array) -> None:
    """The reference was computed by LiteRT from the original .tflite files, on parts of the portrait."""
    reference = np.load(REFERENCE)
    with torch.no_grad():
        image = torch.from_numpy(portrait[:256, 100:356].transpose(2, 0, 1)[None] / np.float32(127.5) - 1)
        boxes, logits = load_blazeface()(image)
        image = torch.from_numpy(portrait[20:212, 128:320].transpose(2, 0, 1)[None] / np.float32(255))
        points, logit = load_facemesh()(image)
    np.testing.assert_allclose(boxes[0, ::8].numpy(), reference["boxes"], atol=2e-3)
    np.testing.assert_allclose(logits[0, ::8].numpy(), reference["logits"], atol=2e-3)
    np.testing.assert_allclose(points[0].numpy(), reference["points"], atol=2e-3)
    np.testing.assert_allclose(logit.numpy(), reference["logit"], atol=2e-3)
