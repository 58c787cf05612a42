"""`FaceParamClient`: a photo in, `FaceParams` out, from a server or in this process."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence, Sized
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from sdk.connection import Connection
from sdk.errors import ClientClosedError, FaceParamError, MissingDependencyError
from sdk.face_params import FaceParams
from sdk.models import find_models
from sdk.outcome import Outcome, Progress
from sdk.schema import Schema
from sdk.stream import FaceStream, Smoothing

if TYPE_CHECKING:
    from sdk.embedded import EmbeddedBackend
    from sdk.photo_input import PhotoInput


class Backend(Protocol):
    """What solves photos for a client. It must be safe to call from several threads at once."""

    @property
    def schema(self) -> Schema: ...

    def infer(self, photos: Sequence[PhotoInput]) -> list[FaceParams]: ...

    def wait_until_ready(self, seconds: float) -> None: ...

    def with_options(self, **changes: Any) -> Backend: ...

    def close(self) -> None: ...


class FaceParamClient:
    """Solves photos. Make one, share it between threads, close it at the end.

    ::

        with FaceParamClient("faces.example.com:8001") as client:    # a server's gRPC endpoint
            params = client.infer("me.jpg")

        with FaceParamClient.embedded() as client:                   # or in this process
            params = client.infer("me.jpg")

    Making a client does not talk to the server yet. With the first photo its models are compared with this client's
    contract. Processes that fork make their client after forking.
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
        """A client of a server.

        What is not given comes from the environment (``FACEPARAM_URL``, ``FACEPARAM_TIMEOUT``, ...), then from the
        defaults; :class:`sdk.connection.Connection` says what each is.

        Args:
            schema: the vocabulary that the server must speak. By default whatever it speaks, see :attr:`schema`.

        Raises:
            ValueError: an option cannot be.
        """
        connection = Connection.from_environment(
            url=url,
            timeout=timeout,
            max_retries=max_retries,
            root_certificates=root_certificates,
            private_key=private_key,
            certificate_chain=certificate_chain,
            token=token,
        )
        from sdk.remote import RemoteBackend  # here: importing gRPC takes a quarter of a second

        self._backend: Backend | None = RemoteBackend(connection, schema)

    @classmethod
    def using(cls, backend: Backend) -> FaceParamClient:
        """A client of a backend of one's own, a fake one in tests for example."""
        client = cls.__new__(cls)
        client._backend = backend
        return client

    @classmethod
    def embedded(cls, model_repository: str | os.PathLike[str] | None = None, *, threads: int = 1) -> FaceParamClient:
        """A client that runs the models in this process, on ONNX Runtime.

        The model files are found now and loaded with the first photo, or by :meth:`wait_until_ready`.

        Args:
            model_repository: folder of the model files. By default the environment variable ``FACEPARAM_MODELS``, then
                the files that were installed with this package (:mod:`sdk.models`).
            threads: CPU threads for one photo, at least 1. A server that solves several photos at once gets the most
                out of 1.

        Raises:
            MissingDependencyError: ONNX Runtime or OpenCV is not installed.
            ModelNotFoundError: there are no model files there; the message says where it looked.
            ValueError: `threads` is not a positive whole number.
        """
        return cls.using(embedded_backend(model_repository, threads))

    @property
    def schema(self) -> Schema:
        """The vocabulary of the models that this client uses; a server is asked for it once.

        Raises:
            ServiceError: the server did not answer.
        """
        return self._open().schema

    def infer(self, photo: PhotoInput) -> FaceParams:
        """Solve the main face in a photo.

        Args:
            photo: path, bytes of a JPEG, PNG, WebP or BMP file, binary file object, RGB array (uint8 or uint16),
                or Pillow image. A server gets files as they are and arrays as uncompressed PNG files.

        Returns:
            The same `FaceParams` for the same photo, always.

        Raises:
            InputError: the photo cannot be read or decoded.
            FaceRejected: it holds no face that can be solved; ``reasons`` says why.
            ServiceError: the server did not answer; its subclasses say why.
            ModelError: this installation cannot infer (embedded clients).
            ClientClosedError: this client has been closed.
        """
        return self._open().infer([photo])[0]

    def infer_batch(self, photos: Sequence[PhotoInput]) -> list[FaceParams]:
        """Solve several photos in one request (up to 32; more, or larger ones, in several); answers in the same order.

        All or nothing: the first photo that fails raises its error, whose ``photo`` is its index. Where bad photos must
        not stop the others, use :meth:`infer_many`. The timeout is for each request.

        Raises:
            As :meth:`infer`.
        """
        return self._open().infer(photos)

    def infer_many(self, photos: Iterable[PhotoInput], *, concurrency: int = 8, progress: bool = False) -> Iterator[Outcome]:
        """Solve any number of photos, several at a time; outcomes come as they are ready, each with its photo's index.

        Every photo taken from `photos` ends in exactly one outcome, solved or failed. Photos are taken as they are
        needed, so that an endless iterable is fine. Leaving the loop early drops what has not begun.

        Args:
            concurrency: photos on their way at the same time.
            progress: show on stderr how many are done.

        Raises:
            ClientClosedError: this client has been closed.
            ValueError: `concurrency` is not positive.
        """
        backend = self._open()
        if concurrency < 1:
            raise ValueError(f"concurrency must be at least 1, not {concurrency}")
        return _infer_many(backend, photos, concurrency, progress)

    def stream(self, smoothing: Smoothing | None = None) -> FaceStream:
        """One player's video: :meth:`FaceStream.infer` solves frame after frame and smooths what it finds."""
        return FaceStream(self, smoothing)

    def wait_until_ready(self, timeout: float = 60.0) -> None:
        """Wait until photos can be solved without delay: a server has its models ready, or this process has loaded them.

        Raises:
            ServiceNotReadyError: not within `timeout` seconds; says what was wrong last.
            ContractMismatchError: the server's models are not those that this client knows.
            ModelError: this process cannot load them.
        """
        self._open().wait_until_ready(timeout)

    def with_options(self, *, timeout: float | None = None, token: str | None = None) -> FaceParamClient:
        """A client with another timeout or token that shares this one's connection; it ends when this one is closed.

        In process nothing is waited for, and neither has a meaning.
        """
        changes = {name: value for name, value in {"timeout": timeout, "token": token}.items() if value is not None}
        return FaceParamClient.using(self._open().with_options(**changes))

    def close(self) -> None:
        """Close the connection, or let the models go. Closing twice is fine."""
        if self._backend is not None:
            self._backend.close()
            self._backend = None

    def _open(self) -> Backend:
        if self._backend is None:
            raise ClientClosedError("this FaceParamClient has been closed; make another")
        return self._backend

    def __enter__(self) -> FaceParamClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()


