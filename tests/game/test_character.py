"""Characters: validation against the schema and mirroring."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from game.character import Character
from sdk.errors import SchemaError
from sdk.schema import REFERENCE


def test_base_is_all_zero() -> None:
    base = Character.base()
    assert base.identity.shape == (244,) and base.expression.shape == (23,) and base.pose.shape == (2,)
    assert not base.identity.any() and not base.expression.any() and not base.pose.any()
    assert dict(base.style) == {slot.name: 0 for slot in REFERENCE.style}


def test_values_are_copied_and_frozen() -> None:
    identity = np.zeros(244)
    character = Character(identity=identity)
    identity[0] = 1
    assert character.identity[0] == 0
    with pytest.raises(ValueError):
        character.identity[0] = 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        character.pose = np.zeros(2)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"identity": np.zeros(243)}, "identity must have shape"),
        ({"identity": np.full(244, 1.5)}, r"identity.brow_inner.tx is 1.5, outside \[-1, 1\]"),
        ({"expression": np.full(23, -0.1)}, "expression.eye_close_left"),
        ({"expression": np.full(23, np.nan)}, "expression.eye_close_left is nan"),
        ({"pose": (0, 400)}, "pose.yaw"),
        ({"style": {"hair": 99}}, "style slot 'hair'"),
        ({"style": {"hat": 0}}, "no style slot 'hat'"),
    ],
)
def test_wrong_fields_are_named(fields: dict, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        Character(**fields)


def test_mirroring_twice_is_nothing() -> None:
    rng = np.random.default_rng(0)
    character = Character(rng.uniform(-1, 1, 244), rng.uniform(0, 1, 23), (5, -20), {"hair": 3})
    twice = character.mirrored().mirrored()
    np.testing.assert_array_equal(twice.identity, character.identity)
    np.testing.assert_array_equal(twice.expression, character.expression)
    np.testing.assert_array_equal(twice.pose, character.pose)
    assert twice.style == character.style


def test_mirroring_swaps_sides() -> None:
    names = REFERENCE.expression
    expression = np.zeros(23)
    expression[names.index("eye_close_left")] = 1
    expression[names.index("jaw_right")] = 0.5
    mirrored = Character(expression=expression, pose=(10, 20)).mirrored()
    assert mirrored.expression[names.index("eye_close_right")] == 1
    assert mirrored.expression[names.index("jaw_left")] == 0.5
    np.testing.assert_array_equal(mirrored.pose, [10, -20])
