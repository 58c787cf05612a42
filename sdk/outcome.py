"""What `infer_many` yields: one :class:`Outcome` per photo, solved or not."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO

from sdk.errors import FaceParamError, FaceRejected, InputError
from sdk.face_params import FaceParams

if TYPE_CHECKING:
    from sdk.photo_input import PhotoInput


@dataclass(frozen=True)
class Outcome:
    """One photo of many: either `params` or `error` is set.

    Attributes:
        index: position of the photo in the input, from 0.
        photo: the input itself.
        params: the answer.
        error: why there is none.
    """

    index: int
    photo: PhotoInput = field(repr=False)
    params: FaceParams | None = None
    error: FaceParamError | None = None

    def unwrap(self) -> FaceParams:
        """The answer; raises the error if there is none."""
        if self.params is None:
            raise self.error or FaceParamError("no answer")
        return self.params

    @property
    def photo_is_to_blame(self) -> bool:
        """Whether another photo is needed; otherwise the same may be tried again later."""
        return isinstance(self.error, InputError | FaceRejected)


class Progress:
    """A line on stderr that says how many photos are done, of how many if that is known, and how fast."""

    def __init__(self, total: int | None, *, stream: TextIO | None = None) -> None:
        self._total = total
        self._stream = stream or sys.stderr
        self._start = time.monotonic()
        self._shown = 0.0
        self._done = self._failed = 0

    def add(self, outcome: Outcome) -> None:
        """Count one more; the line is written anew at most ten times a second."""
        self._done += 1
        self._failed += outcome.error is not None
        now = time.monotonic()
        if now - self._shown > 0.1:
            self._shown = now
            self._write("\r")

    def close(self) -> None:
        """Write the last state and end the line."""
        self._write("\r", "\n")

    def _write(self, before: str, after: str = "") -> None:
        seconds = max(1e-3, time.monotonic() - self._start)
        of = f"/{self._total}" if self._total is not None else ""
        failed = f", {self._failed} failed" if self._failed else ""
        rate = f"{self._done / seconds:.1f}/s"
        self._stream.write(f"{before}{self._done}{of} photos, {rate}{failed}   {after}")
        self._stream.flush()
