"""The exportable graphs: what `regressor` and `encoder` compute when served, and nothing else.

Both read one trained :class:`train.networks.FaceNet`; names, shapes and order of the outputs are those of
:mod:`sdk.contract`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sdk import contract
from train.networks import POSE_UNIT, FaceNet


class RegressorGraph(nn.Module):
    """crop (B, 3, 256, 256) in [0, 1] -> identity (B, 244) in [-1, 1], expression (B, 23) in [0, 1], pose (B, 2)
    degrees, and the standard deviations of each, in the same units."""

    def __init__(self, network: FaceNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, crop: Tensor) -> tuple[Tensor, ...]:
        said = self.network(crop)
        spaces, sizes = self.network.spaces, self.network.sizes[:3]
        code_sigma, expression_sigma, pose_sigma = said.log_sigma.clamp(-5, 3).exp().split(sizes, 1)
        return (
            spaces.identity(said.identity_code).clamp(-1, 1),
            said.expression.clamp(0, 1),
            said.pose * POSE_UNIT,
            spaces.identity_sigma(code_sigma),
            expression_sigma,
            pose_sigma * POSE_UNIT,
        )


class EncoderGraph(nn.Module):
    """crop (B, 3, 256, 256) in [0, 1] -> probabilities (B, n) of every style slot, then identity (B, 244) in [-1, 1]:
    the discrete and the continuous parameters of CN109902767B [0052]."""

    def __init__(self, network: FaceNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, crop: Tensor) -> tuple[Tensor, ...]:
        said = self.network(crop)
        styles = [said.styles[slot.name].softmax(1) for slot in self.network.schema.style]
        return (*styles, self.network.spaces.identity(said.identity_code).clamp(-1, 1))


def graphs(network: FaceNet) -> dict[str, nn.Module]:
    """The graphs of a trained network by model name."""
    return {"regressor": RegressorGraph(network).eval(), "encoder": EncoderGraph(network).eval()}


def write_onnx(graph: nn.Module, model: contract.Model, path: Path) -> None:
    """Export a graph with the names of its contract and a dynamic batch axis."""
    path.parent.mkdir(parents=True, exist_ok=True)
    batch = torch.export.Dim(contract.BATCH_AXIS, min=1)
    example = tuple(torch.rand(2, *tensor.shape, dtype=getattr(torch, tensor.dtype)) for tensor in model.inputs)
    torch.onnx.export(
        graph,
        example,
        path,
        input_names=list(model.input_names),
        output_names=list(model.output_names),
        opset_version=contract.OPSET,
        dynamic_shapes=tuple({0: batch} for _ in example),
        dynamo=True,
        external_data=False,
        verbose=False,
    )


def largest_difference(graph: nn.Module, model: contract.Model, path: Path, batch: int = 3) -> float:
    """Run the written file in ONNX Runtime beside the graph in torch, on random crops; the largest absolute difference.

    RuntimeError when a name or a shape is not the contract's.
    """
    import onnxruntime

    crop = np.random.default_rng(0).random((batch, *model.inputs[0].shape), np.float32)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    if names != list(model.output_names):
        raise RuntimeError(f"{path} has outputs {names}, the contract says {list(model.output_names)}")
    served = session.run(None, {model.inputs[0].name: crop})
    with torch.no_grad():
        expected = [value.numpy() for value in graph(torch.from_numpy(crop))]
    for tensor, value in zip(model.outputs, served, strict=True):
        if value.shape != (batch, *tensor.shape):
            raise RuntimeError(f"{path}: {tensor.name} has shape {value.shape}, the contract says {tensor.shape}")
    return max(float(np.abs(a - b).max()) for a, b in zip(served, expected, strict=True))
