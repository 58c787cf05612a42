"""Graphs to ONNX files: exporting, tidying, and the two forms in which a graph is kept.

``model.onnx`` is what CPUs run: FP32, its weights stored in FP16 or INT8 and widened when ONNX Runtime loads it.
``model.fp16.onnx`` is what TensorRT builds from: strongly typed, the FP16 written into it (TensorRT 11 has no other way),
and without conditions, which would make a GPU wait for the CPU.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx.shape_inference
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

from sdk import contract

if TYPE_CHECKING:
    from torch import nn

SMALL, LARGE, LARGEST = 2**8, 2**12, 2**17
"""Weights of fewer values than the first are not worth a Cast; those of as many as the second are stored in FP16 on disk (with
smaller ones too nothing is saved, and sliders move ten times as far), and matrices of as many as the third in INT8. Sliders
move by 0.003 at most, which :mod:`export.build_engines` measures."""
GROUP = 32
"""At most so many neighbours in a row share a scale in INT8."""
FULL_ONLY = {"GridSample", "Softmax", "Sigmoid", "TopK", "Exp", "Sqrt", "Div", "Reciprocal", "Atan", "ReduceSum"}
"""Operators of coordinates and probabilities: never in FP16."""
HEAVY = {"Conv", "Gemm", "MatMul"}
NOT_IN_TENSORRT = {"NonMaxSuppression", "NonZero", "RoiAlign", "AffineGrid", "Unique", "Loop", "Scan"}


class FileError(RuntimeError):
    """An ONNX file is not what it should be; the message names the graph and what differs."""

    def __init__(self, graph: str, problem: str) -> None:
        super().__init__(f"graph {graph!r}: {problem}. Export it again: --regressor, --encoder with a checkpoint, or --align.")


def export_graph(graph: nn.Module, model: contract.Model) -> ModelProto:
    """A graph as an ONNX model with the names of its contract and a dynamic batch axis."""
    import torch  # only here: engines are built from the files without it

    batch = torch.export.Dim(contract.BATCH_AXIS, min=1, max=1024)  # that of the first input: the others' is found to be the same
    example = tuple(torch.zeros(2, *tensor.shape, dtype=getattr(torch, tensor.dtype)) for tensor in model.inputs)
    program = torch.onnx.export(
        graph,
        example,
        input_names=list(model.input_names),
        output_names=list(model.output_names),
        opset_version=contract.OPSET,
        dynamic_shapes=({0: batch}, *({0: torch.export.Dim.DYNAMIC} for _ in example[1:])),
        dynamo=True,
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    exported: ModelProto = program.model_proto
    exported.graph.name = model.name
    _tidy(exported)
    return exported


def save(model: ModelProto, path: Path) -> None:
    """Check a model and write it."""
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)


def compact_weights(model: ModelProto, kernels: bool = False) -> ModelProto:
    """A copy that stores in FP16 those FP32 weights that are large or that FP16 holds exactly, and the largest matrices in INT8,
    with the way back to FP32 behind each, which ONNX Runtime takes once, at load time. `kernels`: the largest kernels, too."""
    copy = ModelProto()
    copy.CopyFrom(model)
    for graph, _ in _graphs(copy.graph, ""):
        back: list[NodeProto] = []
        added: list[TensorProto] = []
        for weight in graph.initializer:
            full = numpy_helper.to_array(weight)
            if weight.data_type != TensorProto.FLOAT or full.size < SMALL:
                continue
            if full.size >= LARGEST and (full.ndim == 2 or (kernels and full.ndim == 4)):
                nodes_back, stored, scale, shape = _in_bytes(weight.name, full)
                back += nodes_back
                added += [scale, shape]
                weight.CopyFrom(stored)
                continue
            values, name = full.astype(np.float16), f"{weight.name}/half"
            if (values != full).any() and full.size < LARGE:
                continue
            back.append(helper.make_node("Cast", [name], [weight.name], f"{weight.name}/Cast", to=TensorProto.FLOAT))
            weight.CopyFrom(numpy_helper.from_array(values, name))
        graph.initializer.extend(added)
        nodes = [*back, *graph.node]
        del graph.node[:]
        graph.node.extend(nodes)
    return copy


def _in_bytes(name: str, full: NDArray[Any]) -> tuple[list[NodeProto], TensorProto, TensorProto, TensorProto]:
    """A matrix or kernel in INT8, groups of neighbours in a row (what makes one output) with a scale each in FP16: the nodes that
    restore it, what they read."""
    rows, columns = len(full), full[0].size
    group = max(size for size in range(1, GROUP + 1) if columns % size == 0)
    values = full.reshape(rows, columns // group, group)
    scale = np.maximum(np.abs(values).max(2, keepdims=True) / 127, np.finfo(np.float16).tiny).astype(np.float16)
    stored, widened, factor, scaled = (f"{name}/{what}" for what in ("bytes", "widened", "factor", "scaled"))
    nodes_back = [
        helper.make_node("Cast", [stored], [widened], f"{name}/Cast", to=TensorProto.FLOAT),
        helper.make_node("Cast", [f"{name}/scale"], [factor], f"{name}/CastScale", to=TensorProto.FLOAT),
        helper.make_node("Mul", [widened, factor], [scaled], f"{name}/Mul"),
        helper.make_node("Reshape", [scaled, f"{name}/shape"], [name], f"{name}/Reshape"),
    ]
    tensors = {
        stored: np.round(values / scale.astype(np.float32)).clip(-127, 127).astype(np.int8),
        f"{name}/scale": scale,
        f"{name}/shape": np.array(full.shape, np.int64),
    }
    return nodes_back, *(numpy_helper.from_array(value, key) for key, value in tensors.items())  # type: ignore[return-value]


def without_conditions(model: ModelProto) -> ModelProto:
    """A copy that always takes the first branch of each condition: those of :func:`train.warp.branch` only skip work that no
    picture of the batch needs, so the answers are the same."""
    copy = ModelProto()
    copy.CopyFrom(model)
    nodes = list(_inlined(model.graph))
    needed = {value.name for value in model.graph.output}
    kept = []
    for node in reversed(nodes):  # what computed the conditions is no longer needed
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
    del copy.graph.node[:]
    copy.graph.node.extend(reversed(kept))
    weights = [w for graph, _ in _graphs(model.graph, "") for w in graph.initializer if w.name in needed]
    del copy.graph.initializer[:]
    copy.graph.initializer.extend(weights)
    return copy


def check_contract(model: ModelProto, wanted: contract.Model) -> None:
    """FileError unless inputs, outputs and operator set are the contract's, and no operator is one that TensorRT lacks."""
    for kind, values, tensors in (("input", model.graph.input, wanted.inputs), ("output", model.graph.output, wanted.outputs)):
        found = {value.name: _described(value) for value in values}
        for tensor in tensors:
            should = f"{tensor.dtype} [{', '.join(map(str, (contract.BATCH_AXIS, *tensor.shape)))}]"
            if found.get(tensor.name) != should:
                raise FileError(wanted.name, f"{kind} {tensor.name!r} should be {should}, is {found.get(tensor.name, 'missing')}")
    opset = {one.domain: one.version for one in model.opset_import}.get("")
    if opset != contract.OPSET:
        raise FileError(wanted.name, f"operator set {contract.OPSET} expected, found {opset}")
    for node in nodes(model.graph):
        if node.op_type in NOT_IN_TENSORRT:
            raise FileError(wanted.name, f"node {node.name!r}: TensorRT has no operator {node.op_type}")


