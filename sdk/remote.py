"""The client of a server: photos to Triton's ensemble `face_params` over gRPC.

Imported when such a client is made. One channel per client; gRPC keeps it open, reconnects it, and repeats calls that
never reached the server (UNAVAILABLE), all within the deadline.
"""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from sdk import contract, wire
from sdk.errors import FaceParamError
from sdk.face_params import FaceParams
from sdk.photo_input import PhotoInput, picture_file
from sdk.schema import REFERENCE, Schema


@dataclass(frozen=True)
class Connection:
    """How to reach a server.

    Attributes:
        url: host:port of its gRPC endpoint.
        timeout: seconds that a photo may take in all, queueing and repeated calls included.
        max_retries: how often a call that did not reach the server is repeated, waiting 0.1 s, then twice as long.
        root_certificates, private_key, certificate_chain: PEM files. The first alone: TLS; all three: mutual TLS.
        token: sent as ``authorization: Bearer TOKEN``.
    """

    url: str = "127.0.0.1:8001"
    timeout: float = 2.0
    max_retries: int = 2
    root_certificates: Path | None = None
    private_key: Path | None = None
    certificate_chain: Path | None = None
    token: str | None = None

    def __post_init__(self) -> None:
        if not self.timeout > 0:
            raise ValueError(f"timeout must be more than 0 seconds, not {self.timeout}")
        if self.max_retries < 0:
            raise ValueError(f"max_retries must be at least 0, not {self.max_retries}")

    def channel_arguments(self) -> list[tuple[str, Any]]:
        """gRPC's options: message sizes, keepalive, repeated calls."""
        policy = {
            "maxAttempts": self.max_retries + 1,
            "initialBackoff": "0.1s",
            "maxBackoff": "1s",
            "backoffMultiplier": 2,
            "retryableStatusCodes": ["UNAVAILABLE"],
        }
        method: dict[str, Any] = {"name": [{"service": "inference.GRPCInferenceService"}]}
        if self.max_retries:
            method["retryPolicy"] = policy
        return [
            ("grpc.max_send_message_length", wire.MAX_MESSAGE_BYTES),
            ("grpc.max_receive_message_length", wire.MAX_MESSAGE_BYTES),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 5_000),
            ("grpc.service_config", json.dumps({"methodConfig": [method]})),
        ]

    def credentials(self) -> dict[str, Any]:
        """Keyword arguments of Triton's clients."""
        files = (self.root_certificates, self.private_key, self.certificate_chain)
        if not any(files):
            return {}
        names = ("root_certificates", "private_key", "certificate_chain")
        return {"ssl": True, **{name: str(path) for name, path in zip(names, files, strict=True) if path}}

    def headers(self) -> dict[str, str]:
        """Sent with every call."""
        return {"authorization": f"Bearer {self.token}"} if self.token else {}


class RemoteBackend:
    """Solves photos on a server. Safe to call from several threads at once."""

    def __init__(self, connection: Connection, schema: Schema = REFERENCE) -> None:
        self.schema = schema
        self._connection = connection
        self._client = triton.InferenceServerClient(
            connection.url, channel_args=connection.channel_arguments(), **connection.credentials()
        )

    def infer(self, photo: PhotoInput) -> FaceParams:
        """Solve the main face of a photo; see :meth:`sdk.client.FaceParamClient.infer`."""
        started = time.perf_counter()
        request_id = uuid.uuid4().hex
        inputs, timeout = [_image(picture_file(photo))], self._connection.timeout
        try:
            result = self._client.infer(
                "face_params",
                inputs,
                request_id=request_id,
                timeout=int(1e6 * timeout),  # the server drops what waits longer; in microseconds
                client_timeout=timeout,
                headers=self._connection.headers(),
            )
        except InferenceServerException as error:
            raise typed_error(error, request_id, timeout) from error
        names = contract.face_params(self.schema)[0].output_names
        tensors = {name: values for name in names if (values := result.as_numpy(name)) is not None}
        return wire.answer(self.schema, tensors, {"total": 1e3 * (time.perf_counter() - started)})

    def check(self) -> None:
        """Compare the server's models with this client's contract.

        Raises:
            ContractMismatchError: they differ.
            ServiceError: the server did not answer.
        """
        timeout = self._connection.timeout
        try:
            told = self._client.get_model_metadata("face_params", headers=self._connection.headers(), client_timeout=timeout)
        except InferenceServerException as error:
            raise typed_error(error, "", timeout) from error
        wire.check_contract(
            self.schema,
            {
                kind: [(tensor.name, tensor.datatype, tuple(tensor.shape)) for tensor in getattr(told, kind)]
                for kind in ("inputs", "outputs")
            },
        )

    def ready(self) -> bool:
        """Whether the server can be reached and has the models."""
        connection = self._connection
        try:
            return bool(
                self._client.is_model_ready("face_params", headers=connection.headers(), client_timeout=connection.timeout)
            )
        except InferenceServerException:
            return False

    def close(self) -> None:
        """Close the channel."""
        self._client.close()


def _image(data: bytes) -> triton.InferInput:
    image = triton.InferInput(contract.IMAGE.name, [1, 1], "BYTES")
    image.set_data_from_numpy(np.array([[data]], np.object_))
    return image


def typed_error(error: InferenceServerException, request_id: str, timeout: float) -> FaceParamError:
    """What Triton's one kind of error means."""
    status = str(error.status() or "").removeprefix("StatusCode.")
    return wire.error_from(status, str(error.message()), request_id, timeout)
