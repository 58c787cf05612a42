"""What a client and a server say to each other, as generators that do no input or output themselves.

A generator yields :class:`Call` and :class:`Pause`; who drives it makes them, blocking or asynchronously, and sends back
the answer or throws the typed error. So :mod:`sdk.remote` holds two short drivers and the rules stand here, once.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2 as pb
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor, triton_to_np_dtype

from sdk import contract
from sdk.assemble import face_in_photo, face_params, reject
from sdk.connection import MAX_MESSAGE_BYTES
from sdk.errors import (
    ContractMismatchError,
    FaceParamError,
    FaceRejected,
    InputError,
    SchemaError,
    ServerError,
    ServiceConnectionError,
    ServiceError,
    ServiceNotReadyError,
    ServiceOverloadedError,
    ServiceTimeoutError,
    from_message,
)
from sdk.face_params import FaceParams
from sdk.quality import Quality, reasons
from sdk.schema import Schema

MAX_BATCH = contract.MAX_BATCH
PATIENCE = 0.8
"""Share of the deadline that a photo may wait in one of the server's queues."""
ROOM = 2**20
"""Bytes of a message that are kept for what is not photos."""

_TRITON_TYPES = {"bytes": "BYTES", "uint8": "UINT8", "int32": "INT32", "float32": "FP32"}
_Answer = TypeVar("_Answer")


class Deadline:
    """Seconds that something may take in all."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left, never below a millisecond: gRPC then says itself that time is up."""
        return max(1e-3, self._end - time.monotonic())


@dataclass(frozen=True)
class Call:
    """A method of ``GRPCInferenceServiceStub`` to be called."""

    method: str
    request: Any
    deadline: Deadline

    def error(self, status: str, message: str) -> FaceParamError:
        """What it means that the call failed with a gRPC status ("UNAVAILABLE", ...) and this message."""
        return error_from(status, message, getattr(self.request, "id", ""), self.deadline.seconds)


@dataclass(frozen=True)
class Pause:
    """Seconds to wait."""

    seconds: float


Steps: TypeAlias = Generator["Call | Pause", Any, _Answer]


class Dialogue:
    """Everything that is said to one server.

    Args:
        expected: the schema that the server must speak; None takes the server's own.
    """

    def __init__(self, expected: Schema | None) -> None:
        self._expected = expected
        self._schema: Schema | None = None

    def connect(self, deadline: Deadline) -> Steps[Schema]:
        """The server's schema, asked for once, after its models have been compared with this client's contract.

        Raises:
            ContractMismatchError: they differ.
        """
        if self._schema is None:
            answer = yield Call("ModelInfer", pb.ModelInferRequest(model_name=contract.SCHEMA.name), deadline)
            schema = _schema(_tensors(answer)[contract.SCHEMA.outputs[0].name])
            if self._expected is not None and schema != self._expected:
                raise ContractMismatchError(
                    f"the server speaks another schema than this client: {_difference(self._expected, schema)}"
                )
            model = contract.face_params(schema)[0]
            check_contract(model, (yield Call("ModelMetadata", pb.ModelMetadataRequest(name=model.name), deadline)))
            self._schema = schema
        return self._schema

    def wait_until_ready(self, deadline: Deadline) -> Steps[None]:
        """Ask until the server has the models.

        Raises:
            ServiceNotReadyError: it had them not before the deadline.
            ContractMismatchError: they are not those that this client knows.
        """
        pause = 0.05
        error: ServiceError | None = None
        while True:
            try:
                name = contract.face_params()[0].name
                attempt = Deadline(min(5.0, deadline.left()))
                if (yield Call("ModelReady", pb.ModelReadyRequest(name=name), attempt)).ready:
                    yield from self.connect(attempt)
                    return
                error = ServiceNotReadyError("it is up, its models are not")
            except ServiceTimeoutError as failed:
                error = error or failed  # the last attempt has little time left: what an earlier one was told says more
            except (ServiceConnectionError, ServiceNotReadyError, ServiceOverloadedError) as failed:
                error = failed
            pause = min(2 * pause, 1.0)
            if deadline.left() < pause:
                raise ServiceNotReadyError(f"the server was not ready within {deadline.seconds:g} s: {error}") from error
            yield Pause(pause)

    def infer(self, files: Sequence[bytes], deadline: Deadline) -> Steps[list[FaceParams]]:
        """Solve picture files, as many in one request as fit; the deadline is for each request.

        Raises:
            FaceParamError: of the first photo that failed; ``photo`` is its index where there are several.
        """
        schema = yield from self.connect(deadline)
        solved: list[FaceParams] = []
        for chunk in _chunks(files):
            started = time.perf_counter()
            request = infer_request(chunk, deadline)
            before = len(solved)
            try:
                batch = _tensors((yield Call("ModelInfer", request, deadline)))
                timings = {"total": 1e3 * (time.perf_counter() - started)}
                for i in range(len(chunk)):
                    row = {name: values[i : i + 1] for name, values in batch.items()}
                    solved.append(answer(schema, row, request.id, timings))
            except (InputError, FaceRejected) as error:
                which = len(solved) if isinstance(error, FaceRejected) else before + (error.photo or 0)
                error.photo = which if len(files) > 1 else None
                raise
            deadline = Deadline(deadline.seconds)
        return solved