def check_precision(model: ModelProto) -> None:
    """FileError unless some layers are in FP16, and none of the operators of :data:`FULL_ONLY` is."""
    half = half_tensors(model)
    for node in nodes(model.graph):
        if node.op_type in FULL_ONLY and half.intersection((*node.input, *node.output)):
            raise FileError(model.graph.name, f"node {node.name!r} computes {node.op_type} in FP16, which is too coarse for it")
    if not half_layers(model):
        raise FileError(model.graph.name, "no layer is in FP16")


def half_tensors(model: ModelProto) -> set[str]:
    """Names of all tensors in FP16: weights, and what nodes compute."""
    typed = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    computed = {value.name for value in typed.value_info if value.type.tensor_type.elem_type == TensorProto.FLOAT16}
    return computed | {weight.name for weight in typed.initializer if weight.data_type == TensorProto.FLOAT16}


def half_layers(model: ModelProto) -> list[str]:
    """Names of the convolutions and matrix products in FP16."""
    half = half_tensors(model)
    return [node.name for node in model.graph.node if node.op_type in HEAVY and node.output[0] in half]


def nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """All nodes of a graph, those in its conditions included."""
    for inner, _ in _graphs(graph, ""):
        yield from inner.node


def _described(value: ValueInfoProto) -> str:
    """Type and shape, as "float32 [batch, 244]"."""
    kind = value.type.tensor_type
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)).name
    return f"{dtype} [{', '.join(str(size.dim_param or size.dim_value) for size in kind.shape.dim)}]"


