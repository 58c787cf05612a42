"""What Triton is told: the committed ``config.pbtxt`` files, the contract and the ONNX files say the same."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import onnxruntime
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from export.triton_config import CONFIG_FILE, TENSORRT_CONFIG_FILE, configs, write
from sdk import contract
from sdk.models import find_models
from sdk.quality import Quality
from sdk.schema import REFERENCE

REPOSITORY = find_models().root
CONFIGS = configs(REFERENCE)
TYPES = {"tensor(float)": pb.TYPE_FP32, "tensor(uint8)": pb.TYPE_UINT8}


def parsed(path: Path) -> pb.ModelConfig:
    return text_format.Parse(path.read_text(), pb.ModelConfig())


def test_every_model_has_its_folder_and_no_folder_is_left_over() -> None:
    assert {path.parent.name for path in REPOSITORY.glob(f"*/{CONFIG_FILE}")} == set(CONFIGS)


@pytest.mark.parametrize("name", CONFIGS)
def test_the_committed_file_is_the_generated_one(name: str, tmp_path: Path) -> None:
    assert parsed(REPOSITORY / name / CONFIG_FILE) == CONFIGS[name]
    write(tmp_path, REFERENCE)
    assert (tmp_path / name / CONFIG_FILE).read_bytes() == (REPOSITORY / name / CONFIG_FILE).read_bytes()


@pytest.mark.parametrize("name", contract.models())
def test_networks_have_the_inputs_and_outputs_of_their_files(name: str) -> None:
    session = onnxruntime.InferenceSession(REPOSITORY / name / "1/model.onnx", providers=["CPUExecutionProvider"])
    config = CONFIGS[name]
    for told, found in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
        shapes = {t.name: list(t.reshape.shape if t.HasField("reshape") else t.dims) for t in told}
        assert shapes == {node.name: list(node.shape[1:]) for node in found}
        assert {t.name: t.data_type for t in told} == {node.name: TYPES[node.type] for node in found}


@pytest.mark.parametrize("name", contract.models())
def test_warm_up_files_have_the_size_that_they_should(name: str) -> None:
    model = contract.models()[name]
    for tensor in model.inputs:
        values = CONFIGS[name].model_warmup[0].inputs[tensor.name]
        size = {"uint8": 1, "float32": 4}[tensor.dtype]
        for dim in values.dims:
            size *= dim
        assert (REPOSITORY / name / "warmup" / values.input_data_file).stat().st_size == size


@pytest.mark.parametrize("name", [model.name for model in contract.face_params()])
def test_ensembles_connect_tensors_of_one_type_and_shape(name: str) -> None:
    """Everything that a step reads was written before, by one step only, with the same type and shape."""
    ensemble = CONFIGS[name]
    known = {t.name: (t.data_type, tuple(t.dims)) for t in ensemble.input}
    for step in ensemble.ensemble_scheduling.step:
        config = CONFIGS[step.model_name]
        inputs = {t.name: t for t in config.input}
        for inner, outer in step.input_map.items():
            assert known[outer] == (inputs[inner].data_type, tuple(inputs[inner].dims)), (step.model_name, inner)
        assert all(t.optional or t.name in step.input_map for t in config.input)
        outputs = {t.name: t for t in config.output}
        for inner, outer in step.output_map.items():
            assert outer not in known, outer
            known[outer] = (outputs[inner].data_type, tuple(outputs[inner].dims))
    assert all(known[t.name] == (t.data_type, tuple(t.dims)) for t in ensemble.output)


def test_queues_refuse_rather_than_grow() -> None:
    for config in CONFIGS.values():
        if config.platform != "ensemble" and config.name != contract.SCHEMA.name:  # which says one string
            policy = config.dynamic_batching.default_queue_policy
            assert policy.timeout_action == pb.ModelQueuePolicy.REJECT
            assert (policy.max_queue_size > 0) == (config.name == contract.DECODE.name)
            assert policy.default_timeout_microseconds > 0 and policy.allow_timeout_override


@pytest.mark.parametrize("name", contract.models())
def test_the_configuration_for_tensorrt_loads_plans_and_is_else_the_same(name: str, tmp_path: Path) -> None:
    committed = parsed(REPOSITORY / name / TENSORRT_CONFIG_FILE)
    assert (committed.backend, committed.default_model_filename) == ("tensorrt", "model.plan")
    committed.backend, committed.default_model_filename = "onnxruntime", "model.onnx"
    assert committed == CONFIGS[name]
    write(tmp_path, REFERENCE)
    assert (tmp_path / name / TENSORRT_CONFIG_FILE).read_bytes() == (REPOSITORY / name / TENSORRT_CONFIG_FILE).read_bytes()


def test_only_networks_have_a_configuration_for_tensorrt() -> None:
    assert {path.parents[1].name for path in REPOSITORY.glob(f"*/{TENSORRT_CONFIG_FILE}")} == set(contract.models())


def test_quality_goes_over_the_wire_in_the_order_of_its_fields() -> None:
    assert tuple(field.name for field in fields(Quality)) == contract.QUALITY
