"""The committed `align` file: what the contract says, what PyTorch says, and nothing that TensorRT does not compile."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from onnx import helper

from export.align import check_parity
from sdk import contract
from train.alignment import Aligner

MODEL = Path(__file__).parents[2] / "model_repository/align/1/model.onnx"
NOT_IN_TENSORRT = {"NonMaxSuppression", "NonZero", "RoiAlign", "AffineGrid", "Unique", "Loop", "Scan"}


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    return onnx.load(MODEL)


def nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from nodes(attribute.g)


def test_file_keeps_the_contract(model: onnx.ModelProto) -> None:
    for values, tensors in (
        (model.graph.input, contract.ALIGN.inputs),
        (model.graph.output, contract.ALIGN.outputs),
    ):
        assert [value.name for value in values] == [tensor.name for tensor in tensors]
        for value, tensor in zip(values, tensors, strict=True):
            kind = value.type.tensor_type
            shape = [d.dim_param or d.dim_value for d in kind.shape.dim]
            assert shape == [contract.BATCH_AXIS, *tensor.shape], tensor.name
            assert helper.tensor_dtype_to_np_dtype(kind.elem_type) == tensor.dtype, tensor.name
    assert [(o.domain, o.version) for o in model.opset_import if o.domain in ("", "ai.onnx")] == [("", contract.OPSET)]


def test_file_has_only_what_tensorrt_compiles(model: onnx.ModelProto) -> None:
    found = {node.op_type for node in nodes(model.graph)}
    assert not found & NOT_IN_TENSORRT
    for node in nodes(model.graph):
        assert node.domain in ("", "ai.onnx"), node.op_type
        if node.op_type == "Resize":
            assert not any(a.name == "antialias" and a.i for a in node.attribute)
    users = {node.op_type for node in nodes(model.graph) if contract.CANVAS.name in node.input}
    assert users <= {"Cast", "Shape"}, "TensorRT takes uint8 only into a Cast"


def test_file_is_small(model: onnx.ModelProto) -> None:
    assert MODEL.stat().st_size < 6e6


def test_file_gives_what_torch_gives() -> None:
    check_parity(Aligner().eval(), MODEL)
