"""`AsyncFaceParamClient`: the API of :class:`sdk.client.FaceParamClient` in asyncio."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Iterable, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sdk.client import Backend, embedded_backend
from sdk.connection import Connection
from sdk.errors import ClientClosedError, FaceParamError
from sdk.face_params import FaceParams
from sdk.outcome import Outcome, Progress
from sdk.schema import Schema
from sdk.stream import AsyncFaceStream, Smoothing

if TYPE_CHECKING:
    from collections.abc import Callable

    from sdk.photo_input import PhotoInput

_Answer = TypeVar("_Answer")


class AsyncBackend(Protocol):
    """What solves photos for an asynchronous client."""

    async def schema(self) -> Schema: ...

    async def infer(self, photos: Sequence[PhotoInput]) -> list[FaceParams]: ...

    async def wait_until_ready(self, seconds: float) -> None: ...

    def with_options(self, **changes: Any) -> AsyncBackend: ...

    async def close(self) -> None: ...


class AsyncFaceParamClient:
    """Solves photos without blocking the event loop. Cancelling a task that waits for a photo cancels its request.

    ::

        async with AsyncFaceParamClient("faces.example.com:8001") as client:
            params = await client.infer("me.jpg")

    Options, arguments and errors are those of :class:`sdk.client.FaceParamClient`. A client belongs to the event loop
    in which it is first used.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        timeout: float | None = None,
        max_retries: int | None = None,
        root_certificates: str | os.PathLike[str] | None = None,
        private_key: str | os.PathLike[str] | None = None,
        certificate_chain: str | os.PathLike[str] | None = None,
        token: str | None = None,
        schema: Schema | None = None,
    ) -> None:
        """A client of a server; see :class:`sdk.client.FaceParamClient`."""
        connection = Connection.from_environment(
            url=url,
            timeout=timeout,
            max_retries=max_retries,
            root_certificates=root_certificates,
            private_key=private_key,
            certificate_chain=certificate_chain,
            token=token,
        )
        from sdk.remote import AsyncRemoteBackend

        self._backend: AsyncBackend | None = AsyncRemoteBackend(connection, schema)

    @classmethod
    def using(cls, backend: AsyncBackend) -> AsyncFaceParamClient:
        """A client of a backend of one's own, a fake one in tests for example."""
        client = cls.__new__(cls)
        client._backend = backend
        return client

    @classmethod
    def embedded(cls, model_repository: str | os.PathLike[str] | None = None, *, threads: int = 1) -> AsyncFaceParamClient:
        """A client that runs the models in threads of this process, one photo per processor core at a time; see
        :meth:`sdk.client.FaceParamClient.embedded`."""
        return cls.using(_Threads(embedded_backend(model_repository, threads)))

    async def schema(self) -> Schema:
        """The vocabulary of the models that this client uses; a server is asked for it once."""
        return await self._open().schema()

    async def infer(self, photo: PhotoInput) -> FaceParams:
        """Solve the main face in a photo; see :meth:`sdk.client.FaceParamClient.infer`."""
        return (await self._open().infer([photo]))[0]

    async def infer_batch(self, photos: Sequence[PhotoInput]) -> list[FaceParams]:
        """Solve several photos, all or nothing; see :meth:`sdk.client.FaceParamClient.infer_batch`."""
        return await self._open().infer(photos)

    async def infer_many(
        self, photos: Iterable[PhotoInput], *, concurrency: int = 8, progress: bool = False
    ) -> AsyncIterator[Outcome]:
        """Solve any number of photos, several at a time; see :meth:`sdk.client.FaceParamClient.infer_many`.

        Leaving the loop early and closing the iterator (``contextlib.aclosing``) cancels what is on its way.
        """
        backend = self._open()
        if concurrency < 1:
            raise ValueError(f"concurrency must be at least 1, not {concurrency}")
        bar = Progress(len(photos) if isinstance(photos, Sized) else None) if progress else None
        numbered = enumerate(photos)
        running: set[asyncio.Task[Outcome]] = set()
        try:
            while True:
                for index, photo in itertools.islice(numbered, concurrency - len(running)):
                    running.add(asyncio.create_task(_outcome(backend, index, photo)))
                if not running:
                    return
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    if bar:
                        bar.add(task.result())
                    yield task.result()
        finally:
            for task in running:
                task.cancel()
            if bar:
                bar.close()

    def stream(self, smoothing: Smoothing | None = None) -> AsyncFaceStream:
        """One player's video; see :meth:`sdk.client.FaceParamClient.stream`."""
        return AsyncFaceStream(self, smoothing)

    async def wait_until_ready(self, timeout: float = 60.0) -> None:
        """Wait until photos can be solved without delay; see :meth:`sdk.client.FaceParamClient.wait_until_ready`."""
        await self._open().wait_until_ready(timeout)

    def with_options(self, *, timeout: float | None = None, token: str | None = None) -> AsyncFaceParamClient:
        """A client with another timeout or token on the same connection; see :meth:`FaceParamClient.with_options`."""
        changes = {name: value for name, value in {"timeout": timeout, "token": token}.items() if value is not None}
        return AsyncFaceParamClient.using(self._open().with_options(**changes))

    async def close(self) -> None:
        """Close the connection, or let the models go. Closing twice is fine."""
        if self._backend is not None:
            backend, self._backend = self._backend, None
            await backend.close()

    def _open(self) -> AsyncBackend:
        if self._backend is None:
            raise ClientClosedError("this AsyncFaceParamClient has been closed; make another")
        return self._backend

    async def __aenter__(self) -> AsyncFaceParamClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


async def _outcome(backend: AsyncBackend, index: int, photo: PhotoInput) -> Outcome:
    try:
        return Outcome(index, photo, params=(await backend.infer([photo]))[0])
    except FaceParamError as error:
        return Outcome(index, photo, error=error)


class _Threads:
    """A blocking backend in threads of its own, as many as there are cores."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._pool = ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="faceparam")

    async def schema(self) -> Schema:
        return self._backend.schema

    async def infer(self, photos: Sequence[PhotoInput]) -> list[FaceParams]:
        return await self._run(self._backend.infer, photos)

    async def wait_until_ready(self, seconds: float) -> None:
        await self._run(self._backend.wait_until_ready, seconds)

    def with_options(self, **changes: Any) -> _Threads:
        return self

    async def close(self) -> None:
        self._backend.close()
        self._pool.shutdown(wait=False)

    async def _run(self, function: Callable[..., _Answer], *arguments: Any) -> _Answer:
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)
