"""Faces that somebody or something has made for photos, one per line of a JSON file: the label parameters p' of CN109902767B
([0054]), from players' own characters and from :mod:`train.fit`.

    {"photo": "Ada_0001", "identity": {"nose_tip.ty": 0.2}, "style": {"hair": "short", "skin": "tan"}}

``photo`` is the key of the photo in its shards, or its file name. Sliders, action units and angles that a line does not name
are 0, those of the base face, as a game's export that holds only what the player has moved; ``expression`` and ``pose`` may be
missing altogether. A style slot that is missing is unknown. Options may be objects too, as ``FaceParams.to_dict`` writes them.
``seconds`` says how long it took to make the face."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sdk.errors import SchemaError
from sdk.schema import REFERENCE, Schema

FIELDS = ("photo", "identity", "expression", "pose", "style", "seconds")
UNKNOWN = -1
"""Number of the option of a slot of which nothing is known."""


@dataclass(frozen=True, eq=False)
class MadeFace:
    """A face made for a photo: identity (I,), expression (E,), pose (P,) degrees, float32; style (slots,) int64, the option
    numbers, :data:`UNKNOWN` where nobody says; seconds that it took, NaN where nobody knows."""

    photo: str
    identity: npt.NDArray[np.float32]
    expression: npt.NDArray[np.float32]
    pose: npt.NDArray[np.float32]
    style: npt.NDArray[np.int64]
    seconds: float = math.nan

    def line(self, schema: Schema = REFERENCE) -> str:
        """Its line, without a line break; what is 0 is left out."""

        def named(names: tuple[str, ...], values: npt.NDArray[np.float32]) -> dict[str, float]:
            return {name: round(float(value), 5) for name, value in zip(names, values, strict=True) if round(float(value), 5)}

        known = [(slot, number) for slot, number in zip(schema.style, self.style.tolist(), strict=True) if number != UNKNOWN]
        fields = {
            "photo": self.photo,
            "identity": named(schema.identity, self.identity),
            "expression": named(schema.expression, self.expression),
            "pose": named(schema.pose, self.pose),
            "style": {slot.name: slot.options[number] for slot, number in known},
        }
        if not math.isnan(self.seconds):
            fields["seconds"] = round(self.seconds, 3)
        return json.dumps(fields, allow_nan=False, ensure_ascii=False)

    def options(self, schema: Schema = REFERENCE) -> dict[str, int]:
        """Option numbers by slot, of those that are known."""
        return {slot.name: number for slot, number in zip(schema.style, self.style.tolist(), strict=True) if number >= 0}


def read_faces(path: Path, schema: Schema = REFERENCE) -> Iterator[MadeFace]:
    """The faces of a file. :class:`SchemaError` names the line and the field that do not fit."""
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    yield read_face(line, schema)
                except SchemaError as error:
                    raise SchemaError(f"{path}, line {number}: {error}") from error


def read_face(line: str, schema: Schema = REFERENCE) -> MadeFace:
    """The face of a line. :class:`SchemaError` names the field that does not fit."""
    try:
        fields = json.loads(line)
    except json.JSONDecodeError as error:
        raise SchemaError(f"this is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise SchemaError("a face is a JSON object")
    if unknown := sorted(set(fields) - set(FIELDS)):
        raise SchemaError(f"there is no field {unknown[0]!r}; there are {', '.join(FIELDS)}")
    if not isinstance(fields.get("photo"), str) or not fields["photo"]:
        raise SchemaError("'photo' must name the photo")
    if "identity" not in fields:
        raise SchemaError("'identity' is missing: without it there is no face")
    return MadeFace(
        fields["photo"],
        _values(fields, "identity", schema.identity, -1, 1),
        _values(fields, "expression", schema.expression, 0, 1),
        _values(fields, "pose", schema.pose, -180, 180),
        _style(fields.get("style", {}), schema),
        _seconds(fields),
    )


def _seconds(fields: Mapping[str, Any]) -> float:
    value = fields.get("seconds", 0.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise SchemaError(f"'seconds' must be a number from 0, not {value!r}")
    return float(value) if "seconds" in fields else math.nan


def _values(fields: Mapping[str, Any], field: str, names: tuple[str, ...], low: float, high: float) -> npt.NDArray[np.float32]:
    given = fields.get(field, {})
    if not isinstance(given, dict):
        raise SchemaError(f"{field!r} must be an object of numbers by name")
    values = np.zeros(len(names), np.float32)
    for name, value in given.items():
        if name not in names:
            raise SchemaError(f"{field!r} has no {name!r}")
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not low <= value <= high:
            raise SchemaError(f"'{field}.{name}' must be a number from {low} to {high}, not {value!r}")
        values[names.index(name)] = value
    return values


def _style(given: Any, schema: Schema) -> npt.NDArray[np.int64]:
    if not isinstance(given, dict):
        raise SchemaError("'style' must be an object of options by slot")
    if unknown := sorted(set(given) - {slot.name for slot in schema.style}):
        raise SchemaError(f"'style' has no slot {unknown[0]!r}; there are {', '.join(slot.name for slot in schema.style)}")
    style = np.full(len(schema.style), UNKNOWN, np.int64)
    for k, slot in enumerate(schema.style):
        if slot.name in given:
            option = given[slot.name]
            style[k] = slot.index(option.get("option") if isinstance(option, dict) else option)
    return style