def infer_request(files: Sequence[bytes], deadline: Deadline) -> Any:
    """The request for the ensemble `face_params`. What waits longer than most of the deadline is refused by the server, which
    costs it nothing; a client that gives up first makes it cancel."""
    model = contract.face_params()[0]
    request = pb.ModelInferRequest(model_name=model.name, id=uuid.uuid4().hex)
    request.parameters["timeout"].int64_param = max(1, int(1e6 * PATIENCE * deadline.left()))  # microseconds
    image = contract.IMAGE
    request.inputs.add(name=image.name, datatype="BYTES", shape=(len(files), *image.shape))
    request.raw_input_contents.append(serialize_byte_tensor(np.array([*files, None], object)[:-1]).item())
    return request


def answer(schema: Schema, batched: Mapping[str, NDArray[Any]], request_id: str, timings: Mapping[str, float]) -> FaceParams:
    """`FaceParams` from the outputs of the ensemble `face_params` for one photo, batch axis first.

    Raises:
        FaceRejected: the photo holds no face that can be solved.
        ContractMismatchError: an output is missing or has another shape.
    """
    model = contract.face_params(schema)[0]
    tensors: dict[str, NDArray[Any]] = {}
    for tensor in model.outputs:
        values = batched.get(tensor.name)
        if values is None or values.size != np.prod(tensor.shape, dtype=int):
            found = "is missing" if values is None else f"has the shape {values.shape}"
            raise ContractMismatchError(
                f"output {tensor.name!r} of {model.name!r} {found}; {tensor.shape} was expected", request_id=request_id
            )
        tensors[tensor.name] = values.reshape(tensor.shape)
    spoken = tensors["schema_version"].item().decode()
    if spoken != schema.version:
        raise ContractMismatchError(
            f"the server speaks schema {spoken!r}, this client {schema.version!r}: make a new client", request_id=request_id
        )
    quality = Quality(*(float(value) for value in tensors["quality"]))
    count = int(tensors["face_count"])
    reject(reasons(quality), count)
    width, height = tensors["photo_size"].tolist()
    face = face_in_photo(tensors, (width, height), tensors["from_canvas"].astype(np.float64), count, quality)
    return face_params(schema, tensors, tensors, face, tensors["model_version"].item().decode(), timings, request_id)


