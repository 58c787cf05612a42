"""Both clients over the real wire, against a server in this process that does what a test wants of it."""

from __future__ import annotations

import asyncio
import io
import itertools
import logging
import os
import subprocess
import sys
import threading
import time
import types
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceServicer, add_GRPCInferenceServiceServicer_to_server
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor

import sdk
from sdk import AsyncFaceParamClient, FaceParamClient, contract, errors, wire
from sdk.connection import Connection
from sdk.photo_input import picture_file, png
from sdk.quality import Quality

ROOT = Path(__file__).parents[2]
TYPES = {"float32": "FP32", "int32": "INT32", "uint8": "UINT8", "bytes": "BYTES"}
GOOD = Quality(0.99, 1.0, 80.0, 0.2, 0.5, 0.5, 0.0, 0.0)


def picture(number: int, size: int = 8) -> np.ndarray:
    return np.full((size, size, 3), number, np.uint8)


def fingerprint(data: bytes) -> float:
    """What the server below answers as the first slider: which file it was given."""
    return round(zlib.crc32(data) / 2**32, 4)


class Triton(GRPCInferenceServiceServicer):
    """Answers as Triton does. ``script`` may change what happens to an inference: called with the context and the
    files, it may abort, wait, or return other outputs."""

    def __init__(self) -> None:
        self.schema = sdk.REFERENCE
        self.script: Callable[[grpc.ServicerContext, list[bytes]], dict[str, np.ndarray] | None] = lambda context, files: None
        self.requests: list[pb.ModelInferRequest] = []
        self.metadata: list[dict[str, str]] = []
        self.tell: Callable[[pb.ModelMetadataResponse], None] = lambda told: None
        self.ready = True

    def ModelReady(self, request: Any, context: grpc.ServicerContext) -> Any:
        return pb.ModelReadyResponse(ready=self.ready)

    def ModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        model = contract.face_params(self.schema)[0]
        told = pb.ModelMetadataResponse(name=request.name)
        for tensors, place in ((model.inputs, told.inputs), (model.outputs, told.outputs)):
            for t in tensors:
                place.add(name=t.name, datatype=TYPES[t.dtype], shape=[-1, *t.served_shape])
        self.tell(told)
        return told

    def ModelInfer(self, request: Any, context: grpc.ServicerContext) -> Any:
        if request.model_name == "schema":
            return response("schema", {"schema": np.array([self.schema.to_json().encode()], object)})
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        files = [bytes(file) for file in deserialize_bytes_tensor(request.raw_input_contents[0])]
        outputs = self.script(context, files)
        return response(request.model_name, self.answers(files) if outputs is None else outputs, request.id)

    def answers(self, files: list[bytes]) -> dict[str, np.ndarray]:
        """A good face for each file."""
        outputs = {}
        for tensor in contract.face_params(self.schema)[0].outputs:
            kind = {"bytes": object}.get(tensor.dtype, tensor.dtype)
            outputs[tensor.name] = np.zeros((len(files), *tensor.served_shape), kind)
        outputs["identity"][:, 0] = [fingerprint(file) for file in files]
        outputs["quality"][:] = [getattr(GOOD, field.name) for field in fields(Quality)]
        outputs["transform"][:] = outputs["from_canvas"][:] = np.eye(2, 3)
        outputs["photo_size"][:] = 8
        outputs["face_count"][:] = 1
        outputs["schema_version"][:] = self.schema.version.encode()
        outputs["model_version"][:] = b"abc"
        return outputs


def response(name: str, outputs: dict[str, np.ndarray], request_id: str = "") -> pb.ModelInferResponse:
    message = pb.ModelInferResponse(model_name=name, id=request_id)
    for output, values in outputs.items():
        bytes_like = values.dtype == object
        message.outputs.add(name=output, datatype="BYTES" if bytes_like else TYPES[str(values.dtype)], shape=values.shape)
        message.raw_output_contents.append(serialize_byte_tensor(values).item() if bytes_like else values.tobytes())
    return message


