"""Train the face network on renders and photos together: the supervised stage of the regressor (CN112200236A).

    python -m train.regressor --renders DIR --photos DIR --out DIR --minutes 160 --devices 2 --threads 1   # two cores
    torchrun --nproc-per-node 8 -m train.regressor --devices 8 --preset gpu --steps 60000 ...              # GPUs

Renders bring exact parameters; photos, in every batch from the first step on, bring FaceMesh's landmarks through the
differentiable rig, identities by name, and styles measured by :mod:`train.photo_styles`. All heads are trained here,
those of styles too, because they share one trunk; :mod:`train.encoder` then goes on with the style heads alone.
Stopping and starting again with the same ``--out`` resumes where the last checkpoint stands. On a CPU that others use
as well, set OMP_WAIT_POLICY=PASSIVE: waiting threads then sleep rather than spin."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor, nn

from game.character import mirrored_units
from game.rig import Rig
from train.data import Batches, BatchSize, PhotoShards, RenderShards, to_float
from train.geometry import Geometry, LandmarkRig, mirrored_landmarks
from train.loop import Loop, LoopOptions, Task
from train.losses import MirrorMap, Weights, photo_losses, render_losses, total
from train.networks import build, describe
from train.photo_styles import photo_evidence

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Options(LoopOptions):
    """Options of training; each is a flag of the command line."""

    renders: Path  # folder of aligned render shards
    photos: Path  # folder of aligned photo shards
    photo_shards: str = "lfw-train-*.tar"  # which shards of --photos to train on
    hold_out: int = 1  # this many last render shards are kept for benchmarks
    preset: str = "cpu"  # size of the network: tiny, cpu, gpu
    batch_renders: int = 44  # per process
    batch_photos: int = 20  # per process, even
    learning_rate: float = 2e-3  # for a batch of 64


class RegressorTask(Task):
    """The face network and its losses."""

    def __init__(self, options: Options, resumed: bool) -> None:
        """`resumed`: what is fitted to the data comes from a checkpoint."""
        self.options = options
        self.renders, self.photos = RenderShards(options.renders), PhotoShards(options.photos, options.photo_shards)
        self.renders.select(~self.renders.held_out(options.hold_out))
        self.evidence = photo_evidence(self.photos, self.renders, options.out / "evidence.npy")
        log.info("%d renders, %d photos of %d people", *self.fingerprint().values())
        self.network = build(options.preset)
        self.geometry = Geometry(self.network)
        if not resumed:
            self.geometry.fit(self.network, Rig.load(), self.renders, self.photos)
        self.rig = LandmarkRig(Rig.load())

    def batches(self, rank: int, world: int) -> Batches:
        size = BatchSize(self.options.batch_renders, self.options.batch_photos)
        mirror = mirrored_landmarks(Rig.load())
        return Batches(self.renders, self.photos, size, self.options.seed, mirror, self.evidence, rank, world)

    def to(self, device: torch.device) -> None:
        self.geometry.to(device)
        self.learner = Learner(self.network, self.geometry, self.rig.to(device), self.options.batch_renders)

    def losses(self, module: nn.Module, batch: dict[str, Tensor], progress: float) -> dict[str, Tensor]:
        losses = self.learner.losses(module, batch)
        return {**losses, "loss": total(losses, self.learner.weights)}

    def description(self) -> dict[str, Any]:
        return describe(self.network)

    def state(self) -> dict[str, Any]:
        return {"geometry": self.geometry.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        self.geometry.load_state_dict(state["geometry"])

    def fingerprint(self) -> dict[str, Any]:
        people = int(np.max(self.photos.person_number)) + 1
        return {"renders": len(self.renders), "photos": len(self.photos), "people": people}


class Learner:
    """The losses of a batch."""

    def __init__(self, network: Any, geometry: Geometry, rig: LandmarkRig, renders: int) -> None:
        self.network, self.rig, self.renders = network, rig, renders
        self.convention, self.metric = geometry.convention, geometry.metric(network)
        self.mirror = MirrorMap(torch.from_numpy(mirrored_units()).to(self.convention.offset.device))
        self.weights = Weights()

    def losses(self, module: nn.Module, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """All losses of a batch of :class:`train.data.Batches` by name."""
        said = module(to_float(batch["crop"]))
        first, second = said.split(self.renders)
        losses = render_losses(self.network, first, batch, self.metric)
        if len(second.pose):
            losses |= photo_losses(self.network, second, batch, self.metric, self.rig, self.convention, self.mirror)
        return losses


def training(options: Options) -> Loop:
    """The run that the options describe, fresh or resumed."""
    return Loop(options, lambda resumed: RegressorTask(options, resumed))


def train(options: Options) -> Path:
    """Train or resume; returns the path of the last checkpoint."""
    return training(options).run()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    print(train(tyro.cli(Options, description=__doc__)))
