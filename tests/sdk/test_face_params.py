"""`FaceParams`: named access, immutability, JSON round trips, and errors that name the field."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdk.contract import LANDMARKS
from sdk.errors import SchemaError
from sdk.face_params import DetectedFace, FaceParams, Parameters, StyleChoice, Styles
from sdk.quality import Quality
from sdk.schema import REFERENCE


def make(seed: int = 0) -> FaceParams:
    """Random parameters with all 32 bits of every number in use."""
    rng = np.random.default_rng(seed)

    def parameters(names, low, high):
        return Parameters(names, rng.uniform(low, high, len(names)))

    choices = []
    for slot in REFERENCE.style:
        probabilities = rng.dirichlet(np.ones(len(slot.options)))
        choices.append(StyleChoice(slot, int(probabilities.argmax()), probabilities, round(rng.random(), 4)))
    return FaceParams(
        identity=parameters(REFERENCE.identity, -1, 1),
        expression=parameters(REFERENCE.expression, 0, 1),
        pose=parameters(REFERENCE.pose, -40, 40),
        identity_sigma=parameters(REFERENCE.identity, 0, 1),
        expression_sigma=parameters(REFERENCE.expression, 0, 1),
        pose_sigma=parameters(REFERENCE.pose, 0, 5),
        style=Styles(tuple(choices)),
        face=DetectedFace(
            box=(10.5, 20.25, 110.0, 140.0),
            roll=-3.5,
            landmarks=rng.normal(100, 50, (LANDMARKS, 3)),
            count=2,
            quality=Quality(**{field.name: rng.uniform(-1, 1) for field in dataclasses.fields(Quality)}),
        ),
        schema_version=REFERENCE.version,
        model_version="0123456789ab",
        timings={"total": 12.5},
    )


def test_named_access():
    params = make()
    slider = REFERENCE.identity.index("nose_tip.ty")
    assert params["nose_tip.ty"] == params.identity["nose_tip.ty"] == params.identity.array[slider]
    assert params["smile"] == params.expression["smile"]
    assert params["yaw"] == params.pose["yaw"] == params.pose.array[1]
    assert dict(params.pose) == {"pitch": params["pitch"], "yaw": params["yaw"]}
    assert isinstance(params["smile"], float)
    with pytest.raises(KeyError, match="nose_tip"):
        params["nose_tip"]
    with pytest.raises(KeyError, match="smirk"):
        params.expression["smirk"]


def test_strongest():
    values = np.zeros(23)
    values[[3, 7, 11]] = 0.1, 0.9, 0.5
    strongest = Parameters(REFERENCE.expression, values).strongest(5)
    assert [name for name, _ in strongest] == ["mouth_open", "smile", "lid_tighten"]
    assert Parameters(REFERENCE.pose, [-20, 3]).strongest(1) == [("pitch", -20.0)]


def test_styles():
    slot = REFERENCE.slot("skin")
    probabilities = np.full(10, 0.05)
    probabilities[4], probabilities[5] = 0.4, 0.2
    choice = StyleChoice(slot, 4, probabilities)
    assert (choice.option, choice.colour) == ("tan", "#c28a61")
    assert choice.probability == pytest.approx(0.4)
    assert [option for option, _ in choice.top(2)] == ["tan", "caramel"]
    assert StyleChoice(REFERENCE.slot("hair"), 0, np.eye(11)[0]).colour is None
    with pytest.raises(SchemaError, match="skin"):
        StyleChoice(slot, 4, np.ones(3))
    with pytest.raises(SchemaError, match="no option number 10"):
        StyleChoice(slot, 10, probabilities)
    with pytest.raises(SchemaError, match=r"visible is a probability, not -0\.5"):
        StyleChoice(slot, 4, probabilities, -0.5)
    assert choice.visible == 1 and choice != StyleChoice(slot, 4, probabilities, 0.5)


def test_nothing_can_be_changed():
    params = make()
    with pytest.raises(dataclasses.FrozenInstanceError):
        params.model_version = "other"
    with pytest.raises(AttributeError):
        params.identity.array = np.zeros(244)
    with pytest.raises(TypeError):
        params.identity["nose_tip.ty"] = 0.0
    for array in (params.identity.array, params.style["hair"].probabilities, params.face.landmarks):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    values = np.zeros(2)
    parameters = Parameters(REFERENCE.pose, values)
    values[0] = 5
    assert parameters["pitch"] == 0, "keeps a copy"


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_copies_are_equal_and_still_frozen(duplicate):
    params = make()
    again = duplicate(params)
    assert again == params
    assert hash(again) == hash(params)
    assert not again.identity.array.flags.writeable
    assert not again.face.landmarks.flags.writeable


def test_equality_sees_every_field_of_the_face():
    params = make()
    assert params == make()
    assert params != make(1)
    assert params == dataclasses.replace(params, timings={"total": 99.0}, request_id="7")
    other = make(1)
    for field in dataclasses.fields(FaceParams):
        if field.name not in ("timings", "request_id", "schema_version", "model_version"):
            assert params != dataclasses.replace(params, **{field.name: getattr(other, field.name)}), field.name
    assert params != dataclasses.replace(params, model_version="other")


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_json_round_trip_is_exact(seed):
    params = make(seed)
    text = params.to_json()
    again = FaceParams.from_json(text)
    assert again == params
    assert again.to_json() == text
    assert FaceParams.from_dict(params.to_dict()) == params
    assert FaceParams.from_json(params.to_json(indent=1).encode()) == params


def test_json_holds_names_and_short_numbers():
    params = dataclasses.replace(make(), pose=Parameters(REFERENCE.pose, [0.1, -12.34]))
    fields = json.loads(params.to_json())
    assert fields["pose"] == {"pitch": 0.1, "yaw": -12.34}
    assert set(fields["style"]) == {slot.name for slot in REFERENCE.style}
    assert fields["style"]["hair"]["option"] in REFERENCE.slot("hair").options
    assert "timings" not in fields


def test_neutral_keeps_the_person():
    params = make()
    neutral = params.neutral()
    assert not neutral.expression.array.any() and not neutral.pose.array.any()
    assert not neutral.expression_sigma.array.any()
    assert (neutral.identity, neutral.style, neutral.identity_sigma) == (
        params.identity,
        params.style,
        params.identity_sigma,
    )
    assert FaceParams.from_json(neutral.to_json()) == neutral.neutral()


def delete(path: str, fields: dict) -> None:
    *parents, last = path.split("/")
    for parent in parents:
        fields = fields[parent]
    del fields[last]


def put(path: str, value: object, fields: dict) -> None:
    *parents, last = path.split("/")
    for parent in parents:
        fields = fields[parent]
    fields[last] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("identity/nose_tip.ty", 1.5, r"identity\.nose_tip\.ty is 1\.5; it must lie in \[-1, 1\]"),
        ("identity/nose_tip.ty", "x", r"identity\.nose_tip\.ty must be a number"),
        ("identity/nose_tip.ty", True, r"identity\.nose_tip\.ty must be a number"),
        ("identity/nose_tip.ty", float("nan"), r"identity\.nose_tip\.ty is nan"),
        ("identity/nose", 0, "identity has an unknown field 'nose'"),
        ("expression/smile", -0.1, r"expression\.smile is -0\.1"),
        ("pose/yaw", 200, r"pose\.yaw is 200"),
        ("sigma/pose/yaw", -1, r"sigma\.pose\.yaw is -1"),
        ("style/hair/option", "mohawk", "no option 'mohawk'"),
        ("style/hair/visible", 1.5, r"style\.hair\.visible is 1\.5; it must lie in \[0, 1\]"),
        ("style/hair/option", 3, r"style\.hair\.option must be a string"),
        ("style/hair/probabilities/bald", 1.0, r"style\.hair\.probabilities sum to"),
        ("style/hat", {}, "style has an unknown field 'hat'"),
        ("face/count", 0, r"face\.count"),
        ("face/count", 1.0, r"face\.count"),
        ("face/box", [1, 2, 3], r"face\.box must be a list of 4"),
        ("face/landmarks", [[0, 0, 0]], r"face\.landmarks must be a list of 468"),
        ("face/roll", None, r"face\.roll must be a number"),
        ("face/quality", [], r"face\.quality must be an object"),
        ("model_version", 3, "model_version must be a string"),
        ("schema_version", "0", "schema_version is '0'"),
        ("extra", 0, "unknown field 'extra'"),
        ("style", [], "style must be an object"),
    ],
)
def test_wrong_fields_are_named(path, value, message):
    fields = make().to_dict()
    put(path, value, fields)
    with pytest.raises(SchemaError, match=message):
        FaceParams.from_dict(fields)


@pytest.mark.parametrize("path", ["identity", "face/landmarks", "style/hair", "identity/head.scale", "sigma/expression/smile"])
def test_missing_fields_are_named(path):
    fields = make().to_dict()
    delete(path, fields)
    with pytest.raises(SchemaError, match=f"lacks '{path.rpartition('/')[2]}'"):
        FaceParams.from_dict(fields)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", b"\xff"])
def test_text_that_is_not_the_json(text):
    with pytest.raises(SchemaError, match="face parameters"):
        FaceParams.from_json(text)


def test_another_games_schema():
    schema = dataclasses.replace(REFERENCE, version="mine", expression=("grin",))
    params = dataclasses.replace(
        make(),
        schema_version="mine",
        expression=Parameters(("grin",), [0.5]),
        expression_sigma=Parameters(("grin",), [0.1]),
    )
    assert FaceParams.from_json(params.to_json(), schema) == params
    assert params["grin"] == 0.5
    with pytest.raises(SchemaError, match="this schema is '1'"):
        FaceParams.from_json(params.to_json())
