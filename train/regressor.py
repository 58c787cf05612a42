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
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from game.character import mirrored_units
from game.rig import Rig
from train import checkpoint
from train.data import Batches, BatchSize, PhotoShards, RenderShards, to_float
from train.geometry import Geometry, LandmarkRig, mirrored_landmarks
from train.losses import MirrorMap, Weights, photo_losses, render_losses, total
from train.networks import build, describe
from train.photo_styles import photo_evidence

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """Options of training; each is a flag of the command line."""

    renders: Path  # folder of aligned render shards
    photos: Path  # folder of aligned photo shards
    out: Path  # checkpoints and TensorBoard logs; training resumes from what is there
    photo_shards: str = "lfw-train-*.tar"  # which shards of --photos to train on
    hold_out: int = 1  # this many last render shards are kept for benchmarks
    preset: str = "cpu"  # size of the network: tiny, cpu, gpu
    minutes: float = 0.0  # time budget, resumed time included; shapes the schedule (0: use --steps)
    steps: int = 0  # number of steps, when there is no time budget
    stop_after: int = 0  # stop this invocation after so many steps, to be resumed (0: do not)
    batch_renders: int = 44  # per process
    batch_photos: int = 20  # per process, even
    learning_rate: float = 2e-3  # AdamW's, at the top of the schedule, for a batch of 64
    weight_decay: float = 0.02  # AdamW's
    warm_up: int = 150  # steps
    average: float = 0.998  # decay of the moving average, per step
    seed: int = 0
    devices: int = 1  # GPUs, or processes on a CPU (one per core with --threads 1 uses cores better than threads do)
    workers: int = 1  # processes that load and augment, per device
    threads: int = 0  # of torch on the CPU, per process (0: its own choice)
    # auto: bf16 on GPUs, float32 on CPUs (those without bf16 instructions run it at half the speed of float32)
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    log_every: int = 50  # steps
    save_every: float = 120.0  # seconds

    def __post_init__(self) -> None:
        if not self.minutes and not self.steps:
            raise ValueError("give --minutes or --steps: the schedule needs an end")


