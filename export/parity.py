"""How far two forms of a graph may lie apart: a unit and a tolerance for every output, in the parameters' own terms.

The tolerances hold for FP16 against FP32 on real crops. They are several times what the mixed-precision graphs measure in
torch and ONNX Runtime (`build_engines` prints both), and far below what a player sees: a slider's range is 2, an action unit's
1, and two photos of one person differ by tenths.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sdk.contract import CROP_SIZE


class Tolerance(NamedTuple):
    """Largest absolute difference that passes, and its unit."""

    largest: float
    unit: str


SLIDER, UNIT, DEGREES = Tolerance(0.01, "slider of [-1, 1]"), Tolerance(0.01, "action unit of [0, 1]"), Tolerance(0.1, "degrees")
PROBABILITY = Tolerance(0.02, "probability")
PIXELS = Tolerance(0.25, "crop px")
TOLERANCES = {
    "identity": SLIDER, "identity_sigma": SLIDER, "expression": UNIT, "expression_sigma": UNIT,
    "pose": DEGREES, "pose_sigma": DEGREES,
    "detector_score": PROBABILITY, "mesh_score": PROBABILITY, "roll": DEGREES, "landmarks": PIXELS, "transform": PIXELS,
    "crop": Tolerance(0.25, "brightness of [0, 1]"),  # a quarter of a pixel along a hard edge
    "mask": Tolerance(0.25, "share of a pixel"),
    "faces": Tolerance(4.0, "canvas px"),  # the landmark network's first look starts from it, and its second undoes it
}  # fmt: skip
"""By output; those not named here, the style slots, are probabilities."""
SURE_FACE = 0.5
"""Boxes of `faces` with lower scores are not compared: hardly seen, they come and go."""


class Difference(NamedTuple):
    """Of one output: largest absolute difference, what passes, and the unit."""

    output: str
    largest: float
    tolerance: float
    unit: str

    @property
    def passes(self) -> bool:
        """Within the tolerance; what is not a number is not."""
        return self.largest <= self.tolerance


def differences(names: Sequence[str], expected: Sequence[NDArray[Any]], found: Sequence[NDArray[Any]]) -> list[Difference]:
    """Compare outputs (B, ...) of one graph, in the same order."""
    return [
        Difference(name, float(_apart(name, a.astype(np.float64), b.astype(np.float64)).max()), *tolerance(name))
        for name, a, b in zip(names, expected, found, strict=True)
    ]


def _apart(name: str, expected: NDArray[np.float64], found: NDArray[np.float64]) -> NDArray[np.float64]:
    """Absolute differences in the output's unit."""
    if name == "faces":
        return np.where(expected[..., 4:] >= SURE_FACE, np.abs(expected - found), 0)
    if name == "transform":  # how far apart the two put what the first puts into the crop's corners
        corners = np.array([[0, 0, CROP_SIZE, CROP_SIZE], [0, CROP_SIZE, 0, CROP_SIZE]], np.float64)
        on_canvas = np.linalg.solve(expected[..., :2], corners - expected[..., 2:])
        return np.abs(found[..., :2] @ on_canvas + found[..., 2:] - corners)
    return np.abs(expected - found)


def tolerance(name: str) -> Tolerance:
    """That of an output."""
    return TOLERANCES.get(name, PROBABILITY)


def summary(measured: Sequence[Difference]) -> str:
    """One line: the largest difference in each unit."""
    worst: dict[str, Difference] = {}
    for difference in measured:
        if difference.unit not in worst or difference.largest > worst[difference.unit].largest:
            worst[difference.unit] = difference
    return ", ".join(f"{d.output} {d.largest:.2g} of {d.tolerance:g} {d.unit}" for d in worst.values())


def as_json(measured: Sequence[Difference]) -> dict[str, Any]:
    """For reports and sidecars."""
    return {d.output: {"largest": d.largest, "tolerance": d.tolerance, "unit": d.unit} for d in measured}
