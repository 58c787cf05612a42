"""Requests to and answers from a server, as pure functions: what the blocking and the asynchronous client share.

Needs NumPy only; neither knows gRPC's classes, so both are tested without a server.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk import contract
from sdk.assemble import Tensors, face_in_photo, face_params, reject
from sdk.errors import (
    ContractMismatchError,
    FaceParamError,
    ServerError,
    ServiceConnectionError,
    ServiceNotReadyError,
    ServiceOverloadedError,
    ServiceTimeoutError,
    from_message,
)
from sdk.face_params import FaceParams
from sdk.quality import Quality, reasons
from sdk.schema import Schema

MAX_MESSAGE_BYTES = 72 * 2**20
"""Of a request or an answer: the largest photo, and room for the rest."""

_TRITON_TYPES = {"bytes": "BYTES", "uint8": "UINT8", "int32": "INT32", "float32": "FP32"}


def answer(schema: Schema, batched: Tensors, timings: Mapping[str, float]) -> FaceParams:
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
            raise ContractMismatchError(f"output {tensor.name!r} of {model.name!r} {found}; {tensor.shape} was expected")
        tensors[tensor.name] = values.reshape(tensor.shape)
    spoken = tensors["schema_version"].item().decode()
    if spoken != schema.version:
        raise ContractMismatchError(f"the server speaks schema {spoken!r}, this client {schema.version!r}")
    quality = Quality(*(float(value) for value in tensors["quality"]))
    count = int(tensors["face_count"])
    reject(reasons(quality), count)
    width, height = tensors["photo_size"].tolist()
    face = face_in_photo(tensors, (width, height), tensors["from_canvas"].astype(np.float64), count, quality)
    return face_params(schema, tensors, tensors, face, tensors["model_version"].item().decode(), timings)


def check_contract(schema: Schema, metadata: Mapping[str, Iterable[tuple[str, str, tuple[int, ...]]]]) -> None:
    """Compare the ensemble that a server has with this client's.

    Args:
        metadata: "inputs" and "outputs" as Triton tells them: name, datatype, shape with the batch axis (-1).

    Raises:
        ContractMismatchError: names every tensor that is missing or differs.
    """
    model = contract.face_params(schema)[0]
    wrong = []
    for kind, tensors in (("inputs", model.inputs), ("outputs", model.outputs)):
        found = {name: (datatype, shape) for name, datatype, shape in metadata[kind]}
        for tensor in tensors:
            wanted = (_TRITON_TYPES[tensor.dtype], (-1, *tensor.served_shape))
            if found.get(tensor.name) != wanted:
                there = "{} {}".format(*found[tensor.name]) if tensor.name in found else "missing"
                wrong.append(f"{kind[:-1]} {tensor.name!r} is {there} (expected {wanted[0]} {wanted[1]})")
    if wrong:
        raise ContractMismatchError(f"the server's {model.name!r} differs from this client's contract: {'; '.join(wrong)}")


def error_from(status: str, message: str, request_id: str, deadline: float) -> FaceParamError:
    """The typed error for a failed call.

    Args:
        status: name of the gRPC status, "UNAVAILABLE" for example.
        message: what the server or gRPC said.
        request_id: of the failed request.
        deadline: seconds that the call was given.
    """
    if (bad_photo := from_message(message)) is not None:
        return bad_photo
    if status == "DEADLINE_EXCEEDED":
        return ServiceTimeoutError(f"no answer within {deadline:g} s", request_id=request_id)
    if status == "RESOURCE_EXHAUSTED" or "maximum queue size" in message:
        return ServiceOverloadedError(f"the server is overloaded: {message}", request_id=request_id)
    if "timeout expired" in message.lower():
        return ServiceOverloadedError(f"the photo waited too long in the server's queue: {message}", request_id=request_id)
    if status == "NOT_FOUND" or "unknown model" in message or "not ready" in message:
        return ServiceNotReadyError(f"the server does not have the models ready: {message}", request_id=request_id)
    if status in ("UNAVAILABLE", "CANCELLED"):
        return ServiceConnectionError(f"the server cannot be reached: {message}", request_id=request_id)
    return ServerError(f"the server failed ({status}): {message}", request_id=request_id)