@contextmanager
def listening(triton: Triton, port: int = 0) -> Iterator[str]:
    limit = [("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
    server = grpc.server(ThreadPoolExecutor(8), options=limit)
    add_GRPCInferenceServiceServicer_to_server(triton, server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


@pytest.fixture
def triton() -> Triton:
    return Triton()


@pytest.fixture
def url(triton: Triton) -> Iterator[str]:
    with listening(triton) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[FaceParamClient]:
    with FaceParamClient(url, timeout=10) as client:
        yield client


def abort(status: str, message: str) -> Callable[..., Any]:
    return lambda context, files: context.abort(getattr(grpc.StatusCode, status), message)


# What a request says


def test_a_file_goes_as_it_is(client: FaceParamClient, triton: Triton) -> None:
    data = png(picture(1))
    params = client.infer(data)
    assert params["brow_inner.tx"] == fingerprint(data)
    assert len(params.request_id) == 32 and params.request_id == triton.requests[0].id
    assert params.timings["total"] > 0
    assert (params.schema_version, params.model_version) == (sdk.REFERENCE.version, "abc")


def test_an_array_goes_without_loss(client: FaceParamClient, triton: Triton) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (31, 17, 3), np.uint8)
    client.infer(pixels)
    from sdk.image import decode

    sent = bytes(deserialize_bytes_tensor(triton.requests[0].raw_input_contents[0])[0])
    np.testing.assert_array_equal(decode(sent).pixels, pixels)


def test_the_server_is_told_the_deadline(client: FaceParamClient, triton: Triton) -> None:
    client.infer(picture(1))
    assert 1e6 < triton.requests[0].parameters["timeout"].int64_param <= 8e6


def test_the_token_goes_with_every_call(url: str, triton: Triton) -> None:
    with FaceParamClient(url, token="secret") as client:
        client.infer(picture(1))
        client.with_options(token="other").infer(picture(1))
    assert [metadata["authorization"] for metadata in triton.metadata] == ["Bearer secret", "Bearer other"]


def test_the_current_trace_goes_along_where_open_telemetry_is_installed(
    client: FaceParamClient, triton: Triton, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sdk import remote

    propagate = types.ModuleType("opentelemetry.propagate")
    propagate.inject = lambda carrier: carrier.update(traceparent="00-1-2-01")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "opentelemetry", types.ModuleType("opentelemetry"))
    monkeypatch.setitem(sys.modules, "opentelemetry.propagate", propagate)
    remote._open_telemetry.cache_clear()
    try:
        client.infer(picture(1))
    finally:
        remote._open_telemetry.cache_clear()
    assert triton.metadata[0]["traceparent"] == "00-1-2-01"


# Batches


def test_a_batch_is_one_request_in_order(client: FaceParamClient, triton: Triton) -> None:
    photos = [png(picture(i)) for i in range(5)]
    solved = client.infer_batch(photos)
    assert [params["brow_inner.tx"] for params in solved] == [fingerprint(photo) for photo in photos]
    assert len(triton.requests) == 1
    assert client.infer_batch([]) == []


def test_batches_are_cut_by_number_and_by_size(client: FaceParamClient, triton: Triton) -> None:
    photos = [png(picture(i)) for i in range(70)]
    assert [p["brow_inner.tx"] for p in client.infer_batch(photos)] == [fingerprint(photo) for photo in photos]
    assert [request.inputs[0].shape[0] for request in triton.requests] == [32, 32, 6]
    large = png(picture(7)) + b"\0" * 30_000_000
    assert [len(chunk) for chunk in wire._chunks([large] * 5)] == [2, 2, 1]


def test_a_batch_is_all_or_nothing_and_says_which(client: FaceParamClient, triton: Triton) -> None:
    photos: list[Any] = [png(picture(i)) for i in range(40)]
    with pytest.raises(errors.UnsupportedImageError) as caught:
        client.infer_batch([*photos, b"no picture"])
    assert caught.value.photo == 40 and triton.requests == []

    def third_in_the_second_request_is_dark(context: Any, files: list[bytes]) -> Any:
        outputs = triton.answers(files)
        if len(files) == 8:
            outputs["quality"][2, contract.QUALITY.index("brightness")] = 0
        return outputs

    triton.script = third_in_the_second_request_is_dark
    with pytest.raises(errors.FaceRejected, match="too dark") as rejected:
        client.infer_batch(photos)
    assert rejected.value.photo == 34

    def fourth_is_damaged(context: Any, files: list[bytes]) -> None:
        error = errors.ImageDecodeError("the photo is damaged")
        error.photo = 4
        if len(files) == 8:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"in ensemble 'face_params', {errors.to_message(error)}")

    triton.script = fourth_is_damaged
    with pytest.raises(errors.ImageDecodeError, match=r"^the photo is damaged$") as damaged:
        client.infer_batch(photos)
    assert damaged.value.photo == 36


def test_a_single_photo_has_no_index(client: FaceParamClient) -> None:
    with pytest.raises(errors.ImageDecodeError) as caught:
        client.infer(b"")
    assert caught.value.photo is None


# Many photos


def test_infer_many_yields_each_photo_once(client: FaceParamClient) -> None:
    photos = [b"" if i % 7 == 3 else png(picture(i)) for i in range(50)]
    outcomes = {outcome.index: outcome for outcome in client.infer_many(iter(photos), concurrency=5)}
    assert sorted(outcomes) == list(range(50))
    for i, photo in enumerate(photos):
        assert outcomes[i].photo is photo
        if photo:
            assert outcomes[i].unwrap()["brow_inner.tx"] == fingerprint(photo)
        else:
            assert outcomes[i].photo_is_to_blame
            with pytest.raises(errors.ImageDecodeError):
                outcomes[i].unwrap()


def test_infer_many_is_bounded_and_lazy(client: FaceParamClient, triton: Triton) -> None:
    now, most, lock = 0, 0, threading.Lock()

    def count(context: Any, files: list[bytes]) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.01)
        with lock:
            now -= 1

    triton.script = count
    taken = itertools.count()
    endless = (png(picture(next(taken) % 256)) for _ in itertools.count())
    outcomes = client.infer_many(endless, concurrency=3)
    assert [next(outcomes).error for _ in range(10)] == [None] * 10
    outcomes.close()
    assert most <= 3 and next(taken) <= 10 + 3
    assert client.infer(picture(1)).model_version == "abc"


