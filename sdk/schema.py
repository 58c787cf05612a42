"""The vocabulary of a game face: which parameters there are, in which order, in which range.

A *schema* is data. The models were trained for one schema and carry it beside them as ``schema.json``; a game with
other sliders has another file. :data:`REFERENCE` is the schema of the reference game in ``game/``; its 244 identity
sliders, 23 action units and 2 head angles are those of CN112200236A [0085]-[0086], its styles those of CN109902767B
[0050].

Conventions, used everywhere in this repository:

- ``identity``: float32 in [-1, 1]; 0 is the base face (the methods' 基准脸).
- ``expression``: float32 in [0, 1]; 0 is the resting face.
- ``pose``: (pitch, yaw) in degrees. Pitch > 0 looks up; yaw > 0 turns to the person's own left (right in the picture).
- *left* and *right* are the person's own.
- ``style``: for every slot the index of one option.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdk.errors import SchemaError

HANDLES = (
    "brow_inner", "brow_middle", "brow_outer",
    "eye", "eye_inner", "eye_outer", "lid_upper", "lid_lower",
    "nose_root", "nose_bridge", "nose_tip", "nose_wing", "nose_base",
    "mouth", "lip_upper", "lip_lower", "mouth_corner", "philtrum",
    "chin", "jaw_angle", "jaw_line",
    "cheekbone", "cheek", "forehead", "temple", "ear", "cranium",
)  # fmt: skip
AXES = ("tx", "ty", "tz", "rx", "ry", "rz", "sx", "sy", "sz")
EXPRESSION = (
    "eye_close_left", "eye_close_right", "upper_lid_raise", "lid_tighten",
    "inner_brow_raise", "outer_brow_raise", "brow_lower",
    "mouth_open", "nose_wrinkle", "upper_lip_raise", "lower_lip_depress",
    "smile", "lip_stretch", "pucker", "lip_corner_depress",
    "upper_lip_close", "lower_lip_close", "cheek_puff", "lip_press",
    "mouth_left", "mouth_right", "jaw_left", "jaw_right",
)  # fmt: skip
POSE = ("pitch", "yaw")


@dataclass(frozen=True)
class Slot:
    """One style slot: a choice among named options.

    ``colours``, for palettes only, holds one sRGB colour ("#rrggbb") per option.
    """

    name: str
    options: tuple[str, ...]
    colours: tuple[str, ...] = ()

    def index(self, option: str) -> int:
        """Index of an option; :class:`SchemaError` names the options there are."""
        try:
            return self.options.index(option)
        except ValueError:
            raise SchemaError(f"style slot {self.name!r} has no option {option!r}; it has {', '.join(self.options)}") from None


@dataclass(frozen=True)
class Schema:
    """Names and order of every parameter of one game."""

    version: str
    identity: tuple[str, ...]
    expression: tuple[str, ...]
    pose: tuple[str, ...]
    style: tuple[Slot, ...]

    def slot(self, name: str) -> Slot:
        """The style slot of this name; :class:`SchemaError` names the slots there are."""
        for slot in self.style:
            if slot.name == name:
                return slot
        raise SchemaError(f"no style slot {name!r}; there are {', '.join(s.name for s in self.style)}")

    def to_json(self) -> str:
        """The text of ``schema.json``."""
        style = {s.name: {"options": s.options, **({"colours": s.colours} if s.colours else {})} for s in self.style}
        fields = {
            "version": self.version,
            "identity": self.identity,
            "expression": self.expression,
            "pose": self.pose,
            "style": style,
        }
        return json.dumps(fields, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Schema:
        """Read the text of a ``schema.json``; :class:`SchemaError` names the field that is wrong."""
        try:
            fields = json.loads(text)
        except json.JSONDecodeError as error:
            raise SchemaError(f"schema is not JSON: {error}") from error
        if not isinstance(fields, dict):
            raise SchemaError("schema must be a JSON object")
        if not isinstance(fields.get("version"), str):
            raise SchemaError("schema field 'version' must be a string")
        style = fields.get("style")
        if not isinstance(style, dict):
            raise SchemaError("schema field 'style' must be an object of slots")
        return cls(
            version=fields["version"],
            identity=_names(fields, "identity"),
            expression=_names(fields, "expression"),
            pose=_names(fields, "pose"),
            style=tuple(_slot(name, slot) for name, slot in style.items()),
        )

    @classmethod
    def load(cls, path: str | Path) -> Schema:
        """Read a ``schema.json`` file."""
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"))
        except SchemaError as error:
            raise SchemaError(f"{path}: {error}") from error


def _names(fields: dict[str, Any], field: str) -> tuple[str, ...]:
    names = fields.get(field)
    if not isinstance(names, list) or not names or not all(isinstance(n, str) and n for n in names):
        raise SchemaError(f"{field!r} must be a non-empty list of names")
    if len(set(names)) != len(names):
        raise SchemaError(f"{field!r} names a parameter twice")
    return tuple(names)


def _slot(name: str, fields: object) -> Slot:
    if not isinstance(fields, dict):
        raise SchemaError(f"style slot {name!r} must be an object")
    options = _names(fields, "options")
    colours = fields.get("colours", [])
    if colours and (
        not isinstance(colours, list)
        or len(colours) != len(options)
        or not all(isinstance(c, str) and re.fullmatch("#[0-9a-f]{6}", c) for c in colours)
    ):
        raise SchemaError(f"style slot {name!r}: 'colours' must hold one '#rrggbb' per option")
    return Slot(name, options, tuple(colours))


def _palette(name: str, **colours: str) -> Slot:
    return Slot(name, tuple(colours), tuple(colours.values()))


REFERENCE = Schema(
    version="1",
    identity=(*(f"{handle}.{axis}" for handle in HANDLES for axis in AXES), "head.scale"),
    expression=EXPRESSION,
    pose=POSE,
    style=(
        Slot(
            "hair",
            ("bald", "buzz", "short", "parted", "slicked_back", "spiky", "curly", "fringe", "bob", "long", "wavy"),
        ),
        Slot("brow", ("natural", "thick", "thin", "straight", "upswept")),
        Slot("beard", ("none", "stubble", "moustache", "goatee", "full")),
        _palette(
            "skin", porcelain="#f6dac8", ivory="#efc9ae", beige="#e4b594", honey="#d6a077", tan="#c28a61",
            caramel="#a9714b", bronze="#8d5a3b", brown="#71462f", espresso="#573526", ebony="#3f281f",
        ),
        _palette(
            "hair_colour", black="#14100e", dark_brown="#2e1e16", brown="#4e3220", chestnut="#6b4128",
            light_brown="#86603c", blond="#b08a54", platinum="#d8c49a", red="#8c3c22", grey="#7c7a78", white="#cfccc8",
        ),
        _palette(
            "iris", dark_brown="#38210f", brown="#5f3d22", hazel="#7a6334",
            green="#5f7a58", blue="#54708c", grey="#76808a",
        ),
        _palette(
            "lip", natural="#b8786c", rose="#b4606a", coral="#c4644e",
            red="#a8283a", berry="#7a2840", nude="#b98272",
        ),
    ),
)  # fmt: skip
"""The schema of the reference game: 244 identity sliders, 23 action units, pitch and yaw, 7 style slots."""
