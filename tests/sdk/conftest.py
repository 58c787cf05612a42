"""Photos and tiny models for the client's tests.

The photos are the public-domain portrait of scikit-image and what users do to pictures. The models are stand-ins with
the true inputs and outputs: they make the client's logic testable in milliseconds and independently of any weights.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import skimage.data
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from sdk import contract
from sdk.quality import FACE_OVAL
from sdk.schema import REFERENCE

Encode = Callable[..., bytes]


@pytest.fixture(scope="session")
def astronaut() -> NDArray[np.uint8]:
    """(512, 512, 3) uint8 RGB, read-only: one large face, smiling, almost frontal."""
    picture = skimage.data.astronaut()
    picture.flags.writeable = False
    return picture


@pytest.fixture(scope="session")
def encode() -> Encode:
    """`encode(pixels or Pillow image, "JPEG", **options) -> bytes`, by Pillow: not the decoder under test."""

    def encode(picture: NDArray[Any] | Image.Image, format: str, **options: Any) -> bytes:
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        file = io.BytesIO()
        image.save(file, format, **options)
        return file.getvalue()

    return encode


@pytest.fixture(scope="session")
def pattern() -> Callable[[int, int], NDArray[np.uint8]]:
    """`pattern(height, width)`: a bright picture of 40 random squares along its longer side; the same at every size."""

    def pattern(height: int, width: int) -> NDArray[np.uint8]:
        squares = np.random.default_rng(0).integers(150, 256, (40, 40, 3), np.uint8)
        rows, columns = (np.arange(size) * 40 // max(height, width) for size in (height, width))
        return squares[rows[:, None], columns]

    return pattern


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository of stand-ins: see `tiny_align`, `tiny_regressor` and `tiny_encoder`."""
    root = tmp_path_factory.mktemp("models")
    (root / "schema.json").write_text(REFERENCE.to_json())
    for model in (tiny_align(), tiny_head(contract.regressor()), tiny_head(contract.encoder())):
        write_model(root, model)
    return root


@pytest.fixture(scope="session")
def tiny_landmarks() -> NDArray[np.float32]:
    """The landmarks (468, 3) that the tiny `align` reports in every crop."""
    return face_landmarks()


@pytest.fixture(scope="session")
def write_tiny() -> Callable[[Path, onnx.ModelProto], None]:
    """`write_model`, for tests that break one."""
    return write_model


def write_model(root: Path, model: onnx.ModelProto) -> None:
    """Write a model into a repository; the graph's name is the model's."""
    path = root / model.graph.name / "1" / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)


def face_landmarks() -> NDArray[np.float32]:
    """(468, 3): points all over the ellipse of a frontal face, its outline where FaceMesh has it."""
    turn = np.arange(contract.LANDMARKS) * 2.39996
    radius = np.sqrt((np.arange(contract.LANDMARKS) + 0.5) / contract.LANDMARKS)
    turn[list(FACE_OVAL)] = np.linspace(-0.5, 1.5, len(FACE_OVAL), endpoint=False) * np.pi
    radius[list(FACE_OVAL)] = 1
    points = np.stack([128 + 62 * radius * np.cos(turn), 150 + 85 * radius * np.sin(turn), 60 * radius**2], 1)
    return points.astype(np.float32)