def test_infer_many_shows_progress(client: FaceParamClient, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(list(client.infer_many([picture(1), b"", picture(2)], progress=True))) == 3
    err = capsys.readouterr().err
    assert err.splitlines()[-1].split("\r")[-1].startswith("3/3 photos, ") and "1 failed" in err


@pytest.mark.parametrize("concurrency", [0, -1])
def test_concurrency_must_be_positive(client: FaceParamClient, concurrency: int) -> None:
    with pytest.raises(ValueError, match="concurrency must be at least 1"):
        client.infer_many([], concurrency=concurrency)


# Errors


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        ("UNAVAILABLE", "Exceeds maximum queue size", errors.ServiceOverloadedError),
        ("RESOURCE_EXHAUSTED", "too many", errors.ServiceOverloadedError),
        ("UNAVAILABLE", "Request timeout expired", errors.ServiceOverloadedError),
        ("UNAVAILABLE", "Request for unknown model: 'align' has no available versions", errors.ServiceNotReadyError),
        ("NOT_FOUND", "no such model", errors.ServiceNotReadyError),
        ("UNAVAILABLE", "connection reset", errors.ServiceConnectionError),
        ("INTERNAL", "something", errors.ServerError),
        ("INVALID_ARGUMENT", '{"error": "broken', errors.ServerError),
    ],
)
def test_failures_are_typed(url: str, triton: Triton, status: str, message: str, kind: type[errors.ServiceError]) -> None:
    triton.script = abort(status, message)
    with FaceParamClient(url, timeout=10, max_retries=0) as client, pytest.raises(kind) as caught:
        client.infer(picture(1))
    assert type(caught.value) is kind
    assert caught.value.request_id == triton.requests[0].id
    assert message in str(caught.value)
    assert isinstance(caught.value.__cause__, grpc.RpcError)


def test_what_the_server_says_about_a_photo_is_raised_as_it_is(client: FaceParamClient, triton: Triton) -> None:
    said = errors.ImageTooLargeError("too many pixels", value=9.0, limit=8.0, unit="pixels")
    triton.script = abort("INVALID_ARGUMENT", f"in ensemble 'face_params', {errors.to_message(said)}")
    with pytest.raises(errors.ImageTooLargeError, match=r"^too many pixels$") as caught:
        client.infer(picture(1))
    assert (caught.value.value, caught.value.limit, caught.value.unit) == (9.0, 8.0, "pixels")


