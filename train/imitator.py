"""Train the imitator: parameters -> the studio's picture, from pairs that the game rendered (CN112200236A [0090]).

    python -m train.studio --out DIR --count 25000 --workers 2                              # the pairs
    python -m train.imitator --data DIR --out DIR --minutes 240 --devices 2 --threads 1    # two cores
    python -m train.imitator --data DIR --out DIR --preset decoder --steps 20000           # that of CN109902767B

The loss is [0091]'s, L_G = L_app + w L_per: L1 on pixels, and a distance in the features of a perceptual network. The
preset ``decoder`` is trained as CN109902767B [0060] says: L1 alone, by stochastic gradient descent. Stopping and
starting again with the same ``--out`` resumes where the last checkpoint stands."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import tyro
from torch import Tensor, nn
from torch.utils.data import Dataset

from sdk.contract import CROP_SIZE
from sdk.schema import REFERENCE, Schema
from train.data import Shards, drawn, to_float
from train.imitator_network import PRESETS, Decoder, Imitator, build, describe, one_hot
from train.loop import Loop, LoopOptions, Task
from train.perceptual import Perceptual

log = logging.getLogger(__name__)

WINDOW = 128
"""Side in pixels of the part of each picture that the perceptual network sees in a step: another one every time, so that
on average it sees all, at a quarter of the cost."""
PARAMETERS = ("identity", "expression", "pose", "style")


@dataclass(frozen=True, kw_only=True)
class Options(LoopOptions):
    """Options of training; each is a flag of the command line."""

    data: str  # folder or URL of shards by train.studio
    hold_out: int = 1  # this many last shards are kept for measuring
    preset: str = "cpu"  # tiny, cpu, gpu, decoder
    batch: int = 16  # pictures per process
    learning_rate: float = 0.0  # 0: the preset's own
    perceptual: Literal["efficientnet", "vgg", "none"] = "efficientnet"  # F of L_per; none for the preset decoder
    perceptual_weight: float = 0.05  # w of L_per
    measured: int = 256  # held-out pictures that an evaluation measures


class StudioShards(Shards):
    """Pictures of the studio: identity (N, 244), expression (N, 23), pose (N, 2) degrees, style (N, slots) option numbers,
    uniform (N,) bool: whether every parameter was drawn uniformly, or a plausible person."""

    schema: Schema = REFERENCE

    def _labels(self, entry: Any) -> dict[str, Any]:
        fields = entry.json()
        labels: dict[str, Any] = {name: np.array(fields[name], np.float32) for name in ("identity", "expression", "pose")}
        labels["style"] = np.array([slot.index(fields["style"][slot.name]) for slot in self.schema.style], np.int64)
        labels["uniform"] = int(entry.key) % 2 == 1
        return labels

    def batch(self, indices: npt.NDArray[np.intp]) -> dict[str, Tensor]:
        """Samples: ``picture`` uint8 (B, 256, 256, 3), and the parameters, ``style`` as option numbers (B, slots)."""
        rows = {name: self.arrays[name][indices] for name in PARAMETERS}
        rows["picture"] = np.stack([self.picture(int(i)) for i in indices])
        return {name: torch.from_numpy(values) for name, values in rows.items()}


class StudioBatches(Dataset[dict[str, Tensor]]):
    """Item *n* is batch number *n* of one process: :meth:`StudioShards.batch`, and ``corner`` (2,), row and column of the
    perceptual network's window."""

    def __init__(self, shards: StudioShards, size: int, seed: int, rank: int = 0, world: int = 1) -> None:
        self.shards, self.size, self.seed, self.rank, self.world = shards, size, seed, rank, world

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        turn = number * self.world + self.rank
        batch = self.shards.batch(drawn(len(self.shards), self.seed, 1, turn, self.size))
        corner = np.random.default_rng((self.seed, turn)).integers(0, CROP_SIZE - WINDOW + 1, 2)
        return {**batch, "corner": torch.from_numpy(corner)}


