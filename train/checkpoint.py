"""Checkpoints of training: everything needed to go on, or to build the trained network alone.

A checkpoint is one ``torch.save`` file of plain dicts and tensors (loaded with ``weights_only=True``): ``network``
and ``average`` (state dicts: as trained, and its moving average, which is what gets exported), ``optimiser``,
``geometry`` (see :class:`train.regressor.Geometry`), ``description`` (preset and schema), ``step``, ``seconds``,
``options``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sdk.schema import Schema
from train import bisenet, light_cnn
from train.networks import FaceNet, Preset
from train.presets import restored

LAST = "last.pt"
BEST = "best.pt"


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint so that ``path`` is always whole, even if the process dies while writing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    torch.save(state, temporary)
    temporary.rename(path)


def load(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU. FileNotFoundError names the path."""
    return torch.load(path, map_location="cpu", weights_only=True)


def rebuild(state: dict[str, Any], average: bool = True) -> FaceNet:
    """The network of a checkpoint in evaluation mode: its moving average, or the weights as trained."""
    description = state["description"]
    of_segmenter, of_recogniser = description.get("segmenter"), description.get("recogniser")
    segmenter = bisenet.of_description(of_segmenter) if of_segmenter else None
    recogniser = light_cnn.rebuild(of_recogniser) if of_recogniser else None
    network = FaceNet(restored(Preset, description["preset"]), segmenter, recogniser, Schema.from_json(description["schema"]))
    network.load_state_dict(state["average" if average else "network"])
    return network.eval()


@torch.no_grad()
def take_over(network: nn.Module, values: Mapping[str, Tensor]) -> list[str]:
    """Let a network begin with the weights of another, by name. Where it has more inputs, behind those of the other, they
    begin with no weight. What only one of the two has stays as it is. Returns the names of what the network keeps of its own."""
    own = network.state_dict()
    for name in own.keys() & values.keys():
        mine, other = own[name], values[name]
        if mine.ndim != other.ndim or any(m < o for m, o in zip(mine.shape, other.shape, strict=True)):
            raise ValueError(f"{name} {tuple(other.shape)} does not fit into {tuple(mine.shape)}: those networks differ in more")
        if mine.shape != other.shape:
            mine.zero_()
        mine[tuple(slice(side) for side in other.shape)] = other
    return sorted(own.keys() - values.keys())


class MovingAverage:
    """Exponential moving average of a network's weights and batch-norm statistics.

    The rate starts low, so that the first steps are forgotten quickly: min(decay, (1 + n) / (10 + n)) after n steps.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values: dict[str, Tensor] = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the network after step number ``step``."""
        rate = 1 - min(self.decay, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            mine = self.values[name]
            if mine.is_floating_point():
                mine.lerp_(value, rate)
            else:
                mine.copy_(value)