def test_a_deadline_is_kept_and_there_always_is_one(url: str, triton: Triton) -> None:
    triton.script = lambda context, files: time.sleep(1)
    with FaceParamClient(url, timeout=0.2) as client:
        client.schema  # noqa: B018  (connects, so that the deadline is the request's)
        started = time.monotonic()
        with pytest.raises(errors.ServiceTimeoutError, match=r"no answer within 0\.2 s") as caught:
            client.infer(picture(1))
        assert time.monotonic() - started < 0.9
    assert isinstance(caught.value, TimeoutError)
    assert Connection().timeout == 2.0


def test_calls_that_the_server_did_not_take_are_repeated(url: str, triton: Triton) -> None:
    failures = iter([True, True])

    def twice(context: Any, files: list[bytes]) -> None:
        if next(failures, False):
            context.abort(grpc.StatusCode.UNAVAILABLE, "not now")

    triton.script = twice
    with FaceParamClient(url, timeout=10, max_retries=2) as client:
        assert client.infer(picture(1)).model_version == "abc"
    assert len(triton.requests) == 3
    assert len({request.id for request in triton.requests}) == 1, "one request, three attempts"


def test_a_server_that_comes_back_is_found_again(triton: Triton) -> None:
    with listening(triton) as url:
        client = FaceParamClient(url, timeout=10, max_retries=0)
        client.infer(picture(1))
    with pytest.raises(errors.ServiceConnectionError) as caught:
        client.infer(picture(1))
    assert isinstance(caught.value, ConnectionError)
    with listening(triton, int(url.rpartition(":")[2])):
        client.wait_until_ready(20)
        assert client.infer(picture(1)).model_version == "abc"
    client.close()


def test_waiting_for_a_server_says_what_was_wrong(url: str, triton: Triton) -> None:
    triton.ready = False
    with FaceParamClient(url) as client:
        with pytest.raises(errors.ServiceNotReadyError, match=r"within 0\.5 s: it is up, its models are not"):
            client.wait_until_ready(0.5)
        threading.Timer(0.2, lambda: setattr(triton, "ready", True)).start()
        client.wait_until_ready(20)


def test_a_last_attempt_without_time_does_not_hide_what_was_wrong() -> None:
    steps = wire.Dialogue(None).wait_until_ready(wire.Deadline(0.15))
    attempt = next(steps)
    assert isinstance(attempt, wire.Call)
    pause = steps.throw(attempt.error("UNAVAILABLE", "connection refused"))
    assert isinstance(pause, wire.Pause)
    last = next(steps)
    assert isinstance(last, wire.Call)
    time.sleep(last.deadline.left())
    with pytest.raises(errors.ServiceNotReadyError, match="the server cannot be reached"):
        steps.throw(last.error("DEADLINE_EXCEEDED", ""))


def test_a_message_that_is_too_large_is_never_sent(client: FaceParamClient, triton: Triton) -> None:
    with pytest.raises(errors.ImageTooLargeError, match="send a smaller picture"):
        client.infer(png(picture(1)) + b"\0" * 2**26)
    with pytest.raises(errors.ImageTooLargeError, match="bytes"):
        client.infer(np.zeros((5000, 5000, 3), np.uint8))  # as a PNG
    assert triton.requests == []


# The contract


def test_the_server_tells_its_own_schema(triton: Triton) -> None:
    triton.schema = replace(sdk.REFERENCE, version="9", identity=("a", "b"), style=(sdk.Slot("hat", ("none", "top")),))
    with listening(triton) as url, FaceParamClient(url) as client:
        assert client.schema == triton.schema
        params = client.infer(picture(1))
    assert params.schema_version == "9" and params.identity.names == ("a", "b") and params.style["hat"].option == "none"


def test_another_schema_than_expected_is_named(url: str) -> None:
    for change, message in (
        ({"version": "0"}, "version is '1', this client's '0'"),
        ({"identity": ("x", *sdk.REFERENCE.identity[1:])}, r"\['brow_inner.tx'\] are new .* \['x'\] are missing"),
        ({"pose": ("yaw", "pitch")}, "pose is in another order"),
    ):
        expected = replace(sdk.REFERENCE, **change)  # type: ignore[arg-type]
        with FaceParamClient(url, schema=expected) as client, pytest.raises(errors.ContractMismatchError, match=message):
            client.infer(picture(1))


