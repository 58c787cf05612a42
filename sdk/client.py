"""`FaceParamClient`: a photo in, `FaceParams` out."""

from __future__ import annotations

import os
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from sdk.errors import ClientClosedError, MissingDependencyError
from sdk.face_params import FaceParams
from sdk.models import find_models
from sdk.schema import Schema

if TYPE_CHECKING:
    from sdk.photo_input import PhotoInput


class Backend(Protocol):
    """What solves photos for a client. It must be safe to call from several threads at once."""

    @property
    def schema(self) -> Schema: ...

    def infer(self, photo: PhotoInput) -> FaceParams: ...

    def close(self) -> None: ...


class FaceParamClient:
    """Solves photos. Make one with :meth:`embedded`, share it between threads, close it at the end.

    ::

        with FaceParamClient.embedded() as client:
            params = client.infer("me.jpg")
    """

    def __init__(self, backend: Backend) -> None:
        """For a backend of one's own, a fake one in tests for example."""
        self._backend: Backend | None = backend
        self._schema = backend.schema

    @classmethod
    def embedded(cls, model_repository: str | os.PathLike[str] | None = None, *, threads: int = 1) -> FaceParamClient:
        """A client that runs the models in this process, on ONNX Runtime.

        The model files are found now and loaded with the first photo.

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
        if threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}")
        try:
            from sdk.embedded import EmbeddedBackend
        except ImportError as error:
            if error.name not in ("cv2", "onnxruntime"):
                raise
            raise MissingDependencyError(
                f"FaceParamClient.embedded() needs {error.name}: pip install 'faceparam[embedded]'", name=error.name
            ) from error
        return cls(EmbeddedBackend(find_models(model_repository), threads))

    @property
    def schema(self) -> Schema:
        """The vocabulary of the models that this client uses."""
        return self._schema

    def infer(self, photo: PhotoInput) -> FaceParams:
        """Solve the main face in a photo.

        Args:
            photo: path, bytes of a JPEG, PNG, WebP or BMP file, binary file object, RGB array (uint8 or uint16),
                or Pillow image.

        Returns:
            The same `FaceParams` for the same photo, always.

        Raises:
            InputError: the photo cannot be read or decoded.
            FaceRejected: it holds no face that can be solved; ``reasons`` says why.
            ModelError: this installation cannot infer.
            ClientClosedError: this client has been closed.
        """
        if self._backend is None:
            raise ClientClosedError("this FaceParamClient has been closed; make another")
        return self._backend.infer(photo)

    def close(self) -> None:
        """Let the models go. Closing twice is fine."""
        if self._backend is not None:
            self._backend.close()
            self._backend = None

    def __enter__(self) -> FaceParamClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()