def check_contract(model: contract.Model, metadata: Any) -> None:
    """Compare a model that a server has (``ModelMetadataResponse``) with this client's.

    Raises:
        ContractMismatchError: names every tensor that is missing or differs.
    """
    wrong = []
    for kind, tensors, told in (("input", model.inputs, metadata.inputs), ("output", model.outputs, metadata.outputs)):
        found = {tensor.name: (tensor.datatype, tuple(tensor.shape)) for tensor in told}
        for tensor in tensors:
            wanted = (_TRITON_TYPES[tensor.dtype], (-1, *tensor.served_shape))
            if found.get(tensor.name) != wanted:
                there = "{} {}".format(*found[tensor.name]) if tensor.name in found else "missing"
                wrong.append(f"{kind} {tensor.name!r} is {there} (expected {wanted[0]} {wanted[1]})")
    if wrong:
        raise ContractMismatchError(f"the server's {model.name!r} differs from this client's contract: {'; '.join(wrong)}")


def error_from(status: str, message: str, request_id: str, seconds: float) -> FaceParamError:
    """The typed error for a failed call.

    Args:
        status: name of the gRPC status, "UNAVAILABLE" for example.
        message: what the server or gRPC said.
        request_id: of the failed request.
        seconds: that the call was given.
    """
    if (bad_photo := from_message(message)) is not None:
        return bad_photo
    if status == "DEADLINE_EXCEEDED":
        return ServiceTimeoutError(f"no answer within {seconds:.3g} s", request_id=request_id)
    if status == "RESOURCE_EXHAUSTED" or "maximum queue size" in message:
        return ServiceOverloadedError(f"the server is overloaded: {message}", request_id=request_id)
    if "timeout expired" in message.lower():
        return ServiceOverloadedError(f"the photo waited too long in the server's queue: {message}", request_id=request_id)
    if status == "NOT_FOUND" or "unknown model" in message or "not ready" in message:
        return ServiceNotReadyError(f"the server does not have the models ready: {message}", request_id=request_id)
    if status in ("UNAVAILABLE", "CANCELLED"):
        return ServiceConnectionError(f"the server cannot be reached: {message}", request_id=request_id)
    return ServerError(f"the server failed ({status}): {message}", request_id=request_id)


def _chunks(files: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Runs of files that fit into one request: by number and by size."""
    start, size = 0, 0
    for i, file in enumerate(files):
        if i > start and (i - start == MAX_BATCH or size + len(file) > MAX_MESSAGE_BYTES - ROOM):
            yield files[start:i]
            start, size = i, 0
        size += len(file)
    if files:
        yield files[start:]


def _tensors(response: Any) -> dict[str, NDArray[Any]]:
    """The outputs of a ``ModelInferResponse`` by name, batch axis first."""
    tensors = {}
    for output, content in zip(response.outputs, response.raw_output_contents, strict=True):
        if output.datatype == "BYTES":
            values = deserialize_bytes_tensor(content)
        else:
            values = np.frombuffer(content, triton_to_np_dtype(output.datatype))
        tensors[output.name] = values.reshape(tuple(output.shape))
    return tensors


def _schema(text: NDArray[Any]) -> Schema:
    try:
        return Schema.from_json(text.item().decode())
    except (SchemaError, UnicodeDecodeError) as error:
        raise ContractMismatchError(f"the server's schema cannot be read: {error}") from error


def _difference(expected: Schema, found: Schema) -> str:
    """What differs first between two schemas."""
    for field in ("version", "identity", "expression", "pose", "style"):
        ours, theirs = getattr(expected, field), getattr(found, field)
        if ours == theirs:
            continue
        if field == "version":
            return f"its version is {theirs!r}, this client's {ours!r}"
        new = [getattr(one, "name", one) for one in theirs if one not in ours]
        gone = [getattr(one, "name", one) for one in ours if one not in theirs]
        if not new and not gone:
            return f"{field} is in another order"
        return f"of {field}, {new[:5]} are new to this client and {gone[:5]} are missing"
    return "nothing"
