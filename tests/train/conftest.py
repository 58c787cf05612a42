"""Tiny aligned shards, drawn rather than rendered: enough to run the training code in seconds."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from game.camera import Camera
from game.rig import Rig
from sdk.schema import REFERENCE
from train import bisenet, checkpoint, encoder_network, imitator_network, light_cnn


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other take seconds per step on a machine that is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _crop_landmarks(rig: Rig, identity: np.ndarray, expression: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """(468, 2) the rig's landmarks in a crop: eye distance 54 px, eyes at 48 % of the height."""
    points = Camera.portrait().project(rig.landmarks(rig.vertices(identity, expression, pose)))[:, :2]
    right, left = points[[33, 133]].mean(0), points[[263, 362]].mean(0)
    scale = 54 / np.linalg.norm(left - right)
    return ((points - (left + right) / 2) * scale + [128, 123]).astype(np.float32)


def _picture(landmarks: np.ndarray, rng: np.random.Generator) -> bytes:
    image = np.full((256, 256, 3), rng.integers(60, 200, 3), np.uint8)
    cv2.fillConvexPoly(image, cv2.convexHull(landmarks.astype(np.int32)), tuple(int(c) for c in rng.integers(80, 255, 3)))
    for x, y in landmarks.astype(int):
        cv2.circle(image, (int(x), int(y)), 1, (20, 20, 20), -1)
    return cv2.imencode(".jpg", image)[1].tobytes()


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _write_render(tar: tarfile.TarFile, key: str, rig: Rig, rng: np.random.Generator) -> None:
    identity = np.clip(rng.normal(0, 0.3, len(REFERENCE.identity)), -1, 1).astype(np.float32)
    identity[-1] = 0
    expression = (rng.random(len(REFERENCE.expression)) * (rng.random(len(REFERENCE.expression)) < 0.3)).astype(np.float32)
    pose = rng.uniform(-20, 20, 2).astype(np.float32)
    landmarks = _crop_landmarks(rig, identity, expression, pose)
    fields = {
        "identity": identity.tolist(),
        "expression": expression.tolist(),
        "pose": pose.tolist(),
        "gaze": rng.uniform(-0.5, 0.5, 2).tolist(),
        "style": {slot.name: str(rng.choice(slot.options)) for slot in REFERENCE.style},
    }
    _add(tar, f"{key}.jpg", _picture(landmarks, rng))
    _add(tar, f"{key}.json", json.dumps(fields).encode())
    mesh = np.c_[landmarks + rng.normal(0, 0.5, landmarks.shape), np.zeros(len(landmarks))]
    _add(tar, f"{key}.landmarks.npy", _npy(mesh.astype(np.float32)))
    _add(tar, f"{key}.rig_landmarks.npy", _npy(landmarks))


def _write_photo(tar: tarfile.TarFile, key: str, rig: Rig, rng: np.random.Generator) -> None:
    identity = np.clip(rng.normal(0, 0.3, len(REFERENCE.identity)), -1, 1)
    landmarks = _crop_landmarks(rig, identity, np.zeros(len(REFERENCE.expression)), rng.uniform(-20, 20, 2))
    _add(tar, f"{key}.jpg", _picture(landmarks, rng))
    _add(tar, f"{key}.json", json.dumps({"mesh_score": 0.99}).encode())
    _add(tar, f"{key}.landmarks.npy", _npy(np.c_[landmarks, np.zeros(len(landmarks))].astype(np.float32)))


@pytest.fixture(scope="session")
def rig() -> Rig:
    return Rig.load()


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory, rig: Rig) -> dict[str, Path]:
    """Folders "renders" (2 shards, 24 + 8 samples) and "photos" (12 photos of 5 people)."""
    folder = tmp_path_factory.mktemp("shards")
    rng = np.random.default_rng(0)
    for name in ("renders", "photos"):
        (folder / name).mkdir()
    for shard, count in enumerate((24, 8)):
        with tarfile.open(folder / "renders" / f"renders-{shard}.tar", "w") as tar:
            for k in range(count):
                _write_render(tar, f"{shard:02d}{k:04d}", rig, rng)
    with tarfile.open(folder / "photos" / "people-train-00.tar", "w") as tar:
        for k in range(12):
            _write_photo(tar, f"person_{k % 5}_{k // 5:04d}", rig, rng)
    return {name: folder / name for name in ("renders", "photos")}


@pytest.fixture(scope="session")
def fixed_networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Checkpoints of untrained networks by the name of the option that takes them: segmenter, recogniser, imitator, encoder."""
    folder = tmp_path_factory.mktemp("fixed")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        segmenter, face_recogniser, imitator = bisenet.build("tiny"), light_cnn.build("tiny"), imitator_network.build("tiny")
        encoder = encoder_network.build("tiny")
    states = {
        "segmenter": (bisenet.describe(segmenter), segmenter.state_dict()),
        "recogniser": (
            light_cnn.describe(face_recogniser),
            {f"recogniser.{name}": value for name, value in face_recogniser.state_dict().items()},
        ),
        "imitator": (imitator_network.describe(imitator), imitator.state_dict()),
        "encoder": (encoder_network.describe(encoder), encoder.state_dict()),
    }
    for name, (description, values) in states.items():
        checkpoint.save(folder / f"{name}.pt", {"description": description, "average": values})
    return {name: folder / f"{name}.pt" for name in states}
