"""Photos to a server over gRPC: the blocking and the asynchronous driver of :mod:`sdk.wire`.

Imported when a client of a server is made. One channel per client: gRPC keeps it open, connects it again, and repeats
calls that the server did not take, all within the deadline. It is opened with the first call, so that a client may be
made before a process forks.
"""

from __future__ import annotations

import asyncio
import copy
import importlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, Generic, TypeVar

import grpc
import grpc.aio
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from sdk import wire
from sdk.connection import Connection
from sdk.errors import ClientClosedError, InputError
from sdk.face_params import FaceParams
from sdk.photo_input import PhotoInput, picture_file
from sdk.schema import Schema

log = logging.getLogger("faceparam")

_Answer = TypeVar("_Answer")
_Channel = TypeVar("_Channel", grpc.Channel, grpc.aio.Channel)


class _Link(Generic[_Channel]):
    """The channel to a server, opened when first used; shared by clients that differ in options of their calls only."""

    def __init__(self, connection: Connection, insecure: Callable[..., _Channel], secure: Callable[..., _Channel]) -> None:
        self._connection, self._insecure, self._secure = connection, insecure, secure
        self._certificates = connection.certificates()  # now: a wrong path is the caller's mistake
        self._channel: _Channel | None = None
        self._stub: Any = None
        self.closed = False

    def method(self, name: str) -> Any:
        """A method of the service, to be called."""
        if self.closed:
            raise ClientClosedError("this client has been closed; make another")
        if self._stub is None:
            options = self._connection.channel_options()
            if self._connection.secure:
                credentials = grpc.ssl_channel_credentials(**self._certificates)
                self._channel = self._secure(self._connection.target, credentials, options)
            else:
                self._channel = self._insecure(self._connection.target, options)
            self._stub = GRPCInferenceServiceStub(self._channel)
        return getattr(self._stub, name)

    def close(self) -> Any:
        """Close the channel; in asyncio the answer must be awaited, if it is not None."""
        self.closed = True
        channel, self._channel = self._channel, None
        return channel.close() if channel is not None else None


class _Backend(Generic[_Channel]):
    """What both drivers have."""

    def __init__(self, connection: Connection, schema: Schema | None, link: _Link[_Channel]) -> None:
        self._connection = connection
        self._dialogue = wire.Dialogue(schema)
        self._link = link
        self._owns_link = True

    def with_options(self, **changes: Any) -> Any:
        """The same backend, on the same channel, with another ``timeout`` or ``token``."""
        other = copy.copy(self)
        other._connection = replace(self._connection, **changes)
        other._owns_link = False
        return other

    def _deadline(self) -> wire.Deadline:
        return wire.Deadline(self._connection.timeout)

    def _send(self, call: wire.Call) -> Any:
        metadata = _trace()
        if self._connection.token:
            metadata.append(("authorization", f"Bearer {self._connection.token}"))
        return self._link.method(call.method)(call.request, timeout=call.deadline.left(), metadata=metadata)


class RemoteBackend(_Backend[grpc.Channel]):
    """Solves photos on a server. Safe to call from several threads at once."""

    def __init__(self, connection: Connection, schema: Schema | None = None) -> None:
        super().__init__(connection, schema, _Link(connection, grpc.insecure_channel, grpc.secure_channel))

    @property
    def schema(self) -> Schema:
        """The server's, asked for when first needed."""
        return self._drive(self._dialogue.connect(self._deadline()))

    def infer(self, photos: Sequence[PhotoInput]) -> list[FaceParams]:
        """Solve photos; see :meth:`sdk.client.FaceParamClient.infer_batch`."""
        files = picture_files(photos)
        return self._drive(self._dialogue.infer(files, self._deadline()))

    def wait_until_ready(self, seconds: float) -> None:
        """Wait until the server has the models."""
        self._drive(self._dialogue.wait_until_ready(wire.Deadline(seconds)))

    def close(self) -> None:
        """Close the channel."""
        if self._owns_link:
            self._link.close()

    def _drive(self, steps: wire.Steps[_Answer]) -> _Answer:
        try:
            step = next(steps)
            while True:
                if isinstance(step, wire.Pause):
                    time.sleep(step.seconds)
                    step = next(steps)
                    continue
                try:
                    answer = self._send(step)
                except grpc.RpcError as error:
                    step = steps.throw(_typed(step, error))
                else:
                    step = steps.send(answer)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]


class AsyncRemoteBackend(_Backend[grpc.aio.Channel]):
    """Solves photos on a server, in asyncio."""

    def __init__(self, connection: Connection, schema: Schema | None = None) -> None:
        super().__init__(connection, schema, _Link(connection, grpc.aio.insecure_channel, grpc.aio.secure_channel))

    async def schema(self) -> Schema:
        """The server's, asked for when first needed."""
        return await self._drive(self._dialogue.connect(self._deadline()))

    async def infer(self, photos: Sequence[PhotoInput]) -> list[FaceParams]:
        """Solve photos; see :meth:`sdk.client.FaceParamClient.infer_batch`."""
        files = await asyncio.to_thread(picture_files, photos)  # disks are slow
        return await self._drive(self._dialogue.infer(files, self._deadline()))

    async def wait_until_ready(self, seconds: float) -> None:
        """Wait until the server has the models."""
        await self._drive(self._dialogue.wait_until_ready(wire.Deadline(seconds)))

    async def close(self) -> None:
        """Close the channel."""
        if self._owns_link and (closing := self._link.close()) is not None:
            await closing

    async def _drive(self, steps: wire.Steps[_Answer]) -> _Answer:
        try:
            step = next(steps)
            while True:
                if isinstance(step, wire.Pause):
                    await asyncio.sleep(step.seconds)
                    step = next(steps)
                    continue
                try:
                    answer = await self._send(step)
                except grpc.RpcError as error:
                    step = steps.throw(_typed(step, error))
                else:
                    step = steps.send(answer)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]


def picture_files(photos: Sequence[PhotoInput]) -> list[bytes]:
    """Each photo as a picture file; see :func:`sdk.photo_input.picture_file`. Of several, an error says which it was."""
    files = []
    for photo in photos:
        try:
            files.append(picture_file(photo))
        except InputError as error:
            error.photo = len(files) if len(photos) > 1 else None
            raise
    return files


def _typed(call: wire.Call, error: Any) -> Exception:
    typed = call.error(error.code().name, error.details() or "")
    log.debug("request %s: %s: %s", getattr(typed, "request_id", "") or "-", type(typed).__name__, typed)
    typed.__cause__ = error
    return typed


def _trace() -> list[tuple[str, str]]:
    """The ``traceparent`` of the current span, where OpenTelemetry is installed."""
    carrier: dict[str, str] = {}
    if (propagate := _open_telemetry()) is not None:
        propagate.inject(carrier)
    return [(name.lower(), value) for name, value in carrier.items()]


@lru_cache(maxsize=1)
def _open_telemetry() -> Any:
    try:
        return importlib.import_module("opentelemetry.propagate")
    except ImportError:
        return None
