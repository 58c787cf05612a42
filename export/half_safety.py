"""Is FP16 safe for a graph? Checked on every machine, with no GPU.

*Range*: every tensor that the mixed-precision file keeps in FP16 is computed in FP32 on real photos and renders, and its
largest value must lie below FP16's 65,504 with margin. ONNX Runtime cannot find an overflow otherwise: on a CPU it computes FP16
operators in FP32.

*Accuracy*: the mixed file against the FP32 file in ONNX Runtime, and, where the graphs themselves are at hand, torch in half
against torch in FP32, which rounds after every operator as a GPU does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from export.onnx_files import half_tensors, nodes

if TYPE_CHECKING:
    from torch import nn

Inputs = Mapping[str, NDArray[Any]]
"""Values (N, ...) of a graph's inputs by name, in the order of its contract."""
LARGEST_HALF = float(np.finfo(np.float16).max)
MARGIN = 4.0
"""How far below FP16's largest value measured activations must stay: photos that were not measured are louder."""


class Activation(NamedTuple):
    """The largest absolute value that a node's FP16 output takes."""

    node: str
    operator: str
    largest: float

    @property
    def margin(self) -> float:
        """How many times it fits below FP16's largest value."""
        return LARGEST_HALF / max(self.largest, 1e-9)


class HalfRangeError(RuntimeError):
    """A value does not fit into FP16 with margin; the message names graph and node."""


def one_by_one(inputs: Inputs) -> Iterator[dict[str, NDArray[Any]]]:
    """The inputs as batches of 1."""
    for i in range(len(next(iter(inputs.values())))):
        yield {name: values[i : i + 1] for name, values in inputs.items()}


def activation_maxima(mixed: ModelProto, inputs: Inputs) -> list[Activation]:
    """The FP16 tensors of a mixed-precision model, computed in FP32; the largest first."""
    widened, half = _widened(mixed), half_tensors(mixed)
    producers = {name: node for node in widened.graph.node for name in node.output}
    names = [name for name in producers if name in half]
    for name in names:
        widened.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(widened.SerializeToString(), options, providers=["CPUExecutionProvider"])
    largest = np.zeros(len(names))
    for one in one_by_one(inputs):
        values = session.run(names, one)
        largest = np.maximum(largest, [np.abs(value).max() for value in values])
    found = [Activation(producers[n].name, producers[n].op_type, float(v)) for n, v in zip(names, largest, strict=True)]
    return sorted(found, key=lambda activation: -activation.largest)


def check_range(graph: str, maxima: Sequence[Activation]) -> None:
    """HalfRangeError unless all maxima stay below FP16's largest value with :data:`MARGIN`."""
    for loud in maxima:
        if not loud.margin >= MARGIN:  # also where it is not a number
            raise HalfRangeError(
                f"{graph}: node {loud.node!r} ({loud.operator}) reaches {loud.largest:.4g}, and FP16 ends at {LARGEST_HALF:.0f}, "
                f"less than {MARGIN:g} times as much. Keep its module in FP32 in export/graphs.py, or scale its weights."
            )


def run_torch(graph: nn.Module, inputs: Inputs) -> list[NDArray[Any]]:
    """Outputs of a graph in torch on the CPU, picture by picture."""
    import torch  # only where graphs are exported; files are checked without it

    with torch.no_grad():
        rows = [graph(*map(torch.from_numpy, one.values())) for one in one_by_one(inputs)]
    return [torch.cat(values).numpy() for values in zip(*rows, strict=True)]


def run_onnx(model: ModelProto | str, inputs: Inputs) -> list[NDArray[Any]]:
    """Outputs of an ONNX model or file on the CPU, picture by picture."""
    source = model if isinstance(model, str) else model.SerializeToString()
    session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    rows = [session.run(None, one) for one in one_by_one(inputs)]
    return [np.concatenate(values) for values in zip(*rows, strict=True)]


def _widened(model: ModelProto) -> ModelProto:
    """The model with FP32 wherever it says FP16."""
    copy = ModelProto()
    copy.CopyFrom(model)
    for weight in copy.graph.initializer:
        if weight.data_type == TensorProto.FLOAT16:
            weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float32), weight.name))
    for node in nodes(copy.graph):
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
            elif attribute.HasField("t") and attribute.t.data_type == TensorProto.FLOAT16:
                attribute.t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(attribute.t).astype(np.float32)))
    return copy
