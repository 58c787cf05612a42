"""Action units to ARKit's 52 blend shapes, and back.

Each of the schema's 23 action units ([0085] of CN112200236A) is a fixed mix of ARKit's shapes, which the reference game
moves. ARKit's shapes of gaze, tongue, jaw forward, funnel, shrugs and lip closing are in no mix: they stay 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdk.errors import SchemaError
from sdk.schema import EXPRESSION

NAMES = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "cheekPuff", "cheekSquintLeft", "cheekSquintRight",
    "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight",
    "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight", "eyeSquintLeft", "eyeSquintRight",
    "eyeWideLeft", "eyeWideRight",
    "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel", "mouthLeft",
    "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker", "mouthRight",
    "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft", "mouthSmileRight",
    "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip
"""ARKit's names (``ARFaceAnchor.BlendShapeLocation``), in alphabetical order."""


def _both(name: str, weight: float = 1.0) -> dict[str, float]:
    return {f"{name}Left": weight, f"{name}Right": weight}


MIXES: dict[str, dict[str, float]] = {
    "eye_close_left": {"eyeBlinkLeft": 1.0},
    "eye_close_right": {"eyeBlinkRight": 1.0},
    "upper_lid_raise": _both("eyeWide"),
    "lid_tighten": _both("eyeSquint") | _both("cheekSquint", 0.7),
    "inner_brow_raise": {"browInnerUp": 1.0},
    "outer_brow_raise": _both("browOuterUp") | {"browInnerUp": 0.25},
    "brow_lower": _both("browDown"),
    "mouth_open": {"jawOpen": 1.0},
    "nose_wrinkle": _both("noseSneer"),
    "upper_lip_raise": _both("mouthUpperUp"),
    "lower_lip_depress": _both("mouthLowerDown"),
    "smile": _both("mouthSmile") | _both("cheekSquint", 0.3),
    "lip_stretch": _both("mouthStretch", 0.8) | _both("mouthDimple", 0.6) | _both("mouthSmile", 0.2),
    "pucker": {"mouthPucker": 1.0},
    "lip_corner_depress": _both("mouthFrown"),
    "upper_lip_close": {"mouthRollUpper": 1.0},
    "lower_lip_close": {"mouthRollLower": 1.0},
    "cheek_puff": {"cheekPuff": 1.0},
    "lip_press": _both("mouthPress", 0.8) | {"mouthRollUpper": 0.4, "mouthRollLower": 0.4},
    "mouth_left": {"mouthLeft": 1.0},
    "mouth_right": {"mouthRight": 1.0},
    "jaw_left": {"jawLeft": 1.0},
    "jaw_right": {"jawRight": 1.0},
}
"""What each action unit is made of, in ARKit weights."""


@lru_cache(maxsize=8)
def mix_table(units: tuple[str, ...] = EXPRESSION) -> NDArray[np.float32]:
    """(units, 52) float32, read-only: ARKit weights of each action unit at 1.

    Raises:
        SchemaError: a unit has no mix: the schema is of a game with action units of its own.
    """
    table = np.zeros((len(units), len(NAMES)), np.float32)
    for row, unit in zip(table, units, strict=True):
        if unit not in MIXES:
            raise SchemaError(f"action unit {unit!r} has no ARKit mix; there are {', '.join(MIXES)}")
        for name, weight in MIXES[unit].items():
            row[NAMES.index(name)] = weight
    table.flags.writeable = False
    return table


def weights(expression: ArrayLike, units: tuple[str, ...] = EXPRESSION) -> NDArray[np.float32]:
    """(52,) float32 in [0, 1]: ARKit weights of an expression (units,), in the order of :data:`NAMES`."""
    mixed = np.asarray(expression, np.float32) @ mix_table(units)
    return np.asarray(mixed.clip(0, 1), np.float32)


def expression(arkit: Mapping[str, float] | ArrayLike, units: tuple[str, ...] = EXPRESSION) -> NDArray[np.float32]:
    """(units,) float32 in [0, 1]: the expression whose ARKit weights are nearest by least squares.

    Bounded least squares by projected gradient; exact for what :func:`weights` gave, where it did not clip.

    Args:
        arkit: weights by ARKit's names (those left out are 0), or all 52 in the order of :data:`NAMES`.

    Raises:
        SchemaError: a name that ARKit does not have, or not 52 weights.
    """
    target = _all_weights(arkit)
    mix = mix_table(units).astype(np.float64)
    gram = mix @ mix.T
    step = 1 / np.linalg.eigvalsh(gram)[-1]
    found = np.zeros(len(mix))
    for _ in range(500):
        found = np.clip(found - step * (gram @ found - mix @ target), 0, 1)
    return found.astype(np.float32)


def _all_weights(arkit: Mapping[str, float] | ArrayLike) -> NDArray[np.float64]:
    if not isinstance(arkit, Mapping):
        values = np.asarray(arkit, np.float64)
        if values.shape != (len(NAMES),):
            raise SchemaError(f"ARKit weights must have the shape ({len(NAMES)},), not {values.shape}")
        return values
    target = np.zeros(len(NAMES))
    for name, weight in arkit.items():
        if name not in NAMES:
            raise SchemaError(f"ARKit has no shape {name!r}")
        target[NAMES.index(name)] = weight
    return target