def embedded_backend(model_repository: str | os.PathLike[str] | None, threads: int) -> EmbeddedBackend:
    """The backend of :meth:`FaceParamClient.embedded`."""
    if threads < 1:
        raise ValueError(f"threads must be at least 1, not {threads}")
    try:
        from sdk.embedded import EmbeddedBackend
    except ImportError as error:
        if error.name not in ("cv2", "onnxruntime"):
            raise
        raise MissingDependencyError(
            f"solving photos in this process needs {error.name}: pip install 'faceparam[embedded]' (or use a server)",
            name=error.name,
        ) from error
    return EmbeddedBackend(find_models(model_repository), threads)


def _infer_many(backend: Backend, photos: Iterable[PhotoInput], concurrency: int, progress: bool) -> Iterator[Outcome]:
    bar = Progress(len(photos) if isinstance(photos, Sized) else None) if progress else None
    numbered = enumerate(photos)
    pool = ThreadPoolExecutor(concurrency, thread_name_prefix="faceparam")
    try:
        running: set[Future[Outcome]] = set()
        while True:
            for index, photo in itertools.islice(numbered, concurrency - len(running)):
                running.add(pool.submit(_outcome, backend, index, photo))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                outcome = future.result()
                if bar:
                    bar.add(outcome)
                yield outcome
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        if bar:
            bar.close()


def _outcome(backend: Backend, index: int, photo: PhotoInput) -> Outcome:
    try:
        return Outcome(index, photo, params=backend.infer([photo])[0])
    except FaceParamError as error:
        return Outcome(index, photo, error=error)