def test_models_of_another_contract_are_named(url: str, triton: Triton) -> None:
    def other(told: pb.ModelMetadataResponse) -> None:
        told.outputs[1].shape[1] = 3
        told.outputs[2].datatype = "FP16"
        del told.outputs[-1]

    triton.tell = other
    names = contract.face_params()[0].output_names
    with FaceParamClient(url) as client, pytest.raises(errors.ContractMismatchError) as caught:
        client.infer(picture(1))
    for i, what in ((1, "(-1, 3"), (2, "FP16"), (-1, "missing")):
        assert f"output {names[i]!r} is" in str(caught.value) and what in str(caught.value)
    assert triton.requests == []


@pytest.mark.parametrize("change", ["gone", "shape", "schema"])
def test_models_that_change_under_way_are_noticed(client: FaceParamClient, triton: Triton, change: str) -> None:
    client.infer(picture(1))

    def changed(context: Any, files: list[bytes]) -> dict[str, np.ndarray]:
        outputs = triton.answers(files)
        if change == "gone":
            del outputs["expression"]
        elif change == "shape":
            outputs["expression"] = np.zeros((len(files), 7), np.float32)
        else:
            outputs["schema_version"][:] = b"2"
        return outputs

    triton.script = changed
    with pytest.raises(errors.ContractMismatchError, match="expression" if change != "schema" else "schema '2'"):
        client.infer(picture(1))


# The client's life


def test_making_a_client_talks_to_nobody() -> None:
    FaceParamClient("192.0.2.1:1").close()


def test_a_closed_client_says_so(url: str) -> None:
    client = FaceParamClient(url)
    other = client.with_options(timeout=1)
    client.close()
    client.close()
    for closed in (client, other):
        with pytest.raises(errors.ClientClosedError):
            closed.infer(picture(1))


def test_options_share_the_connection(client: FaceParamClient, triton: Triton) -> None:
    hasty = client.with_options(timeout=0.2)
    client.infer(picture(1))
    triton.script = lambda context, files: time.sleep(0.5)
    with pytest.raises(errors.ServiceTimeoutError):
        hasty.infer(picture(1))
    hasty.close()
    assert client.infer(picture(1)).model_version == "abc"
    with pytest.raises(ValueError, match="timeout"):
        client.with_options(timeout=-1)


def test_threads_share_a_client(client: FaceParamClient) -> None:
    photos = [png(picture(i)) for i in range(64)]
    with ThreadPoolExecutor(8) as pool:
        solved = list(pool.map(client.infer, photos))
    assert [p["brow_inner.tx"] for p in solved] == [fingerprint(photo) for photo in photos]


def test_failures_are_logged_without_the_photo(url: str, triton: Triton, caplog: pytest.LogCaptureFixture) -> None:
    triton.script = abort("INTERNAL", "broken")
    with caplog.at_level(logging.DEBUG, "faceparam"), FaceParamClient(url) as client, pytest.raises(errors.ServerError):
        client.infer(png(picture(1)))
    assert triton.requests[0].id in caplog.text and "ServerError" in caplog.text
    assert "PNG" not in caplog.text


