"""The real Triton on this machine, with the committed model repository."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import tritonclient.grpc as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from export.serve import Options, Running, TritonError, serving
from sdk import REFERENCE, FaceParamClient, FaceParams, NoFaceError, errors


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def options(**changes: object) -> Options:
    grpc, http, metrics = free_ports(3)
    return replace(Options(grpc_port=grpc, http_port=http, metrics_port=metrics), **changes)


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with serving(options()) as running:
        yield running


@pytest.fixture(scope="module")
def remote(server: Running) -> Iterator[FaceParamClient]:
    with FaceParamClient(server.grpc, timeout=30) as client:
        client.wait_until_ready()
        yield client


@pytest.fixture(scope="module")
def embedded() -> Iterator[FaceParamClient]:
    with FaceParamClient.embedded() as client:
        yield client


@pytest.fixture(scope="module")
def portrait() -> NDArray[np.uint8]:
    return skimage.data.astronaut()


def small_in_a_large_photo(portrait: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A face of which the canvas shows too little: it takes a second look."""
    photo = np.full((3000, 4000, 3), 90, np.uint8)
    photo[1200:1712, 600:1112] = portrait
    return photo


def assert_same(served: FaceParams, embedded: FaceParams) -> None:
    for name in ("identity", "expression", "identity_sigma", "expression_sigma"):
        assert np.abs(getattr(served, name).array - getattr(embedded, name).array).max() < 2e-4, name
    assert np.abs(served.pose.array - embedded.pose.array).max() < 1e-2
    assert served.style.indices() == embedded.style.indices()
    assert np.abs(served.face.landmarks - embedded.face.landmarks).max() < 0.05
    assert (served.face.count, served.model_version) == (embedded.face.count, embedded.model_version)


@pytest.mark.parametrize("change", [lambda p: p, lambda p: p[:, ::-1].copy(), lambda p: p[40:470, 30:], small_in_a_large_photo])
def test_served_is_embedded(
    remote: FaceParamClient,
    embedded: FaceParamClient,
    portrait: NDArray[np.uint8],
    change: Callable[[NDArray[np.uint8]], NDArray[np.uint8]],
) -> None:
    photo = change(portrait)
    assert_same(remote.infer(photo), embedded.infer(photo))


def test_batched_is_single(remote: FaceParamClient, portrait: NDArray[np.uint8]) -> None:
    photos = [np.roll(portrait, 8 * shift, 1) for shift in range(-6, 6)]
    alone = [remote.infer(photo) for photo in photos]
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(remote.infer, photos))
    for a, b in zip(alone, together, strict=True):
        assert_same(a, b)


@pytest.mark.parametrize(
    ("photo", "error"),
    [
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 100, errors.ImageDecodeError),
        (np.zeros((64, 64, 3), np.uint8), NoFaceError),
        (b"GIF89a" + b"\0" * 50, errors.UnsupportedImageError),
    ],
)
def test_bad_photos_are_typed_errors(remote: FaceParamClient, photo: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        remote.infer(photo)


def test_a_bad_file_that_gets_to_the_server_fails_alone(
    remote: FaceParamClient, portrait: NDArray[np.uint8], server: Running
) -> None:
    client = triton.InferenceServerClient(server.grpc)
    image = triton.InferInput("image", [1, 1], "BYTES").set_data_from_numpy(np.array([[b"no picture"]], object))
    with ThreadPoolExecutor(4) as pool:
        good = [pool.submit(remote.infer, portrait) for _ in range(3)]
        with pytest.raises(InferenceServerException) as caught:
            client.infer("face_params", [image])
    assert isinstance(errors.from_message(caught.value.message()), errors.UnsupportedImageError)
    assert all(one.result() == good[0].result() for one in good)


def test_the_server_tells_its_schema(remote: FaceParamClient) -> None:
    assert remote.schema == REFERENCE


@pytest.mark.parametrize("ask", ["get_model_config", "get_inference_statistics", "unload_model"])
def test_protocols_beyond_inference_are_closed(server: Running, ask: str) -> None:
    with pytest.raises(InferenceServerException, match="restricted"):
        getattr(triton.InferenceServerClient(server.grpc), ask)("align")


def test_nobody_there_is_a_connection_error() -> None:
    with pytest.raises(errors.ServiceConnectionError):
        FaceParamClient(f"127.0.0.1:{free_ports(1)[0]}", max_retries=0).infer(np.zeros((9, 9, 3), np.uint8))


def test_a_deadline_is_kept(server: Running, portrait: NDArray[np.uint8]) -> None:
    with pytest.raises(errors.ServiceTimeoutError, match=r"0\.001 s"):
        FaceParamClient(server.grpc, timeout=0.001).infer(portrait)


def test_a_port_in_use_is_said(server: Running, tmp_path: Path) -> None:
    taken = int(server.grpc.rpartition(":")[2])
    with pytest.raises(TritonError, match=r"triton\.log"), serving(options(grpc_port=taken, log_file=tmp_path / "triton.log")):
        pass


def test_nothing_runs_on_when_the_context_ends() -> None:
    with serving(options()) as running:
        pass
    assert running.process.poll() is not None
    with pytest.raises(errors.ServiceConnectionError):
        FaceParamClient(running.grpc, max_retries=0).infer(np.zeros((9, 9, 3), np.uint8))
