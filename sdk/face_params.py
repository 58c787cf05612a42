"""The answer: the parameters of one game face, typed and frozen.

::

    params = client.infer("me.jpg")
    params["nose_tip.ty"]                    # any slider, action unit or angle by its name
    params.expression["smile"]               # a float
    params.expression.array                  # (23,) float32, read-only, in the schema's order
    params.expression_sigma["smile"]         # its standard deviation
    params.expression.strongest(3)           # [("smile", 0.81), ...]
    params.style["hair"].option              # "short"
    params.style["hair"].top(3)              # [("short", 0.7), ("parted", 0.2), ...]
    params.face.landmarks                    # (468, 3) in pixels of the photo
    params.neutral()                         # the same person at rest, looking ahead
    params.transfer(expression_from=other)   # the same person with another's expression
    params.to_arkit()["mouthSmileLeft"]      # ARKit's 52 coefficients, and with_arkit back
    params.to_glb()                          # the character as glTF (needs the reference game)
    params.to_json(), FaceParams.from_json(text)

Equal photos give equal `FaceParams` and equal JSON bytes; `timings` and `request_id` belong to neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sdk.contract import LANDMARKS
from sdk.errors import SchemaError
from sdk.quality import Quality
from sdk.schema import REFERENCE, Schema, Slot


def frozen_array(values: ArrayLike) -> NDArray[np.float32]:
    """A read-only float32 copy."""
    array = np.array(values, np.float32, order="C")
    array.flags.writeable = False
    return array


def _decimal(value: np.float32) -> float:
    """The shortest decimal that reads back as this float32: 0.4501 rather than 0.45010000467300415."""
    return float(str(value))


@lru_cache(maxsize=64)
def _positions(names: tuple[str, ...]) -> dict[str, int]:
    return {name: position for position, name in enumerate(names)}


class Parameters(Mapping[str, float]):
    """Named numbers in a fixed order: a read-only mapping from name to float, and an `array`.

    Args:
        names: the parameters' names, as in the schema.
        values: (len(names),) numbers, stored as float32.
    """

    __slots__ = ("array", "names")

    names: tuple[str, ...]
    array: NDArray[np.float32]

    def __init__(self, names: tuple[str, ...], values: ArrayLike) -> None:
        array = frozen_array(values)
        if array.shape != (len(names),):
            raise SchemaError(f"{len(names)} parameters need as many values, not an array of shape {array.shape}")
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "array", array)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("Parameters cannot be changed")

    def __getitem__(self, name: str) -> float:
        return _decimal(self.array[_positions(self.names)[name]])

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Parameters):
            return NotImplemented
        return self.names == other.names and np.array_equal(self.array, other.array)

    def __hash__(self) -> int:
        return hash((self.names, self.array.tobytes()))

    def __reduce__(self) -> tuple[Any, ...]:
        return Parameters, (self.names, self.array)  # pickle would bring a writable array back

    def __repr__(self) -> str:
        shown = ", ".join(f"{name} {value:+.2f}" for name, value in self.strongest(3))
        return f"Parameters({len(self)} values; strongest: {shown or 'all 0'})"

    def strongest(self, count: int) -> list[tuple[str, float]]:
        """The `count` names and values farthest from 0 (fewer where the others are 0), farthest first."""
        order = np.argsort(-np.abs(self.array), kind="stable")[:count]
        return [(self.names[i], _decimal(self.array[i])) for i in order if self.array[i] != 0]


@dataclass(frozen=True, eq=False)
class StyleChoice:
    """The option chosen for one style slot, and the probability of each.

    Attributes:
        slot: the slot's name, options and colours.
        index: the chosen option.
        probabilities: (options,) float32, of each option if the slot can be seen.
        visible: probability that it can be seen on the photo at all, hair under a hat for one; otherwise the option is a guess.
    """

    slot: Slot
    index: int
    probabilities: NDArray[np.float32] = field(repr=False)
    visible: float = 1.0

    def __post_init__(self) -> None:
        array = frozen_array(self.probabilities)
        if array.shape != (len(self.slot.options),):
            raise SchemaError(f"style slot {self.slot.name!r} has {len(self.slot.options)} options, not {array.shape}")
        if not 0 <= self.index < len(self.slot.options):
            raise SchemaError(f"style slot {self.slot.name!r} has no option number {self.index}")
        if not 0 <= self.visible <= 1:
            raise SchemaError(f"style slot {self.slot.name!r}: visible is a probability, not {self.visible}")
        object.__setattr__(self, "probabilities", array)

    @property
    def option(self) -> str:
        """Name of the chosen option."""
        return self.slot.options[self.index]

    @property
    def probability(self) -> float:
        """Probability of the chosen option."""
        return _decimal(self.probabilities[self.index])

    @property
    def colour(self) -> str | None:
        """Colour of the chosen option ("#rrggbb", sRGB), for palettes."""
        return self.slot.colours[self.index] if self.slot.colours else None

    def top(self, count: int) -> list[tuple[str, float]]:
        """The `count` most probable options with their probabilities, most probable first."""
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.slot.options[i], _decimal(self.probabilities[i])) for i in order]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StyleChoice):
            return NotImplemented
        same = (self.slot, self.index, self.visible) == (other.slot, other.index, other.visible)
        return same and np.array_equal(self.probabilities, other.probabilities)

    def __hash__(self) -> int:
        return hash((self.slot, self.index, self.visible, self.probabilities.tobytes()))

    def __reduce__(self) -> tuple[Any, ...]:
        return StyleChoice, (self.slot, self.index, self.probabilities, self.visible)


class Styles(Mapping[str, StyleChoice]):
    """The choices of all style slots, by slot name, in the schema's order. Read-only."""

    __slots__ = ("_choices",)

    def __init__(self, choices: tuple[StyleChoice, ...]) -> None:
        self._choices = {choice.slot.name: choice for choice in choices}

    def __getitem__(self, slot: str) -> StyleChoice:
        return self._choices[slot]

    def __iter__(self) -> Iterator[str]:
        return iter(self._choices)

    def __len__(self) -> int:
        return len(self._choices)

    def __hash__(self) -> int:
        return hash(tuple(self._choices.values()))

    def __repr__(self) -> str:
        shown = (f"{name}={choice.option} ({choice.probability:.0%})" for name, choice in self.items())
        return f"Styles({', '.join(shown)})"

    def indices(self) -> dict[str, int]:
        """Slot -> index of the chosen option, as `game.character.Character` takes them."""
        return {name: choice.index for name, choice in self.items()}


