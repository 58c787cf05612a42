"""What became of a photo, and when two answers are the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sdk import FaceParamError, FaceParams
from tests.serving.hostile_images import FACE

TOLERANCE = 1e-4
"""Of parameters. Answers are rounded to 4 decimals; rounding keeps the order, and what lies exactly one step of 1e-4 apart
still does afterwards. So values that differ by at most 1e-4 do so rounded too, and no allowance for rounding is due."""
DEGREES = 1e-3
PIXELS = 0.02
FLOAT_NOISE = 1e-6
"""Of float32 near 1."""

VECTORS = ("identity", "expression", "identity_sigma", "expression_sigma")


@dataclass(frozen=True)
class Outcome:
    """`FACE` with the answer, or the name of the typed error. Anything else is a bug and not caught."""

    name: str
    params: FaceParams | None = None


def outcome_of(solve: Callable[[Any], Any], file: bytes) -> Outcome:
    """What becomes of a file."""
    try:
        solved = solve(file)
    except FaceParamError as error:
        return Outcome(type(error).__name__)
    return Outcome(FACE, solved if isinstance(solved, FaceParams) else None)


def assert_same(one: FaceParams, other: FaceParams) -> None:
    """The same face: every number to its tolerance, everything else exactly."""
    for name in VECTORS:
        assert difference(one, other, name) <= TOLERANCE + FLOAT_NOISE, name
    for name in ("pose", "pose_sigma"):
        assert difference(one, other, name) <= DEGREES, name
    assert one.style.indices() == other.style.indices()
    assert np.abs(one.face.landmarks - other.face.landmarks).max() <= PIXELS
    assert (one.face.count, one.model_version) == (other.face.count, other.model_version)


def difference(one: FaceParams, other: FaceParams, name: str) -> float:
    """The largest, of one vector of parameters."""
    return float(np.abs(getattr(one, name).array - getattr(other, name).array).max())
