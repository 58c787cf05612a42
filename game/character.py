"""A character: every parameter of one face, checked against the reference schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from sdk.errors import SchemaError
from sdk.schema import AXES, HANDLES, REFERENCE

FloatArray = npt.NDArray[np.float32]

# Handles in the middle of the face; the others are paired and always symmetric.
_MIDDLE_HANDLES = (
    "nose_root", "nose_bridge", "nose_tip", "nose_base", "mouth", "lip_upper", "lip_lower", "philtrum", "chin",
    "forehead", "cranium",
)  # fmt: skip
# Axes that change sign in the mirror: moving sideways, turning about the vertical and about the viewing axis.
_ODD_AXES = ("tx", "ry", "rz")


@dataclass(frozen=True, eq=False)
class Character:
    """One face of the reference game.

    ``identity`` (244,) float32 in [-1, 1]; ``expression`` (23,) float32 in [0, 1]; ``pose`` (2,) float32, (pitch, yaw)
    in degrees; ``style``: for every slot of the schema the index of one option. Omitted parts are the base face's;
    omitted slots are option 0. Raises :class:`sdk.errors.SchemaError` (a ValueError) naming the field that is wrong.
    Arrays are copied and read-only.
    """

    identity: FloatArray = field(default_factory=lambda: np.zeros(len(REFERENCE.identity), np.float32))
    expression: FloatArray = field(default_factory=lambda: np.zeros(len(REFERENCE.expression), np.float32))
    pose: FloatArray = field(default_factory=lambda: np.zeros(len(REFERENCE.pose), np.float32))
    style: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "identity", _checked(self.identity, REFERENCE.identity, "identity", (-1, 1)))
        object.__setattr__(self, "expression", _checked(self.expression, REFERENCE.expression, "expression", (0, 1)))
        object.__setattr__(self, "pose", _checked(self.pose, REFERENCE.pose, "pose", (-180, 180)))
        object.__setattr__(self, "style", MappingProxyType(_checked_style(self.style)))

    @classmethod
    def base(cls) -> Character:
        """The base face (基准脸): all zeros, option 0 everywhere."""
        return cls()

    def mirrored(self) -> Character:
        """The character that looks like this one in a mirror."""
        return Character(
            identity=self.identity * identity_mirror_signs(),
            expression=self.expression[mirrored_units()],
            pose=self.pose * np.array([1, -1], np.float32),
            style=self.style,
        )


def identity_mirror_signs() -> FloatArray:
    """(244,) float32, -1 for the sliders that change sign in the mirror (those of the middle handles' odd axes), else
    1."""
    signs = [-1 if handle in _MIDDLE_HANDLES and axis in _ODD_AXES else 1 for handle in HANDLES for axis in AXES]
    return np.array([*signs, 1], np.float32)


def mirrored_units() -> npt.NDArray[np.intp]:
    """(23,) for each action unit the index of its mirror image."""
    names = list(REFERENCE.expression)
    swap = {"left": "right", "right": "left"}
    mirrored = ["_".join(swap.get(word, word) for word in name.split("_")) for name in names]
    return np.array([names.index(name) for name in mirrored])


def _checked(values: npt.ArrayLike, names: tuple[str, ...], field_name: str, bounds: tuple[float, float]) -> FloatArray:
    array = np.array(values, np.float32)
    if array.shape != (len(names),):
        raise SchemaError(f"{field_name} must have shape ({len(names)},), not {array.shape}")
    wrong = np.flatnonzero(~((array >= bounds[0]) & (array <= bounds[1])))  # NaN is wrong too
    if len(wrong):
        first = int(wrong[0])
        raise SchemaError(f"{field_name}.{names[first]} is {array[first]}, outside [{bounds[0]}, {bounds[1]}]")
    array.setflags(write=False)
    return array


def _checked_style(style: Mapping[str, int]) -> dict[str, int]:
    known = {slot.name: slot for slot in REFERENCE.style}
    for name, option in style.items():
        count = len(REFERENCE.slot(name).options)
        if not (isinstance(option, int | np.integer) and 0 <= option < count):
            raise SchemaError(f"style slot {name!r} must be an index below {count}, not {option!r}")
    return {name: int(style.get(name, 0)) for name in known}
