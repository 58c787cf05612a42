"""Checkpoints of training: everything needed to go on, or to build the trained network alone.

A checkpoint is one ``torch.save`` file of plain dicts and tensors (loaded with ``weights_only=True``): ``network``
and ``average`` (state dicts: as trained, and its moving average, which is what gets exported), ``optimiser``,
``geometry`` (see :class:`train.regressor.Geometry`), ``description`` (preset and schema), ``step``, ``seconds``,
``options``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sdk.schema import Schema
from train.networks import FaceNet, Preset

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
    preset = {name: tuple(v) if isinstance(v, list) else v for name, v in description["preset"].items()}
    network = FaceNet(Preset(**preset), Schema.from_json(description["schema"]))
    network.load_state_dict(state["average" if average else "network"])
    return network.eval()


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
