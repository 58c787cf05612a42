"""The `align` model: :class:`train.alignment.Aligner` as one ONNX file.

python -m export.align            # writes model_repository/align/1/model.onnx
"""

from __future__ import annotations

import ast
import logging
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
    _tidy(model.graph)
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


def _tidy(graph: onnx.GraphProto, parent: str = "") -> None:
    """Name nodes after the modules they come from, drop the exporter's notes for debugging (10 of 14 MB), and finish its work."""
    for number, node in enumerate(graph.node):
        notes = {note.key: note.value for note in node.metadata_props}
        scopes = [scope for scope in ast.literal_eval(notes.get("pkg.torch.onnx.name_scopes", "[]")) if scope]
        module = scopes[-2].replace(".", "/") if len(scopes) > 1 else parent  # the last scope is the operation itself
        node.name = "/".join(part for part in (module, f"{node.op_type}_{number}") if part)
        del node.metadata_props[:]
        node.doc_string = ""
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _tidy(attribute.g, module)
            elif node.op_type == "GridSample" and attribute.s == b"bilinear":
                attribute.s = b"linear"  # opset 20's name; the exporter converts only nodes outside of conditions
    del graph.value_info[:]
    for value in (*graph.input, *graph.output, *graph.initializer):
        del value.metadata_props[:]
    del graph.metadata_props[:]


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    export_align(DEFAULT_PATH)