class Training:
    """One run: network, data, optimiser and progress, fresh or resumed."""

    def __init__(self, options: Options) -> None:
        self.options = options
        precision = options.precision
        if precision == "auto":
            precision = "bf16-mixed" if torch.cuda.is_available() else "32-true"
        if options.threads:
            torch.set_num_threads(options.threads)
        self.fabric = Fabric(devices=options.devices, precision=precision)
        self.fabric.launch()
        torch.manual_seed(options.seed)
        self.path = options.out / checkpoint.LAST
        self.batches, self.renders, self.photos = self._data()
        self.step, self.seconds = 0, 0.0
        self._network()
        rig = LandmarkRig(Rig.load()).to(self.fabric.device)
        self.learner = Learner(self.module, self.network, self.geometry, rig, options.batch_renders)

    def _data(self) -> tuple[Batches, RenderShards, PhotoShards]:
        options = self.options
        with self.fabric.rank_zero_first():  # one process reads the shards, the others its cache
            renders, photos = RenderShards(options.renders), PhotoShards(options.photos, options.photo_shards)
            renders.select(~renders.held_out(options.hold_out))
            evidence = photo_evidence(photos, renders, options.out / "evidence.npy")
        log.info("%d renders, %d photos of %d people", len(renders), len(photos), photos.person_number.max() + 1)
        batches = Batches(
            renders,
            photos,
            BatchSize(options.batch_renders, options.batch_photos),
            options.seed,
            mirrored_landmarks(Rig.load()),
            evidence,
            self.fabric.global_rank,
            self.fabric.world_size,
        )
        return batches, renders, photos

    def _network(self) -> None:
        """Build the network and everything that a checkpoint holds; take their values from the last one, if there is
        one."""
        options = self.options
        self.network = build(options.preset).to(memory_format=torch.channels_last)
        self.geometry = Geometry(self.network)
        state = checkpoint.load(self.path) if self.path.is_file() else None
        if state is None:
            self.geometry.fit(self.network, Rig.load(), self.renders, self.photos)
        else:
            self.network.load_state_dict(state["network"])
            self.geometry.load_state_dict(state["geometry"])
        optimiser = torch.optim.AdamW(_groups(self.network, options.weight_decay), options.learning_rate)
        self.module, self.optimiser = self.fabric.setup(self.network, optimiser)
        self.geometry.to(self.fabric.device)
        self.average = checkpoint.MovingAverage(self.network, options.average)
        if state is not None:
            self.average.values = {name: value.to(self.fabric.device) for name, value in state["average"].items()}
            self.optimiser.load_state_dict(state["optimiser"])
            self.step, self.seconds = state["step"], state["seconds"]
            log.info("resumed at step %d after %.0f s", self.step, self.seconds)

    @property
    def progress(self) -> float:
        """Share of the schedule that is done: by time where there is a time budget, else by steps."""
        if self.options.minutes:
            return self.seconds / (60 * self.options.minutes)
        return self.step / self.options.steps

    def run(self) -> Path:
        """Train until the schedule ends; returns the path of the last checkpoint."""
        options, first = self.options, self.fabric.is_global_zero
        report = Report(options, self.progress) if first else None
        self.module.train()
        started, saved = time.monotonic() - self.seconds, time.monotonic()
        left = options.stop_after or (2**31 if options.minutes else options.steps - self.step)
        for batch in self.batches.loader(self.step, left, options.workers):
            self.seconds = self._agreed(time.monotonic() - started)
            if self.progress >= 1:
                break
            losses = self.learn({name: value.to(self.fabric.device) for name, value in batch.items()})
            if report is not None:
                report.add(losses, self.step, self.progress, len(batch["crop"]) * self.fabric.world_size)
            if first and time.monotonic() - saved > options.save_every:
                self.save()
                saved = time.monotonic()
        self.seconds = time.monotonic() - started
        if first:
            self.save()
        if report is not None:
            report.close()
        return self.path

    def _agreed(self, seconds: float) -> float:
        """The same time for all processes, so that they stop at the same step."""
        return float(self.fabric.broadcast(seconds)) if self.fabric.world_size > 1 else seconds

    def learn(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One step of the optimiser; returns the losses by name."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.options, self.step, self.progress)
        losses = self.learner.losses(batch)
        losses["loss"] = total(losses, self.learner.weights)
        self.optimiser.zero_grad(set_to_none=True)
        self.fabric.backward(losses["loss"])
        self.fabric.clip_gradients(self.module, self.optimiser, max_norm=10.0, error_if_nonfinite=False)
        self.optimiser.step()
        self.step += 1
        self.average.update(self.network, self.step)
        return {name: value.detach() for name, value in losses.items()}

    def save(self) -> None:
        """Write the checkpoint."""
        state: dict[str, Any] = {
            "network": self.network.state_dict(),
            "average": self.average.values,
            "optimiser": self.optimiser.state_dict(),
            "geometry": self.geometry.state_dict(),
            "description": describe(self.network),
            "step": self.step,
            "seconds": self.seconds,
            "options": {name: str(value) for name, value in asdict(self.options).items()},
        }
        checkpoint.save(self.path, state)


class Learner:
    """The losses of a batch."""

    def __init__(self, module: nn.Module, network: Any, geometry: Geometry, rig: LandmarkRig, renders: int) -> None:
        self.module, self.network, self.rig, self.renders = module, network, rig, renders
        self.convention, self.metric = geometry.convention, geometry.metric(network)
        self.mirror = MirrorMap(torch.from_numpy(mirrored_units()).to(self.convention.offset.device))
        self.weights = Weights()

    def losses(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """All losses of a batch of :class:`train.data.Batches` by name."""
        said = self.module(to_float(batch["crop"]))
        first, second = said.split(self.renders)
        losses = render_losses(self.network, first, batch, self.metric)
        if len(second.pose):
            losses |= photo_losses(self.network, second, batch, self.metric, self.rig, self.convention, self.mirror)
        return losses


class Report:
    """Means of losses and pictures per second every few steps: on the terminal and for TensorBoard."""

    def __init__(self, options: Options, progress: float) -> None:
        self.every = options.log_every
        self.writer = SummaryWriter(str(options.out))
        self.bar = tqdm(total=1000, initial=int(1000 * progress), unit="‰", mininterval=5.0)
        self._restart()

    def _restart(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.count, self.pictures, self.since = 0, 0, time.monotonic()

    def add(self, losses: dict[str, Tensor], step: int, progress: float, pictures: int) -> None:
        """Take in one step; every so many, report."""
        self.sums = {name: self.sums.get(name, 0) + value for name, value in losses.items()}
        self.count, self.pictures = self.count + 1, self.pictures + pictures
        self.bar.update(int(1000 * progress) - self.bar.n)
        if step % self.every:
            return
        rate = self.pictures / (time.monotonic() - self.since)
        means = {name: float(value) / self.count for name, value in self.sums.items()}
        for name, value in means.items():
            self.writer.add_scalar(f"loss/{name}", value, step)
        self.writer.add_scalar("pictures per second", rate, step)
        log.info("step %d, %.0f pictures/s: %s", step, rate, ", ".join(f"{k} {v:.3f}" for k, v in means.items()))
        self._restart()

    def close(self) -> None:
        """Flush."""
        self.bar.close()
        self.writer.close()


def learning_rate(options: Options, step: int, progress: float) -> float:
    """Linear warm-up by steps, then half a cosine by progress down to 1 %."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return options.learning_rate * min(1.0, (step + 1) / options.warm_up) * (0.99 * cosine + 0.01)


def _groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels, none for biases and batch norm."""
    decayed = [p for p in network.parameters() if p.ndim > 1]
    rest = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


def train(options: Options) -> Path:
    """Train or resume; returns the path of the last checkpoint."""
    return Training(options).run()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    print(train(tyro.cli(Options, description=__doc__)))
