"""Random characters: plausible people, over-wide on purpose, with every parameter moved often enough to be learnt from.

Everything comes from the generator that is handed in: the same generator state gives the same character.
:mod:`game.scene_sampling` draws the scenes they are photographed in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from game.character import Character
from game.rig import Rig
from game.scene_sampling import sample_scene
from sdk.schema import EXPRESSION, REFERENCE

__all__ = ["EXCLUSIVE", "sample_character", "sample_expression", "sample_identity", "sample_pose", "sample_scene", "sample_style"]

Array = NDArray[np.float32]

EXCLUSIVE = (
    ("jaw_left", "jaw_right"), ("mouth_left", "mouth_right"), ("eye_close_left", "upper_lid_raise"),
    ("eye_close_right", "upper_lid_raise"), ("mouth_open", "lip_press"), ("smile", "lip_corner_depress"),
    ("smile", "pucker"), ("lip_stretch", "pucker"), ("cheek_puff", "mouth_open"), ("upper_lid_raise", "lid_tighten"),
    ("brow_lower", "outer_brow_raise"), ("mouth_open", "upper_lip_close"), ("mouth_open", "lower_lip_close"),
    ("lower_lip_depress", "lower_lip_close"), ("upper_lip_raise", "upper_lip_close"),
)  # fmt: skip
"""Action units that undo each other, or that no face does at once: of each pair only the stronger is kept."""

_Range = tuple[float, float]
COMBINATIONS: tuple[Mapping[str, _Range], ...] = (
    {"smile": (0.3, 0.9), "lid_tighten": (0.0, 0.35)},
    {"smile": (0.5, 1.0), "mouth_open": (0.05, 0.4), "upper_lip_raise": (0.0, 0.5), "lid_tighten": (0.1, 0.6)},
    {"smile": (0.6, 1.0), "mouth_open": (0.3, 0.85), "lid_tighten": (0.3, 0.9), "lower_lip_depress": (0.0, 0.5)},
    {"smile": (0.6, 1.0), "upper_lip_raise": (0.3, 0.9), "lower_lip_depress": (0.0, 0.6), "lid_tighten": (0.0, 0.6)},
    {"inner_brow_raise": (0.4, 1.0), "outer_brow_raise": (0.4, 1.0), "upper_lid_raise": (0.3, 1.0), "mouth_open": (0.2, 0.8)},
    {"brow_lower": (0.4, 1.0), "lid_tighten": (0.2, 0.8), "lip_press": (0.0, 0.8), "nose_wrinkle": (0.0, 0.5)},
    {"nose_wrinkle": (0.4, 1.0), "upper_lip_raise": (0.3, 0.9), "brow_lower": (0.1, 0.7), "lid_tighten": (0.0, 0.5)},
    {"inner_brow_raise": (0.4, 1.0), "lip_corner_depress": (0.4, 1.0), "lower_lip_close": (0.0, 0.4)},
    {"inner_brow_raise": (0.4, 1.0), "upper_lid_raise": (0.4, 1.0), "lip_stretch": (0.4, 1.0), "mouth_open": (0.0, 0.5)},
    {"mouth_open": (0.05, 0.6), "lower_lip_depress": (0.0, 0.7), "upper_lip_raise": (0.0, 0.4)},
    {"mouth_open": (0.05, 0.5), "pucker": (0.2, 0.9)},
    {"pucker": (0.4, 1.0), "lid_tighten": (0.0, 0.3)},
    {"smile": (0.2, 0.6), "mouth_left": (0.3, 0.9)},
    {"smile": (0.2, 0.6), "mouth_right": (0.3, 0.9)},
    {"eye_close_left": (0.25, 1.0), "eye_close_right": (0.25, 1.0)},
    {"eye_close_left": (0.7, 1.0), "smile": (0.0, 0.7), "lid_tighten": (0.0, 0.4)},
    {"eye_close_right": (0.7, 1.0), "smile": (0.0, 0.7), "lid_tighten": (0.0, 0.4)},
    {"cheek_puff": (0.4, 1.0), "lip_press": (0.0, 0.7)},
    {"upper_lip_close": (0.3, 1.0), "lower_lip_close": (0.3, 1.0)},
    {"jaw_left": (0.3, 1.0), "mouth_left": (0.0, 0.5), "mouth_open": (0.0, 0.4)},
    {"jaw_right": (0.3, 1.0), "mouth_right": (0.0, 0.5), "mouth_open": (0.0, 0.4)},
    {"lip_stretch": (0.3, 1.0), "lower_lip_depress": (0.0, 0.6)},
    {"lip_press": (0.3, 1.0), "lip_corner_depress": (0.0, 0.6)},
)  # fmt: skip
"""Expressions that faces do make: ranges of action units that move together. The first are smiles."""
_SMILES = 4
_SMILING = 0.35
"""Share of these expressions that are smiles: people smile on photos."""

_HAIR_MEN = (0.13, 0.13, 0.17, 0.14, 0.12, 0.10, 0.09, 0.03, 0.02, 0.03, 0.04)
_HAIR_WOMEN = (0.02, 0.02, 0.05, 0.09, 0.08, 0.03, 0.11, 0.16, 0.16, 0.15, 0.13)
_BROW_MEN = (0.26, 0.26, 0.10, 0.22, 0.16)
_BROW_WOMEN = (0.26, 0.12, 0.26, 0.16, 0.20)
_BEARD_MEN = (0.38, 0.17, 0.14, 0.14, 0.17)
_BEARD_WOMEN = (0.985, 0.0, 0.005, 0.005, 0.005)
_LIP_WOMEN = (0.45, 0.15, 0.11, 0.11, 0.09, 0.09)
_LIP_MEN = (0.92, 0.02, 0.01, 0.01, 0.01, 0.03)

# Rows: african, asian, caucasian. Columns: the palettes' options.
_SKIN_MIDDLE = np.array([7.2, 2.8, 1.2])
_HAIR_COLOUR = np.array([
    (0.62, 0.22, 0.06, 0.02, 0.01, 0.01, 0.01, 0.01, 0.03, 0.01),
    (0.55, 0.25, 0.08, 0.03, 0.02, 0.01, 0.01, 0.01, 0.03, 0.01),
    (0.10, 0.18, 0.18, 0.12, 0.12, 0.12, 0.05, 0.06, 0.05, 0.02),
])  # fmt: skip
_IRIS = np.array([
    (0.66, 0.24, 0.04, 0.02, 0.02, 0.02),
    (0.58, 0.30, 0.06, 0.02, 0.02, 0.02),
    (0.14, 0.24, 0.15, 0.14, 0.22, 0.11),
])  # fmt: skip
_ANYTHING = 0.15
"""Share of style choices made without regard to sex, age and origin, so that every combination is seen."""


def sample_character(rng: np.random.Generator) -> Character:
    """A random character: identity near a sampled person, expression, pose and style."""
    rig = Rig.load()
    person = int(rng.integers(len(rig.phenotype_identity)))
    traits = dict(zip(rig.trait_names, rig.phenotype_traits[person].tolist(), strict=True))
    return Character(
        identity=sample_identity(rng, rig.phenotype_identity[person]),
        expression=sample_expression(rng),
        pose=sample_pose(rng),
        style=sample_style(rng, traits),
    )


def sample_identity(rng: np.random.Generator, person: Array) -> Array:
    """Identity (244,) around a person's: scaled, with noise from hardly any to a caricature's. The global scale stays 0,
    since alignment takes it out of every picture."""
    spread = rng.uniform(0.05, 0.34) if rng.random() < 0.94 else rng.uniform(0.34, 0.5)
    identity = rng.uniform(0.5, 1.1) * person + rng.normal(size=len(person)) * spread
    # On some faces only a few sliders are moved, and those far: what one slider does must be learnt too.
    if rng.random() < 0.2:
        few = rng.choice(len(identity), 12, replace=False)
        identity[few] += rng.uniform(-1, 1, len(few))
    identity[-1] = 0.0
    return np.clip(identity, -1, 1).astype(np.float32)


def sample_expression(rng: np.random.Generator) -> Array:
    """Action units (23,): resting faces, natural combinations, single units at any strength, and random mixtures."""
    units = dict.fromkeys(EXPRESSION, 0.0)
    kind = rng.random()
    if kind < 0.14:
        return np.zeros(len(EXPRESSION), np.float32)
    if kind < 0.32:
        for name in _some(rng, 3):
            units[name] = rng.uniform(0.0, 0.25)
    elif kind < 0.72:
        combination = COMBINATIONS[rng.integers(_SMILES if rng.random() < _SMILING else len(COMBINATIONS))]
        strength = rng.uniform(0.5, 1.0)
        for name, (low, high) in combination.items():
            units[name] = rng.uniform(low, high) * strength
        for name in _some(rng, 2):
            units[name] = max(units[name], rng.uniform(0.0, 0.35))
    elif kind < 0.86:
        units[EXPRESSION[rng.integers(len(EXPRESSION))]] = rng.uniform(0.1, 1.0)
    else:
        for name in _some(rng, int(rng.integers(3, 8))):
            units[name] = rng.uniform(0.0, 1.0)
    if rng.random() < 0.10:
        lids = rng.uniform(0.3, 1.0)
        units["eye_close_left"], units["eye_close_right"] = lids, float(np.clip(lids + rng.normal() * 0.05, 0, 1))
    for first, second in EXCLUSIVE:
        weaker = first if units[first] < units[second] else second
        if units[first] > 0 and units[second] > 0:
            units[weaker] = 0.0
    return np.array([units[name] for name in EXPRESSION], np.float32)


def _some(rng: np.random.Generator, count: int) -> list[str]:
    """Different action units by chance."""
    return [EXPRESSION[i] for i in rng.permutation(len(EXPRESSION))[:count]]


def sample_pose(rng: np.random.Generator) -> Array:
    """Pitch within 20 and yaw within 40 degrees, half of them near the front."""
    yaw = rng.normal() * 11 if rng.random() < 0.5 else rng.uniform(-40, 40)
    pitch = rng.normal() * 6 if rng.random() < 0.55 else rng.uniform(-20, 20)
    return np.array([np.clip(pitch, -20, 20), np.clip(yaw, -40, 40)], np.float32)


def sample_style(rng: np.random.Generator, traits: Mapping[str, float]) -> dict[str, int]:
    """Style options that suit a person's traits (gender 0 male to 1 female, age 0 to 1, origins), and now and then any."""
    woman = rng.random() < traits["gender"]
    origin = np.array([traits["african"], traits["asian"], traits["caucasian"]])
    origin = origin / max(origin.sum(), 1e-6)
    options = np.arange(len(REFERENCE.slot("skin").options))
    skin = np.exp(-0.5 * np.square((options - origin @ _SKIN_MIDDLE) / 1.3))
    hair_colour = origin @ _HAIR_COLOUR
    hair_colour[-2:] += 0.5 * max(traits["age"] - 0.72, 0.0)
    return {
        "hair": _option(rng, _HAIR_WOMEN if woman else _HAIR_MEN),
        "brow": _option(rng, _BROW_WOMEN if woman else _BROW_MEN),
        "beard": _option(rng, _BEARD_WOMEN if woman else _BEARD_MEN, anything=0.0),
        "skin": _option(rng, skin),
        "hair_colour": _option(rng, hair_colour),
        "iris": _option(rng, origin @ _IRIS),
        "lip": _option(rng, _LIP_WOMEN if woman else _LIP_MEN, anything=0.08),
    }


def _option(rng: np.random.Generator, weights: Sequence[float] | NDArray[np.floating], anything: float = _ANYTHING) -> int:
    chances = np.asarray(weights, np.float64)
    if rng.random() < anything:
        chances = np.ones(len(chances))
    return int(rng.choice(len(chances), p=chances / chances.sum()))