def tiny_align() -> onnx.ModelProto:
    """Crops the middle; finds a face in each bright quarter of the canvas, the main one in the top quarter."""
    size, crop = contract.CANVAS_SIZE, contract.CROP_SIZE
    start = (size - crop) // 2
    boxes = np.array([[start + 10 * i, start, start + crop, start + crop] for i in range(4)], np.float32)
    constants = {
        "bounds_start": np.array([start, start]),
        "bounds_end": np.array([start + crop, start + crop]),
        "bounds_axes": np.array([2, 3]),
        "channel_and_column": np.array([1, 3]),
        "gain": np.float32(10),
        "dark": np.float32(0.25),
        "first": np.array([0]),
        "column": np.array([1]),
        "last": np.array([2]),
        "white": np.float32(255),
        "none": np.float32(0),
        "one": np.float32(1),
        "landmarks_of_one": face_landmarks()[None],
        "transform_of_one": np.array([[[1, 0, -start], [0, 1, -start]]], np.float32),
        "boxes_of_one": boxes[None],
        "ones": np.ones((1, 1, crop, crop), np.float32),
    }
    nodes = [
        node("Cast", "canvas", "pixels", to=TensorProto.FLOAT),
        node("Transpose", "pixels", "planes", perm=[0, 3, 1, 2]),
        node("Div", "planes white", "picture"),
        node("Slice", "picture bounds_start bounds_end bounds_axes", "crop"),
        node("AveragePool", "picture", "quarters", kernel_shape=[size // 4, size], strides=[size // 4, size]),
        node("ReduceMean", "quarters channel_and_column", "grey", keepdims=0),
        node("Sub", "grey dark", "above_dark"),
        node("Mul", "above_dark gain", "bright"),
        node("Clip", "bright none one", "scores"),  # (B, 4)
        node("Gather", "scores first", "main", axis=1),
        node("Squeeze", "main column", "detector_score"),
        node("Identity", "detector_score", "mesh_score"),
        node("Mul", "detector_score none", "roll"),
        node("Unsqueeze", "roll column", "zero_2d"),
        node("Unsqueeze", "zero_2d last", "zero_3d"),
        node("Unsqueeze", "zero_3d last", "zero_4d"),
        node("Add", "zero_3d landmarks_of_one", "landmarks"),
        node("Add", "zero_3d transform_of_one", "transform"),
        node("Add", "zero_3d boxes_of_one", "boxes"),
        node("Unsqueeze", "scores last", "score_column"),
        node("Concat", "boxes score_column", "faces", axis=2),
        node("Add", "zero_4d ones", "mask"),
    ]
    return build(contract.ALIGN, nodes, constants)


def tiny_head(model: contract.Model) -> onnx.ModelProto:
    """Random linear maps of the crop's 8 x 8 colour means, each squashed into its output's range. Landmarks are taken as well."""
    rng = np.random.default_rng(len(model.outputs))
    constants: dict[str, NDArray[Any]] = {"half": np.float32(0.5)}
    nodes = [
        node("AveragePool", "crop", "means", kernel_shape=[32, 32], strides=[32, 32]),
        node("Sub", "means half", "centred"),
        node("Flatten", "centred", "features"),
    ]
    for tensor in model.outputs:
        name = tensor.name
        constants[f"{name}_weight"] = rng.normal(0, 0.3, (3 * 64, *tensor.shape)).astype(np.float32)
        nodes.append(node("MatMul", f"features {name}_weight", f"{name}_raw"))
        if name in {contract.style_name(slot.name) for slot in REFERENCE.style}:
            nodes.append(node("Softmax", f"{name}_raw", name, axis=-1))
        elif name == "pose":
            constants["degrees"] = np.float32(20)
            nodes += [node("Tanh", f"{name}_raw", "pose_unit"), node("Mul", "pose_unit degrees", name)]
        else:
            nodes.append(node("Tanh" if name == "identity" else "Sigmoid", f"{name}_raw", name))
    return build(model, nodes, constants)


def node(operator: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    """One node; the names of its inputs are separated by spaces."""
    return helper.make_node(operator, inputs.split(), [output], **attributes)


def build(model: contract.Model, nodes: list[onnx.NodeProto], constants: dict[str, Any]) -> onnx.ModelProto:
    """The ONNX model of a graph with the inputs and outputs of the contract."""

    def value(tensor: contract.Tensor) -> onnx.ValueInfoProto:
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
        return helper.make_tensor_value_info(tensor.name, kind, [contract.BATCH_AXIS, *tensor.shape])

    weights = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    inputs, outputs = [value(t) for t in model.inputs], [value(t) for t in model.outputs]
    graph = helper.make_graph(nodes, model.name, inputs, outputs, weights)
    built = helper.make_model(graph, opset_imports=[helper.make_opsetid("", contract.OPSET)], ir_version=10)
    onnx.checker.check_model(built, full_check=True)
    return built
