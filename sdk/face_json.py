"""`FaceParams` to plain data and back, checked field by field.

The JSON is meant for game servers: sliders and options by name, so that nothing depends on an order, and numbers in the
shortest form that gives the same float32 back.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sdk.contract import LANDMARKS
from sdk.errors import SchemaError
from sdk.face_params import DetectedFace, FaceParams, Parameters, StyleChoice, Styles
from sdk.quality import Quality
from sdk.schema import Schema, Slot

PROBABILITY_TOLERANCE = 0.01
"""How far the probabilities of a style slot may sum from 1."""


def to_dict(params: FaceParams) -> dict[str, Any]:
    """Plain data of everything but the timings."""
    return {
        "schema_version": params.schema_version,
        "model_version": params.model_version,
        "identity": _named(params.identity),
        "expression": _named(params.expression),
        "pose": _named(params.pose),
        "style": {name: _style(choice) for name, choice in params.style.items()},
        "sigma": {
            "identity": _named(params.identity_sigma),
            "expression": _named(params.expression_sigma),
            "pose": _named(params.pose_sigma),
        },
        "face": {
            "box": list(params.face.box),
            "roll": params.face.roll,
            "count": params.face.count,
            "quality": dataclasses.asdict(params.face.quality),
            "landmarks": _short(params.face.landmarks),
        },
    }


def to_json(params: FaceParams, indent: int | None) -> str:
    """JSON text; keys in a fixed order, no NaN."""
    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(to_dict(params), indent=indent, separators=separators, allow_nan=False)


def from_json(text: str | bytes, schema: Schema) -> FaceParams:
    """Read the text of `to_json`."""
    try:
        fields = json.loads(text)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise SchemaError(f"face parameters are not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise SchemaError("face parameters must be a JSON object")
    return from_dict(fields, schema)


def from_dict(fields: Mapping[str, Any], schema: Schema) -> FaceParams:
    """Read the data of `to_dict`, checking names, types and ranges."""
    parts = ("schema_version", "model_version", "identity", "expression", "pose", "style", "sigma", "face")
    _keys(fields, parts, "face parameters")
    if fields["schema_version"] != schema.version:
        raise SchemaError(f"schema_version is {fields['schema_version']!r}, this schema is {schema.version!r}")
    sigma = fields["sigma"]
    _keys(sigma, ("identity", "expression", "pose"), "sigma")
    slots = {slot.name: slot for slot in schema.style}
    _keys(fields["style"], slots, "style")
    return FaceParams(
        identity=_parameters(fields["identity"], schema.identity, "identity", -1, 1),
        expression=_parameters(fields["expression"], schema.expression, "expression", 0, 1),
        pose=_parameters(fields["pose"], schema.pose, "pose", -180, 180),
        identity_sigma=_parameters(sigma["identity"], schema.identity, "sigma.identity", 0),
        expression_sigma=_parameters(sigma["expression"], schema.expression, "sigma.expression", 0),
        pose_sigma=_parameters(sigma["pose"], schema.pose, "sigma.pose", 0),
        style=Styles(tuple(_choice(fields["style"][name], slot) for name, slot in slots.items())),
        face=_face(fields["face"]),
        schema_version=schema.version,
        model_version=_string(fields["model_version"], "model_version"),
    )


def _short(array: NDArray[np.float32]) -> Any:
    """Nested lists of short decimals that give the same float32 back."""
    exact = array.astype(np.float64)
    short = np.round(exact, 4)
    longer = short.astype(np.float32) != array
    short[longer] = array[longer].astype(str).astype(np.float64)  # NumPy prints the shortest that reads back equal
    shorter = np.round(exact, 2)
    fits = shorter.astype(np.float32) == array
    short[fits] = shorter[fits]
    return short.tolist()


def _named(parameters: Parameters) -> dict[str, float]:
    return dict(zip(parameters.names, _short(parameters.array), strict=True))


def _style(choice: StyleChoice) -> dict[str, Any]:
    probabilities = zip(choice.slot.options, _short(choice.probabilities), strict=True)
    return {"option": choice.option, "visible": choice.visible, "probabilities": dict(probabilities)}


def _keys(fields: object, names: Iterable[str], where: str) -> None:
    """Raise unless `fields` is an object with exactly these keys."""
    if not isinstance(fields, Mapping):
        raise SchemaError(f"{where} must be an object")
    missing = [name for name in names if name not in fields]
    unknown = sorted(set(fields) - set(names))
    if missing or unknown:
        problem = f"lacks {missing[0]!r}" if missing else f"has an unknown field {unknown[0]!r}"
        raise SchemaError(f"{where} {problem}")


def _number(value: object, where: str, low: float = -math.inf, high: float = math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SchemaError(f"{where} must be a number, not {value!r}")
    if not (math.isfinite(value) and low <= value <= high):
        raise SchemaError(f"{where} is {value}; it must lie in [{low:g}, {high:g}]")
    return float(value)


def _string(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise SchemaError(f"{where} must be a string, not {value!r}")
    return value


def _numbers(values: object, length: int, where: str) -> list[float]:
    if not isinstance(values, Sequence) or len(values) != length:
        raise SchemaError(f"{where} must be a list of {length} numbers")
    return [_number(value, f"{where}[{i}]") for i, value in enumerate(values)]


def _parameters(fields: Any, names: tuple[str, ...], where: str, low: float, high: float = math.inf) -> Parameters:
    _keys(fields, names, where)
    return Parameters(names, [_number(fields[name], f"{where}.{name}", low, high) for name in names])


def _choice(fields: Any, slot: Slot) -> StyleChoice:
    where = f"style.{slot.name}"
    _keys(fields, ("option", "visible", "probabilities"), where)
    _keys(fields["probabilities"], slot.options, f"{where}.probabilities")
    probabilities = [_number(fields["probabilities"][o], f"{where}.probabilities.{o}", 0, 1) for o in slot.options]
    if abs(sum(probabilities) - 1) > PROBABILITY_TOLERANCE:
        raise SchemaError(f"{where}.probabilities sum to {sum(probabilities):.3f} instead of 1")
    index, visible = (
        slot.index(_string(fields["option"], f"{where}.option")),
        _number(fields["visible"], f"{where}.visible", 0, 1),
    )
    return StyleChoice(slot, index, np.array(probabilities, np.float32), visible)


def _face(fields: Any) -> DetectedFace:
    _keys(fields, ("box", "roll", "count", "quality", "landmarks"), "face")
    x0, y0, x1, y1 = _numbers(fields["box"], 4, "face.box")
    count = fields["count"]
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise SchemaError(f"face.count must be a whole number from 1, not {count!r}")
    points = fields["landmarks"]
    if not isinstance(points, Sequence) or len(points) != LANDMARKS:
        raise SchemaError(f"face.landmarks must be a list of {LANDMARKS} points")
    return DetectedFace(
        box=(x0, y0, x1, y1),
        roll=_number(fields["roll"], "face.roll", -180, 180),
        landmarks=np.array([_numbers(point, 3, f"face.landmarks[{i}]") for i, point in enumerate(points)], np.float32),
        count=count,
        quality=_quality(fields["quality"]),
    )


def _quality(fields: Any) -> Quality:
    names = [field.name for field in dataclasses.fields(Quality)]
    _keys(fields, names, "face.quality")
    return Quality(**{name: _number(fields[name], f"face.quality.{name}") for name in names})
