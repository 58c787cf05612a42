"""model_repository/focus/1/model.py: what fails, fails alone. (What does not is tested with the real Triton.)"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sdk.errors import ImageDecodeError, from_message

MODEL = Path(__file__).parents[2] / "model_repository/focus/1/model.py"


class TritonModelException(Exception):
    """As Triton's module has it."""


class TritonError(SimpleNamespace):
    INVALID_ARG, INTERNAL = "INVALID_ARG", "INTERNAL"

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message=message, code=code)


@pytest.fixture
def execute(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The model's `execute`, with photos that are answers or exceptions."""
    triton = SimpleNamespace(
        TritonModelException=TritonModelException,
        TritonError=TritonError,
        InferenceResponse=lambda tensors=(), error=None: SimpleNamespace(tensors=dict(tensors), error=error),
        Tensor=lambda name, values: (name, values),
    )
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", triton)
    model = runpy.run_path(str(MODEL))["TritonPythonModel"]

    def focus(inputs: dict[str, Any]) -> dict[str, Any]:
        if isinstance(photo := inputs["canvas"], Exception):
            raise photo
        return {"face_count": np.array([photo])}

    monkeypatch.setitem(model.execute.__globals__, "_focus", focus)
    instance = model()
    instance.versions = {"model_version": b"1"}
    return lambda *requests: instance.execute(
        [SimpleNamespace(inputs=lambda photos=photos: [canvas(photos)]) for photos in requests]
    )


def canvas(photos: list[Any]) -> SimpleNamespace:
    return SimpleNamespace(name=lambda: "canvas", as_numpy=lambda: photos)


def test_a_bad_photo_fails_its_request_only(execute: Any) -> None:
    good, bad, broken = execute([1, 2], [1, ImageDecodeError("damaged")], [TritonModelException("align is full")])
    assert good.error is None and good.tensors["face_count"].tolist() == [[1], [2]]
    error = from_message(bad.error.message)
    assert isinstance(error, ImageDecodeError) and error.photo == 1 and bad.error.code == "INVALID_ARG"
    assert (broken.error.message, broken.error.code) == ("align is full", "INTERNAL")


def test_the_only_photo_has_no_number(execute: Any) -> None:
    (bad,) = execute([ImageDecodeError("damaged")])
    error = from_message(bad.error.message)
    assert error is not None and error.photo is None