def test_nothing_heavy_is_loaded(url: str) -> None:
    code = """
import sys, sdk, numpy
with sdk.FaceParamClient(sys.argv[1], timeout=10) as client:
    print(client.infer(numpy.zeros((8, 8, 3), numpy.uint8)).model_version)
heavy = {"torch", "onnxruntime", "cv2", "PIL", "tensorrt", "cuda", "game", "train", "scipy", "onnx", "numba"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, "abc\n", "")


# In asyncio


def test_async_client_does_the_same(url: str, triton: Triton) -> None:
    async def main() -> None:
        async with AsyncFaceParamClient(url, timeout=10) as client:
            await client.wait_until_ready(10)
            assert await client.schema() == sdk.REFERENCE
            photo = png(picture(3))
            assert (await client.infer(io.BytesIO(photo)))["brow_inner.tx"] == fingerprint(photo)
            assert len(await client.infer_batch([photo] * 33)) == 33
            photos = [b"" if i % 7 == 3 else png(picture(i)) for i in range(30)]
            outcomes = {o.index: o async for o in client.infer_many(photos, concurrency=4)}
            assert sorted(outcomes) == list(range(30))
            assert all((o.error is None) == bool(o.photo) for o in outcomes.values())
            triton.script = abort("INTERNAL", "broken")
            with pytest.raises(errors.ServerError):
                await client.with_options(timeout=1).infer(photo)
        with pytest.raises(errors.ClientClosedError):
            await client.infer(photo)

    asyncio.run(main())


def test_cancelling_a_task_cancels_the_request(url: str, triton: Triton) -> None:
    begun, cancelled = threading.Event(), threading.Event()

    def wait(context: grpc.ServicerContext, files: list[bytes]) -> None:
        context.add_callback(cancelled.set)
        begun.set()
        cancelled.wait(10)

    triton.script = wait

    async def main() -> None:
        async with AsyncFaceParamClient(url, timeout=10) as client:
            task = asyncio.create_task(client.infer(picture(1)))
            await asyncio.to_thread(begun.wait, 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await asyncio.to_thread(cancelled.wait, 5)
            triton.script = lambda context, files: None
            assert (await client.infer(picture(1))).model_version == "abc"

    asyncio.run(main())


def test_async_embedded(tiny_models: Path, pattern: Callable[[int, int], np.ndarray]) -> None:
    photo = pattern(320, 320)

    async def main() -> list[sdk.FaceParams]:
        async with AsyncFaceParamClient.embedded(tiny_models) as client:
            await client.wait_until_ready()
            assert (await client.schema()) == sdk.REFERENCE
            assert await client.with_options(timeout=1).infer(photo) == await client.infer(photo)
            return list(await asyncio.gather(*(client.infer(photo) for _ in range(4))))

    with FaceParamClient.embedded(tiny_models) as client:
        assert asyncio.run(main()) == client.infer_batch([photo] * 4)


# Options


def test_the_environment_fills_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FACEPARAM_URL", "faces:1")
    monkeypatch.setenv("FACEPARAM_TIMEOUT", "0.5")
    monkeypatch.setenv("FACEPARAM_MAX_RETRIES", "0")
    monkeypatch.setenv("FACEPARAM_TOKEN", "t")
    monkeypatch.setenv("FACEPARAM_ROOT_CERTIFICATES", str(tmp_path / "ca.pem"))
    connection = Connection.from_environment(timeout=3.0, url=None)
    assert connection == Connection("faces:1", 3.0, 0, tmp_path / "ca.pem", token="t")
    monkeypatch.setenv("FACEPARAM_TIMEOUT", "soon")
    with pytest.raises(ValueError, match="FACEPARAM_TIMEOUT is 'soon'"):
        Connection.from_environment()
    with pytest.raises(ValueError, match=r"cannot read root_certificates .*ca\.pem"):
        FaceParamClient(timeout=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": "http://faces:8000"}, "speaks gRPC"),
        ({"url": ""}, "host:port"),
        ({"url": "faces 8001"}, "host:port"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("inf")}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"max_retries": 5}, "0 to 4"),
        ({"max_retries": -1}, "0 to 4"),
        ({"private_key": Path("key.pem")}, "belong together"),
        ({"private_key": Path("key.pem"), "certificate_chain": Path("c.pem")}, "needs TLS"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Connection(**options)


@pytest.mark.parametrize(
    ("url", "target", "secure"),
    [
        ("faces:8001", "faces:8001", False),
        ("grpc://faces:8001/", "faces:8001", False),
        ("grpcs://faces:443", "faces:443", True),
        ("dns:///faces.svc:8001", "dns:///faces.svc:8001", False),
        ("[::1]:8001", "[::1]:8001", False),
    ],
)
def test_urls(url: str, target: str, secure: bool) -> None:
    connection = Connection(url)
    assert (connection.target, connection.secure) == (target, secure)


def test_a_picture_file_is_what_the_photo_is(pattern: Callable[[int, int], np.ndarray]) -> None:
    pixels = pattern(40, 30)
    for photo in (pixels, pixels[..., :1], pixels[..., 0], pixels.astype(np.uint16) * 257):
        from sdk.image import decode

        np.testing.assert_array_equal(decode(picture_file(photo)).pixels, decode(photo).pixels)
