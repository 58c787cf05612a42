"""The committed ONNX files: the contract's, small, FP16 where it should be and nowhere else, and of one mind."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import skimage.data
from onnx import TensorProto, helper, numpy_helper

from export import half_safety, parity, samples
from export.onnx_files import FileError, check_contract, check_precision, compact_weights, half_layers, nodes, without_conditions
from export.plan import FP16_FILE
from sdk import contract
from sdk.letterbox import letterbox
from sdk.models import MODEL_FILE, find_models
from train.alignment import Aligner

FILES = find_models()
MODELS = contract.models(FILES.schema)


def path(name: str, file: str) -> Path:
    return FILES.paths[name].with_name(file)


@pytest.fixture(scope="module")
def inputs() -> dict[str, half_safety.Inputs]:
    """What each network takes for a portrait, also in the mirror."""
    portrait = skimage.data.astronaut()
    return samples.inputs(FILES.paths["align"], np.stack([letterbox(portrait)[0], letterbox(portrait[:, ::-1])[0]]))


@pytest.mark.parametrize("file", [MODEL_FILE, FP16_FILE])
@pytest.mark.parametrize("name", MODELS)
def test_files_keep_the_contract(name: str, file: str) -> None:
    model = onnx.load(path(name, file))
    check_contract(model, MODELS[name])
    assert not {node.op_type for node in nodes(model.graph)} & {"BatchNormalization"}
    assert not any(a.name == "antialias" and a.i for node in nodes(model.graph) for a in node.attribute)
    users = {node.op_type for node in nodes(model.graph) if contract.CANVAS.name in node.input}
    assert users <= {"Cast", "Shape"}, "TensorRT takes uint8 only into a Cast"


@pytest.mark.parametrize("name", MODELS)
def test_heavy_layers_are_in_half_and_sensitive_ones_are_not(name: str) -> None:
    model = onnx.load(path(name, FP16_FILE))
    check_precision(model)
    convolutions = {node.name for node in model.graph.node if node.op_type == "Conv"}
    assert len(convolutions - set(half_layers(model))) <= 12, "all but last layers"
    assert "If" not in {node.op_type for node in nodes(model.graph)}


def test_all_files_are_small_enough() -> None:
    assert sum(file.stat().st_size for file in FILES.root.glob("*/1/*.onnx")) <= 60e6


@pytest.mark.parametrize("name", MODELS)
def test_both_files_of_a_graph_agree(name: str, inputs: dict[str, half_safety.Inputs]) -> None:
    full, half = (half_safety.run_onnx(str(path(name, file)), inputs[name]) for file in (MODEL_FILE, FP16_FILE))
    measured = parity.differences(MODELS[name].output_names, full, half)
    assert all(difference.passes for difference in measured), parity.summary(measured)


@pytest.mark.parametrize("name", MODELS)
def test_half_is_in_range_on_a_portrait(name: str, inputs: dict[str, half_safety.Inputs]) -> None:
    maxima = half_safety.activation_maxima(onnx.load(path(name, FP16_FILE)), next(half_safety.one_by_one(inputs[name])))
    half_safety.check_range(name, maxima)
    assert maxima[0].largest > 10, "something was measured"


def test_align_gives_what_torch_gives(inputs: dict[str, half_safety.Inputs]) -> None:
    expected = half_safety.run_torch(Aligner().eval(), inputs["align"])
    found = half_safety.run_onnx(str(FILES.paths["align"]), inputs["align"])
    for name, a, b in zip(contract.ALIGN.output_names, expected, found, strict=True):
        # The last layer's weights are stored in half, which moves landmarks by hundredths of a pixel.
        assert np.abs(a - b).max() < (0.1 if name == "transform" else 0.05), name


def small_model(values: np.ndarray, operator: str = "MatMul") -> onnx.ModelProto:
    """x (batch, 300) -> y = x @ weight."""
    weight = numpy_helper.from_array(values, "weight")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", len(values)])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", values.shape[1]])
    graph = helper.make_graph([helper.make_node(operator, ["x", "weight"], ["y"], "layer/MatMul_0")], "small", [x], [y], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", contract.OPSET)], ir_version=10)


def test_weights_are_stored_small_where_nothing_is_lost_or_much_is_saved() -> None:
    rng = np.random.default_rng(0)
    exact = rng.integers(-100, 100, (300, 10)).astype(np.float32)
    precise, large = rng.normal(size=(300, 10)).astype(np.float32), rng.normal(size=(300, 400)).astype(np.float32)
    largest = rng.normal(size=(300, 3520)).astype(np.float32)
    kinds = ((exact, "FLOAT16", 0.0), (precise, "FLOAT", 0.0), (large, "FLOAT16", 0.05), (largest, "INT8", 0.8))
    for values, stored, tolerance in kinds:
        model = compact_weights(small_model(values))
        onnx.checker.check_model(model)
        assert model.graph.initializer[0].data_type == TensorProto.DataType.Value(stored)
        x = rng.normal(size=(2, 300)).astype(np.float32)
        (y,) = half_safety.run_onnx(model, {"x": x})
        np.testing.assert_allclose(y, half_safety.run_onnx(small_model(values), {"x": x})[0], atol=tolerance + 1e-6)


def test_without_conditions_the_first_branch_is_always_taken() -> None:
    def branch(name: str, operator: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node(operator, ["x"], [name], f"{name}/{operator}")], name, [], [out])

    nodes_ = [
        helper.make_node("ReduceMax", ["x"], ["most"], "most", keepdims=0),
        helper.make_node("Cast", ["most"], ["any"], "any", to=TensorProto.BOOL),
        helper.make_node("If", ["any"], ["y"], "if", then_branch=branch("a", "Neg"), else_branch=branch("b", "Identity")),
    ]
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 2]) for name in "xy")
    model = helper.make_model(
        helper.make_graph(nodes_, "small", [x], [y]), opset_imports=[helper.make_opsetid("", contract.OPSET)], ir_version=10
    )
    straight = without_conditions(model)
    assert [node.op_type for node in straight.graph.node] == ["Neg"]
    onnx.checker.check_model(straight, full_check=True)


def test_a_wrong_shape_is_said() -> None:
    model = onnx.load(FILES.paths["regressor"])
    model.graph.output[2].type.tensor_type.shape.dim[1].dim_value = 3
    with pytest.raises(
        FileError, match=r"graph 'regressor': output 'pose' should be float32 \[batch, 2\], is float32 \[batch, 3\]"
    ):
        check_contract(model, MODELS["regressor"])


def test_an_operator_that_tensorrt_lacks_is_said() -> None:
    model = onnx.load(FILES.paths["encoder"])
    model.graph.node.append(helper.make_node("NonZero", ["crop"], ["where"], "network/NonZero_99"))
    with pytest.raises(FileError, match="graph 'encoder': node 'network/NonZero_99': TensorRT has no operator NonZero"):
        check_contract(model, MODELS["encoder"])


def test_a_softmax_in_half_is_said() -> None:
    model = onnx.load(path("encoder", FP16_FILE))
    softmax = next(node for node in model.graph.node if node.op_type == "Softmax")
    model.graph.node.insert(0, helper.make_node("Cast", ["crop"], ["half_crop"], "cast", to=TensorProto.FLOAT16))
    model.graph.node.insert(1, helper.make_node("Softmax", ["half_crop"], ["odd"], softmax.name + "_odd"))
    with pytest.raises(FileError, match="computes Softmax in FP16"):
        check_precision(model)


def test_a_value_beyond_half_is_named() -> None:
    """In FP32 and in ONNX Runtime it is not seen: that is why the range is measured."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])
    chain = [
        helper.make_node("Cast", ["x"], ["h"], "in", to=TensorProto.FLOAT16),
        helper.make_node("Mul", ["h", "gain"], ["loud"], "trunk/Mul_3"),
        helper.make_node("Cast", ["loud"], ["y"], "out", to=TensorProto.FLOAT),
    ]
    gain = numpy_helper.from_array(np.array(5000, np.float16), "gain")
    model = helper.make_model(
        helper.make_graph(chain, "small", [x], [y], [gain]),
        opset_imports=[helper.make_opsetid("", contract.OPSET)],
        ir_version=10,
    )
    maxima = half_safety.activation_maxima(model, {"x": np.full((2, 4), 20, np.float32)})
    assert maxima[0] == half_safety.Activation("trunk/Mul_3", "Mul", 100_000.0)
    with pytest.raises(half_safety.HalfRangeError, match=r"small: node 'trunk/Mul_3' \(Mul\) reaches 1e\+05"):
        half_safety.check_range("small", maxima)