class ImitatorTask(Task):
    """An imitator or decoder, and [0091]'s loss."""

    def __init__(self, options: Options) -> None:
        self.options = options
        shards = StudioShards(options.data)
        last = shards.held_out(options.hold_out)
        self.shards, self.held_out = shards.part(~last), shards.part(last)
        self.network: Imitator | Decoder = build(options.preset)
        self.plain = isinstance(self.network, Decoder)
        self.perceptual = None if self.plain or options.perceptual == "none" else Perceptual(options.perceptual)

    def batches(self, rank: int, world: int) -> StudioBatches:
        return StudioBatches(self.shards, self.options.batch, self.options.seed, rank, world)

    def optimiser(self, groups: list[dict[str, Any]], learning_rate: float) -> torch.optim.Optimizer:
        if self.plain:
            # Without weight decay: beside the small gradients of a mean over pixels it would be all there is.
            return torch.optim.SGD([{**group, "weight_decay": 0.0} for group in groups], learning_rate, momentum=0.9)
        return super().optimiser(groups, learning_rate)

    def to(self, device: torch.device) -> None:
        self.device = device
        if self.perceptual is not None:
            self.perceptual.to(device, memory_format=torch.channels_last)

    def losses(self, module: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        real, made = to_float(batch["picture"]), module(*inputs(batch))
        losses = {"appearance": (made - real).abs().mean()}
        if self.perceptual is None:
            return {**losses, "loss": losses["appearance"]}
        row, column = batch["corner"].tolist()
        window = (..., slice(row, row + WINDOW), slice(column, column + WINDOW))
        losses["perceptual"] = self.perceptual(made[window], real[window]).mean()
        return {**losses, "loss": losses["appearance"] + self.options.perceptual_weight * losses["perceptual"]}

    def description(self) -> dict[str, Any]:
        return describe(self.network)

    def fingerprint(self) -> dict[str, Any]:
        return {"pictures": len(self.shards), "held_out": len(self.held_out)}

    def evaluate(self) -> dict[str, float]:
        indices = np.arange(min(self.options.measured, len(self.held_out)))
        measures = measure(self.network, self.held_out, indices, self.device)
        uniform = self.held_out.arrays["uniform"][indices]
        means = {
            f"{name} {kind}": float(values[of].mean())
            for name, values in measures.items()
            for kind, of in (("plausible", ~uniform), ("uniform", uniform))
            if of.any()
        }
        return {**means, "score": float(measures["psnr"].mean())}

    def sheet(self) -> npt.NDArray[np.uint8]:
        return side_by_side(self.network, self.held_out, min(16, len(self.held_out)), self.device)


def inputs(batch: dict[str, Tensor], schema: Schema = REFERENCE) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The arguments of an imitator from a batch of :meth:`StudioShards.batch`."""
    return batch["identity"], batch["expression"], batch["pose"], one_hot(batch["style"], schema)


def imitated(network: nn.Module, batch: dict[str, Tensor], device: torch.device) -> tuple[Tensor, Tensor]:
    """Real and imitated pictures (B, 3, 256, 256), RGB in [0, 1]."""
    moved = {name: value.to(device) for name, value in batch.items()}
    return to_float(moved["picture"]), network(*inputs(moved))


@torch.no_grad()
def measure(
    network: nn.Module, shards: StudioShards, indices: npt.NDArray[np.intp], device: torch.device, step: int = 32
) -> dict[str, npt.NDArray[np.float64]]:
    """For each picture: ``l1``, the mean error of 0-255 levels, and ``psnr`` in dB."""
    l1, psnr = [], []
    for start in range(0, len(indices), step):
        real, made = imitated(network, shards.batch(indices[start : start + step]), device)
        error = (made - real).double()
        l1.append(255 * error.abs().mean((1, 2, 3)))
        psnr.append(-10 * error.square().mean((1, 2, 3)).log10())
    return {"l1": torch.cat(l1).cpu().numpy(), "psnr": torch.cat(psnr).cpu().numpy()}


@torch.no_grad()
def side_by_side(network: nn.Module, shards: StudioShards, count: int, device: torch.device) -> npt.NDArray[np.uint8]:
    """Pairs real | imitated, four in a row: (256 * rows, 2048, 3)."""
    pairs = torch.cat(imitated(network, shards.batch(np.arange(count)), device), 3)  # (N, 3, 256, 512)
    pictures = (255 * pairs.clamp(0, 1) + 0.5).byte().permute(0, 2, 3, 1).cpu().numpy()
    pictures = np.concatenate([pictures, np.zeros((-count % 4, *pictures.shape[1:]), np.uint8)])
    return np.concatenate([np.concatenate(list(pictures[k : k + 4]), 1) for k in range(0, len(pictures), 4)], 0)


def training(options: Options) -> Loop:
    """The run that the options describe, fresh or resumed."""
    if not options.learning_rate and options.preset in PRESETS:
        options = replace(options, learning_rate=PRESETS[options.preset].learning_rate)
    return Loop(options, lambda resumed: ImitatorTask(options))


def train(options: Options) -> Path:
    """Train or resume; returns the path of the last checkpoint."""
    return training(options).run()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    print(train(tyro.cli(Options, description=__doc__)))
