"""The whole line in this process: decode -> letterbox -> align (again for a small face in a large photo) -> quality
-> regressor and encoder -> `FaceParams`.

The same model files as in Triton, run by ONNX Runtime on the CPU. Imported when an embedded client is made.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from sdk import contract
from sdk.assemble import Tensors, face_in_photo, face_params, reject
from sdk.closer_look import Aligned, look_closer
from sdk.errors import FaceRejected, InputError
from sdk.face_params import FaceParams
from sdk.geometry import compose, invert, magnification
from sdk.image import Photo, decode
from sdk.letterbox import letterbox
from sdk.models import ModelFiles
from sdk.photo_input import PhotoInput
from sdk.quality import measure, reasons
from sdk.schema import Schema
from sdk.sessions import Session


class EmbeddedBackend:
    """Solves photos with the files of one model repository. Models are loaded when first needed."""

    def __init__(self, files: ModelFiles, threads: int) -> None:
        self.schema: Schema = files.schema
        self._files = files
        self._version: str | None = None
        self._lock = threading.Lock()
        models = contract.models(files.schema)
        self._sessions = {name: Session(models[name], path, threads) for name, path in files.paths.items()}

    def infer(self, photos: Sequence[PhotoInput]) -> list[FaceParams]:
        """Solve photos one after the other; see :meth:`sdk.client.FaceParamClient.infer_batch`."""
        solved: list[FaceParams] = []
        for photo in photos:
            try:
                solved.append(self._infer(photo))
            except (InputError, FaceRejected) as error:
                error.photo = len(solved) if len(photos) > 1 else None
                raise
        return solved

    def wait_until_ready(self, seconds: float) -> None:
        """Load the models now. They are loaded when it returns, however long that takes."""
        for session in self._sessions.values():
            session.load()
        self._model_version()

    def with_options(self, **changes: Any) -> EmbeddedBackend:
        """Itself: its options are about calls to a server."""
        return self

    def _infer(self, photo: PhotoInput) -> FaceParams:
        watch = Stopwatch()
        picture = decode(photo)
        watch.lap("decode")
        aligned, count = look_closer(self._align(picture, watch), lambda box: self._align(picture.region(box), watch))
        tensors = aligned.tensors
        quality = measure(tensors, aligned.canvas, magnification(aligned.from_canvas))
        reject(reasons(quality), count)
        watch.lap("quality")
        regressor = self._run("regressor", tensors)
        watch.lap("regressor")
        encoder = self._run("encoder", tensors)
        watch.lap("encoder")
        face = face_in_photo(tensors, (picture.width, picture.height), aligned.from_canvas, count, quality)
        return face_params(self.schema, regressor, encoder, face, self._model_version(), watch.total())

    def close(self) -> None:
        """Nothing to do: the models go with the last photo that another thread is still solving."""

    def _align(self, picture: Photo, watch: Stopwatch) -> Aligned:
        canvas, to_canvas = letterbox(picture.pixels)
        watch.lap("letterbox")
        tensors = self._run("align", {contract.CANVAS.name: canvas})
        watch.lap("align")
        return Aligned(canvas, compose(picture.to_photo, invert(to_canvas)), tensors)

    def _run(self, name: str, tensors: Tensors) -> Tensors:
        outputs = self._sessions[name].run({tensor: np.asarray(values)[np.newaxis] for tensor, values in tensors.items()})
        return {output: values[0] for output, values in outputs.items()}

    def _model_version(self) -> str:
        with self._lock:
            if self._version is None:
                self._version = self._files.version()
            return self._version


class Stopwatch:
    """Milliseconds between laps."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """End a stage; the time of a stage that is done twice adds up."""
        now = time.perf_counter()
        self._laps[name] = self._laps.get(name, 0.0) + 1e3 * (now - self._last)
        self._last = now

    def total(self) -> dict[str, float]:
        """All laps, and `total` since the start."""
        return {**self._laps, "total": 1e3 * (time.perf_counter() - self._start)}
