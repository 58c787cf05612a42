"""The `align` model: :class:`train.alignment.Aligner` as one ONNX file.

python -m export.align            # writes model_repository/align/1/model.onnx
"""

from __future__ import annotations

import ast
import itertools
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

from sdk import contract
from train.alignment import Aligner

DEFAULT_PATH = Path(__file__).parent.parent / "model_repository/align/1/model.onnx"
MAX_BATCH = 64
TOLERANCE = 2e-3
"""Largest difference from PyTorch, in each output's own unit (pixels, degrees, shares of one)."""

_log = logging.getLogger(__name__)


def export_align(path: Path) -> None:
    """Write the `align` model to ``path`` and run it once beside PyTorch.

    Raises:
        RuntimeError: the file written gives other results than the module. It is left for inspection.
    """
    aligner = Aligner().eval()
    path.parent.mkdir(parents=True, exist_ok=True)
    example = torch.zeros(2, *contract.CANVAS.shape, dtype=torch.uint8)
    program = torch.onnx.export(
        aligner,
        (example,),
        dynamo=True,
        opset_version=contract.OPSET,
        input_names=list(contract.ALIGN.input_names),
        output_names=list(contract.ALIGN.output_names),
        dynamic_shapes=({0: torch.export.Dim(contract.BATCH_AXIS, min=1, max=MAX_BATCH)},),
        verbose=False,
    )
    if program is None:
        raise RuntimeError("torch.onnx.export returned nothing")
    model = program.model_proto
    model.graph.name = contract.ALIGN.name
    _tidy(model)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    check_parity(aligner, path)
    _log.info("%s: %d nodes, %.1f MB", path, len(model.graph.node), path.stat().st_size / 1e6)


def check_parity(aligner: Aligner, path: Path) -> None:
    """Compare the file with the module on a smooth picture; :class:`RuntimeError` names the output that differs."""
    rng = np.random.default_rng(0)
    colours = torch.from_numpy(rng.uniform(0, 255, (2, 3, 8, 8)).astype(np.float32))
    size = contract.CANVAS.shape[:2]
    canvas = torch.nn.functional.interpolate(colours, size=size, mode="bicubic").clamp(0, 255).byte().permute(0, 2, 3, 1)
    with torch.no_grad():
        expected = aligner(canvas)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(None, {contract.CANVAS.name: canvas.numpy()})
    for name, a, b in zip(contract.ALIGN.output_names, expected, found, strict=True):
        difference = float(np.abs(a.numpy() - b).max())
        if difference > TOLERANCE:
            raise RuntimeError(f"{path}: output {name!r} differs from PyTorch by {difference:.2g}")


def _tidy(model: onnx.ModelProto) -> None:
    """Finish the exporter's work: name nodes after the modules they come from, drop what is not used and notes for debugging
    (10 of 14 MB), and put right what it leaves undone inside of conditions."""
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


def _own_weights(graph: onnx.GraphProto, weights: Mapping[str, onnx.TensorProto]) -> None:
    """Copy the weights of a condition's convolutions into it: ONNX Runtime leaves convolutions slow (a third of the speed)
    whose weights lie outside."""
    for node in (node for node in graph.node if node.op_type == "Conv"):
        for i, name in enumerate(node.input):
            if name in weights:
                own = onnx.TensorProto()
                own.CopyFrom(weights[name])
                own.name = node.input[i] = f"{node.name}/{name}"
                graph.initializer.append(own)


def _graphs(graph: onnx.GraphProto, module: str) -> Iterator[tuple[onnx.GraphProto, str]]:
    """A graph and those of the conditions in it, each with the module that it belongs to."""
    yield graph, module
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g, _module(node) or module)


def _module(node: onnx.NodeProto) -> str:
    """Path of the module that a node was exported from; empty if the exporter does not know."""
    notes = {note.key: note.value for note in node.metadata_props}
    scopes = [scope for scope in ast.literal_eval(notes.get("pkg.torch.onnx.name_scopes", "[]")) if scope]
    return str(scopes[-2]).replace(".", "/") if len(scopes) > 1 else ""  # the last scope is the operation itself


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    export_align(DEFAULT_PATH)
