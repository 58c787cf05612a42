"""Average the weights of runs that began alike: one network between them (Wortsman et al., "Model soups", ICML 2022).

    python -m train.soup --checkpoints runs/regressor/last.pt runs/regressor-likeness/last.pt --out runs/soup

Two runs that went on from one another with other weights of the losses are each better at something. Their mean is about
as good as either at both, and costs nothing. The result is a checkpoint like theirs, to be exported or begun with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor

from train import checkpoint

KINDS = ("network", "average")
"""State dicts of a checkpoint that are averaged."""


@dataclass(frozen=True)
class Options:
    """Options; each is a flag of the command line."""

    checkpoints: tuple[Path, ...]  # two or more, of the same network
    out: Path  # folder where last.pt is written
    shares: tuple[float, ...] = ()  # of each (none: equal ones)


def mean(states: list[dict[str, Tensor]], shares: list[float]) -> dict[str, Tensor]:
    """The weighted mean of state dicts; what is no number with a fraction is the last one's. ValueError where they differ in
    more than values."""
    shapes = [{name: value.shape for name, value in state.items()} for state in states]
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError("the checkpoints are of different networks: their weights differ in name or shape")
    return {
        name: sum((share * state[name] for share, state in zip(shares, states, strict=True)), torch.zeros_like(value))
        if value.is_floating_point()
        else value
        for name, value in states[-1].items()
    }


def average(options: Options) -> Path:
    """Write the mean; returns the path of the checkpoint."""
    if len(options.checkpoints) < 2:
        raise ValueError("--checkpoints: the mean of one is itself; give two or more")
    shares = list(options.shares or [1.0] * len(options.checkpoints))
    if len(shares) != len(options.checkpoints) or min(shares) < 0 or not sum(shares):
        raise ValueError(f"--shares: {len(options.checkpoints)} checkpoints need as many shares, none below 0")
    states = [checkpoint.load(path) for path in options.checkpoints]
    shares = [share / sum(shares) for share in shares]
    # Restored checkpoints (train.restore) have no weights as trained beside their average.
    both: dict[str, Any] = {kind: mean([state.get(kind, state["average"]) for state in states], shares) for kind in KINDS}
    path = options.out / checkpoint.LAST
    checkpoint.save(path, {**states[-1], **both})
    return path


if __name__ == "__main__":
    print(average(tyro.cli(Options, description=__doc__)))
