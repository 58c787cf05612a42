"""The smallest task there is, for tests of the loop: a line through points. Run by torchrun as well."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from train.loop import Loop, LoopOptions, Task


class Points(Dataset[dict[str, Tensor]]):
    """Batch n of process r of w: 4 points, those that batch n of one process of 4 * w would have."""

    def __init__(self, rank: int, world: int) -> None:
        self.rank, self.world = rank, world

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        points = [torch.randn(3, generator=torch.Generator().manual_seed(self.first(number) + i)) for i in range(4)]
        x = torch.stack(points)
        return {"x": x, "y": x @ torch.tensor([[1.0], [-2.0], [3.0]]) + 0.5}

    def first(self, number: int) -> int:
        return 4 * (number * self.world + self.rank)


class LineTask(Task):
    def __init__(self, scores: list[float] | None = None) -> None:
        self.network = nn.Linear(3, 1)
        self.scores = iter(scores or [])
        self.seen: list[float] = []

    def batches(self, rank: int, world: int) -> Points:
        return Points(rank, world)

    def losses(self, module: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        loss = (module(batch["x"]) - batch["y"]).square().mean()
        self.seen.append(float(loss.detach()))
        return {"loss": loss}

    def description(self) -> dict[str, Any]:
        return {"inputs": 3}

    def evaluate(self) -> dict[str, float]:
        return {"score": next(self.scores, 0.0)}


if __name__ == "__main__":
    devices, accumulate = int(sys.argv[2]), int(sys.argv[3])
    options = LoopOptions(out=Path(sys.argv[1]), steps=5, warm_up=1, workers=0, devices=devices, accumulate=accumulate, threads=1)
    Loop(options, lambda resumed: LineTask()).run()