def _inlined(graph: GraphProto) -> Iterator[NodeProto]:
    """The nodes of a graph, with those of the first branch in place of each condition."""
    for node in graph.node:
        if node.op_type != "If":
            yield node
            continue
        branch = next(attribute.g for attribute in node.attribute if attribute.name == "then_branch")
        own = {name: f"{node.name}/{name}" for inner in branch.node for name in inner.output if name}
        own |= dict(zip((value.name for value in branch.output), node.output, strict=True))
        for inner in _inlined(branch):
            renamed = NodeProto()
            renamed.CopyFrom(inner)
            for names in (renamed.input, renamed.output):
                names[:] = [own.get(name, name) for name in names]
            yield renamed


def _tidy(model: ModelProto) -> None:
    """Finish the exporter's work: name nodes after the modules they come from, drop what is not used and notes for debugging
    (10 of 14 MB of `align`), and put right what it leaves undone inside of conditions."""
    graphs = list(_graphs(model.graph, ""))
    weights = {constant.name: constant for constant in model.graph.initializer}
    numbers = itertools.count()
    for graph, parent in graphs:
        for node in graph.node:
            node.name = f"{_module(node) or parent}/{node.op_type}_{next(numbers)}".lstrip("/")
            del node.metadata_props[:]
            node.doc_string = ""
            for attribute in node.attribute:
                if node.op_type == "GridSample" and attribute.s == b"bilinear":
                    attribute.s = b"linear"  # opset 20's name; the exporter converts only nodes outside of conditions
        if graph is not model.graph:
            _own_weights(graph, weights)
    used = {name for graph, _ in graphs for node in graph.node for name in node.input}
    for graph, _ in graphs:
        for constant in [value for value in graph.initializer if value.name not in used]:
            graph.initializer.remove(constant)
        for value in (*graph.input, *graph.output, *graph.initializer):
            del value.metadata_props[:]
        del graph.value_info[:]
        del graph.metadata_props[:]


def _own_weights(graph: GraphProto, weights: Mapping[str, TensorProto]) -> None:
    """Copy the weights of a condition's convolutions into it: ONNX Runtime leaves convolutions slow (a third of the speed)
    whose weights lie outside."""
    for node in (node for node in graph.node if node.op_type == "Conv"):
        for i, name in enumerate(node.input):
            if name in weights:
                own = TensorProto()
                own.CopyFrom(weights[name])
                own.name = node.input[i] = f"{node.name}/{name}"
                graph.initializer.append(own)


def _graphs(graph: GraphProto, module: str) -> Iterator[tuple[GraphProto, str]]:
    """A graph and those of the conditions in it, each with the module that it belongs to."""
    yield graph, module
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g, _module(node) or module)


def _module(node: NodeProto) -> str:
    """Path of the module that a node was exported from; empty if the exporter does not know."""
    notes = {note.key: note.value for note in node.metadata_props}
    scopes = [scope for scope in ast.literal_eval(notes.get("pkg.torch.onnx.name_scopes", "[]")) if scope]
    return str(scopes[-2]).replace(".", "/") if len(scopes) > 1 else ""  # the last scope is the operation itself