@dataclass(frozen=True, slots=True, eq=False)
class DetectedFace:
    """Where the face is in the photo, and how good a picture of it that is.

    Attributes:
        box: x0, y0, x1, y1 around the face in pixels of the upright photo.
        roll: degrees in the picture plane; > 0: the head leans to the person's own right (to the left in the picture).
        landmarks: (468, 3) float32, MediaPipe's FaceMesh points in pixels of the upright photo; z in the same unit,
            smaller is nearer.
        count: number of faces found; this is the main one.
        quality: the measures by which photos are rejected.
    """

    box: tuple[float, float, float, float]
    roll: float
    landmarks: NDArray[np.float32] = field(repr=False)
    count: int
    quality: Quality

    def __post_init__(self) -> None:
        landmarks = frozen_array(self.landmarks)
        if landmarks.shape != (LANDMARKS, 3):
            raise SchemaError(f"landmarks must have the shape ({LANDMARKS}, 3), not {landmarks.shape}")
        object.__setattr__(self, "landmarks", landmarks)

    def _identity(self) -> tuple[object, ...]:
        return self.box, self.roll, self.landmarks.tobytes(), self.count, self.quality

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DetectedFace):
            return NotImplemented
        return self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def __reduce__(self) -> tuple[Any, ...]:
        return DetectedFace, (self.box, self.roll, self.landmarks, self.count, self.quality)


