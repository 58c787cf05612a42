"""Emphasise what sets people apart: identities that the regressor says move away from the mean of all people.

    python -m train.emphasis --checkpoint runs/regressor/last.pt --photos data/aligned/photos --by 1.15 --out runs/emphasised

A network that is trained to be right on average says less than it sees: what it is not sure of stays near the mean, and
characters come out more alike than their people. People know each other by just those differences (Rhodes, Brennan and
Carey, "Identification and ratings of caricatures", Cognitive Psychology 1987). So the code c of every identity becomes
m + by (c - m), with m the mean over photos. The change is made in the last layers: the network stays what it was, and runs go on
from it. More of it makes characters easier to recognise, and their landmarks and the identities of renders less exact."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor, nn
from tqdm import tqdm

from train import checkpoint
from train.data import PhotoShards, spaced
from train.networks import FaceNet

BATCH = 32


@dataclass(frozen=True)
class Options:
    """Options; each is a flag of the command line."""

    checkpoint: Path  # of train.regressor
    photos: str  # folder or URL of aligned photo shards
    out: Path  # folder where last.pt is written
    by: float = 1.15  # how far from the mean identities are, of how far they were
    photo_shards: str = "lfw-train-*.tar"  # which shards of --photos
    people: int = 1000  # the first photo of so many people makes the mean, at most

    def __post_init__(self) -> None:
        if self.by <= 0:
            raise ValueError(f"--by {self.by}: a factor above 0")


@torch.no_grad()
def mean_code(network: FaceNet, photos: PhotoShards, people: int) -> Tensor:
    """(K,) mean identity code over the first photos of people, evenly drawn from all."""
    chosen = photos.firsts[spaced(len(photos.firsts), people)]
    codes = []
    for part in tqdm(np.array_split(chosen, -(-len(chosen) // BATCH)), desc="mean of people"):
        codes.append(network(*photos.inputs(part)).identity_code)
    return torch.cat(codes).mean(0)


@torch.no_grad()
def emphasise(network: FaceNet, middle: Tensor, by: float) -> None:
    """Let the network's identity codes (B, K) be further from `middle` (K,), by this factor, with standard deviations as many
    times as large; in place."""
    codes = len(middle)
    _affine(network.parameters_head, codes, by, (1 - by) * middle)
    if network.likeness is not None:  # it adds to the codes, and reads them
        first, last = network.likeness.layers[0], network.likeness.layers[-1]
        read = first.weight[:, -codes:]
        first.bias += (1 - 1 / by) * (read @ middle)
        read /= by
        _affine(last, codes, by, torch.zeros_like(middle))
    network.sigma_head.bias[:codes] += math.log(by)


def _affine(layer: nn.Linear, outputs: int, factor: float, offset: Tensor) -> None:
    """Multiply the first outputs of a layer and add to them."""
    layer.weight[:outputs] *= factor
    layer.bias[:outputs] = factor * layer.bias[:outputs] + offset


def main(options: Options) -> Path:
    """Write the emphasised checkpoint; returns its path."""
    state: dict[str, Any] = checkpoint.load(options.checkpoint)
    network = checkpoint.rebuild(state)
    middle = mean_code(network, PhotoShards(options.photos, options.photo_shards), options.people)
    for average, kind in ((True, "average"), (False, "network")):
        network = checkpoint.rebuild(state, average)
        emphasise(network, middle, options.by)
        state[kind] = network.state_dict()
    path = options.out / checkpoint.LAST
    checkpoint.save(path, state)
    return path


if __name__ == "__main__":
    print(main(tyro.cli(Options, description=__doc__)))
