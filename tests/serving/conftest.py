"""One real Triton for all tests that do it no harm, the same models in this process, and photos."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray

from export.serve import Running, serving
from sdk import FaceParamClient, FaceParams
from tests.serving.hostile_images import encoded
from tests.serving.local_server import HANG_SECONDS, PATIENT, local_options, with_queues


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The committed model repository, but photos may wait in queues for as long as the machine needs."""
    return with_queues(tmp_path_factory.mktemp("models"), **PATIENT)


@pytest.fixture(scope="session")
def server(models: Path) -> Iterator[Running]:
    """TritonInstallError where Triton cannot be had: a machine without it must not pass."""
    with serving(local_options(model_repository=models)) as running:
        yield running


@pytest.fixture(scope="session")
def remote(server: Running) -> Iterator[FaceParamClient]:
    with FaceParamClient(server.grpc, timeout=HANG_SECONDS) as client:
        client.wait_until_ready()
        yield client


@pytest.fixture(scope="session")
def embedded() -> Iterator[FaceParamClient]:
    with FaceParamClient.embedded() as client:
        yield client


@pytest.fixture(scope="session")
def portrait() -> NDArray[np.uint8]:
    """(512, 512, 3) uint8 RGB: one large face."""
    picture: NDArray[np.uint8] = skimage.data.astronaut()
    picture.flags.writeable = False
    return picture


@dataclass(frozen=True)
class Solved:
    """A picture file and what is in it, as this process sees it."""

    photo: bytes = field(repr=False)
    answer: FaceParams


@pytest.fixture(scope="session")
def faces(portrait: NDArray[np.uint8], embedded: FaceParamClient) -> list[Solved]:
    """Of all formats and several sizes; no two have the same answer."""
    formats = (("JPEG", {"quality": 90}), ("PNG", {}), ("WEBP", {"quality": 90}), ("BMP", {}))
    files = []
    for number in range(16):
        side, (format, options) = 300 - 8 * number, formats[number % 4]
        crop = portrait[: side - 20, 60 + 4 * number :][:, :side]
        files.append(encoded(crop if number % 3 else crop[:, ::-1], format, **options))
    return [Solved(file, embedded.infer(file)) for file in files]