@dataclass(frozen=True, slots=True)
class FaceParams:
    """The parameters of one game face, solved from one photo. See the module's docstring for its use.

    Attributes:
        identity: sliders in [-1, 1]; 0 is the base face.
        expression: action units in [0, 1]; 0 is the resting face.
        pose: pitch (> 0 looks up) and yaw (> 0 turns to the person's own left) in degrees, roll removed.
        identity_sigma, expression_sigma, pose_sigma: standard deviation of each of these, in the same units.
        style: the chosen option of every style slot.
        face: where the face is in the photo, and the photo's quality.
        schema_version: version of the vocabulary.
        model_version: hash of the model files that solved it.
        request_id: what the server knows the request by; empty in process. Not compared and not in the JSON.
        timings: milliseconds per stage; not compared and not in the JSON.
    """

    identity: Parameters
    expression: Parameters
    pose: Parameters
    identity_sigma: Parameters
    expression_sigma: Parameters
    pose_sigma: Parameters
    style: Styles
    face: DetectedFace
    schema_version: str
    model_version: str
    request_id: str = field(default="", compare=False, repr=False)
    timings: Mapping[str, float] = field(default_factory=dict, compare=False, repr=False)

    def __getitem__(self, name: str) -> float:
        """Value of a slider, action unit or angle. ``KeyError`` for an unknown name."""
        for parameters in (self.identity, self.expression, self.pose):
            if name in _positions(parameters.names):
                return parameters[name]
        raise KeyError(name)

    def neutral(self) -> FaceParams:
        """The same person and style at rest and looking ahead: expression and pose of the base face, known exactly."""

        def zeros(parameters: Parameters) -> Parameters:
            return Parameters(parameters.names, np.zeros(len(parameters)))

        return replace(
            self,
            expression=zeros(self.expression),
            expression_sigma=zeros(self.expression),
            pose=zeros(self.pose),
            pose_sigma=zeros(self.pose),
        )

    def transfer(self, *, expression_from: FaceParams) -> FaceParams:
        """This person with the expression of another photo, of somebody else perhaps.

        Raises:
            SchemaError: that one's schema has other action units.
        """
        if expression_from.expression.names != self.expression.names:
            raise SchemaError(f"schema {expression_from.schema_version!r} has other action units than {self.schema_version!r}")
        return replace(self, expression=expression_from.expression, expression_sigma=expression_from.expression_sigma)

    def to_arkit(self) -> dict[str, float]:
        """The expression as ARKit's 52 blend shape coefficients in [0, 1], named as ARKit names them (:mod:`sdk.arkit`).

        Raises:
            SchemaError: the schema has action units of its own.
        """
        from sdk import arkit

        weights = arkit.weights(self.expression.array, self.expression.names)
        return {name: round(float(weight), 6) for name, weight in zip(arkit.NAMES, weights, strict=True)}

    def with_arkit(self, coefficients: Mapping[str, float] | ArrayLike) -> FaceParams:
        """This person with the expression nearest to ARKit coefficients: the way back of :meth:`to_arkit`.

        Args:
            coefficients: by ARKit's names (those left out are 0), or all 52 in alphabetical order.

        Raises:
            SchemaError: a name that ARKit does not have, or a schema with action units of its own.
        """
        from sdk import arkit

        units = self.expression.names
        known = Parameters(units, np.zeros(len(units)))
        return replace(self, expression=Parameters(units, arkit.expression(coefficients, units)), expression_sigma=known)

    def to_glb(self, *, arkit: bool = False) -> bytes:
        """The face as a glTF binary: mesh, hair, colours, morph targets (the action units, or ARKit's 52 shapes).

        Raises:
            MissingDependencyError: the reference game is not installed: ``pip install 'faceparam[game]'``.
        """
        from sdk.output import to_glb

        return to_glb(self, arkit=arkit)

    def to_dict(self) -> dict[str, Any]:
        """Everything but the timings as plain dicts, lists, strings and numbers, sliders by name."""
        from sdk.face_json import to_dict

        return to_dict(self)

    def to_json(self, *, indent: int | None = None) -> str:
        """The text of :meth:`to_dict`; the same parameters always give the same bytes."""
        from sdk.face_json import to_json

        return to_json(self, indent)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], schema: Schema = REFERENCE) -> FaceParams:
        """Read what :meth:`to_dict` wrote. :class:`SchemaError` names the first field that does not fit the schema."""
        from sdk.face_json import from_dict

        return from_dict(fields, schema)

    @classmethod
    def from_json(cls, text: str | bytes, schema: Schema = REFERENCE) -> FaceParams:
        """Read what :meth:`to_json` wrote. :class:`SchemaError` names the first field that does not fit the schema."""
        from sdk.face_json import from_json

        return from_json(text, schema)
