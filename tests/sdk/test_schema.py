"""The vocabulary: the reference schema, its file beside the models, and errors that name the field."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from sdk import contract
from sdk.errors import SchemaError
from sdk.schema import AXES, HANDLES, REFERENCE, Schema

SCHEMA_FILE = Path(__file__).parents[2] / "model_repository" / "schema.json"


def test_reference_has_the_methods_sizes():
    assert len(HANDLES) * len(AXES) + 1 == len(REFERENCE.identity) == 244
    assert (len(REFERENCE.expression), len(REFERENCE.pose)) == (23, 2)
    assert {slot.name for slot in REFERENCE.style} >= {"hair", "brow", "beard", "skin", "hair_colour", "iris", "lip"}
    assert len(REFERENCE.slot("hair").options) >= 9 and "bald" in REFERENCE.slot("hair").options
    assert "none" in REFERENCE.slot("beard").options


def test_file_beside_the_models_is_the_reference():
    assert SCHEMA_FILE.read_text(encoding="utf-8") == REFERENCE.to_json()


def test_round_trip():
    assert Schema.from_json(REFERENCE.to_json()) == REFERENCE


def test_slots():
    hair = REFERENCE.slot("hair")
    assert hair.options[hair.index("bob")] == "bob"
    with pytest.raises(SchemaError, match="'hair' has no option 'mohawk'; it has bald"):
        hair.index("mohawk")
    with pytest.raises(SchemaError, match="no style slot 'hat'; there are hair"):
        REFERENCE.slot("hat")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 1}, "'version'"),
        ({"identity": []}, "'identity'"),
        ({"identity": ["a", "a"]}, "'identity' names a parameter twice"),
        ({"expression": "smile"}, "'expression'"),
        ({"pose": [1]}, "'pose'"),
        ({"style": []}, "'style'"),
        ({"style": {"hair": []}}, "'hair' must be an object"),
        ({"style": {"hair": {"options": []}}}, "'options'"),
        ({"style": {"skin": {"options": ["a"], "colours": ["red"]}}}, "'skin': 'colours'"),
        ({"style": {"skin": {"options": ["a"], "colours": ["#000000"] * 2}}}, "'skin': 'colours'"),
    ],
)
def test_wrong_schemas(change, message):
    fields = {**json.loads(REFERENCE.to_json()), **change}
    with pytest.raises(SchemaError, match=message):
        Schema.from_json(json.dumps(fields))


def test_wrong_file(tmp_path):
    path = tmp_path / "schema.json"
    path.write_text("{")
    with pytest.raises(SchemaError, match=r"schema\.json: schema is not JSON"):
        Schema.load(path)


def test_contract_follows_the_schema():
    schema = dataclasses.replace(REFERENCE, expression=("grin",), style=REFERENCE.style[:1])
    regressor, encoder = contract.regressor(schema), contract.encoder(schema)
    shapes = {tensor.name: tensor.shape for tensor in (*regressor.outputs, *encoder.outputs)}
    assert shapes["expression"] == shapes["expression_sigma"] == (1,)
    assert encoder.output_names == ("style_hair", "style_visible", "identity")
    assert list(contract.models(schema)) == ["align", "regressor", "encoder"]
    assert regressor.inputs == encoder.inputs == (contract.CROP, contract.MESH)
    assert set(regressor.inputs) < set(contract.ALIGN.outputs)
