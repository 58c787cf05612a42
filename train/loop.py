"""The training loop of every network here: one code for a CPU, a GPU, and many of either.

A network's module defines a :class:`Task`: the network, the batches, the losses, and how well it does on what is held
out. This module does the rest: Lightning Fabric's devices, processes and precision, gradient accumulation, a schedule by
steps or by minutes, the moving average, checkpoints from which training goes on as if it had never stopped, early
stopping, a progress bar, TensorBoard, and ``run.json``, which says what was run on what.

    python -m train.NAME --out runs/NAME --minutes 60 --devices 2 --threads 1      # two cores
    torchrun --nproc-per-node 8 -m train.NAME --out runs/NAME --devices 8 ...      # eight GPUs
    torchrun --nnodes 4 --nproc-per-node 8 ... --nodes 4 --devices 8               # four machines

On a CPU that others use as well, set OMP_WAIT_POLICY=PASSIVE: waiting threads then sleep rather than spin."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from train import checkpoint
from train.layers import as_served
from train.run_record import write_record

log = logging.getLogger(__name__)

Batch = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class LoopOptions:
    """What all trainings have in common; each is a flag of the command line."""

    out: Path  # checkpoints, TensorBoard logs and run.json; training resumes from what is there
    minutes: float = 0.0  # time budget, resumed time included; shapes the schedule (0: use --steps)
    steps: int = 0  # number of steps, when there is no time budget
    start_from: Path | None = None  # checkpoint of another run of the same command, to begin with its weights
    stop_after: int = 0  # stop this invocation after so many steps, to be resumed (0: do not)
    learning_rate: float = 1e-3  # at the top of the schedule
    weight_decay: float = 0.02  # on matrices and kernels only
    warm_up: int = 150  # steps
    accumulate: int = 1  # batches per step
    clip: float = 10.0  # longest gradient that is followed in full
    average: float = 0.998  # decay of the moving average, per step
    evaluate_every: int = 0  # steps between evaluations on what is held out (0: at the end only)
    patience: int = 0  # stop after so many evaluations without a better one (0: never)
    seed: int = 0
    devices: int = 1  # GPUs, or processes on a CPU (one per core with --threads 1 uses cores better than threads do)
    nodes: int = 1  # machines
    workers: int = 1  # processes that load and augment, per device
    threads: int = 0  # of torch on the CPU, per process (0: its own choice)
    # auto: bf16 on GPUs, float32 on CPUs (those without bf16 instructions run it at half the speed of float32)
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    log_every: int = 50  # steps
    save_every: float = 120.0  # seconds

    def __post_init__(self) -> None:
        if not self.minutes and not self.steps:
            raise ValueError("give --minutes or --steps: the schedule needs an end")
        if self.patience and not self.evaluate_every:
            raise ValueError("--patience counts evaluations: give --evaluate-every")


class Task(ABC):
    """What one network brings to the loop.

    Attributes:
        network: what is trained; its state dict is what checkpoints hold.
        autocast: makes a context of the run's precision, for networks besides the one that Fabric has wrapped.
    """

    network: nn.Module
    autocast: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext

    @abstractmethod
    def batches(self, rank: int, world: int) -> Dataset[Batch]:
        """A data set whose item *n* is batch number *n* of process `rank` of `world`, made from its number alone."""

    @abstractmethod
    def losses(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Losses by name, with their weighted sum as "loss". `module` is the network as Fabric has wrapped it: call it,
        not :attr:`network`."""

    @abstractmethod
    def description(self) -> dict[str, Any]:
        """What is needed to build the network again; goes into the checkpoint."""

    def optimiser(self, groups: list[dict[str, Any]], learning_rate: float) -> torch.optim.Optimizer:
        """What takes the steps, on the groups of :func:`parameter_groups`; the loop moves its learning rates."""
        return torch.optim.AdamW(groups, learning_rate)

    def begin_as(self, state: dict[str, Any]) -> list[str]:
        """Take over the weights of another run's checkpoint. Returns the names of what is not in there and stays as it is."""
        return checkpoint.take_over(self.network, state["average"])

    def to(self, device: torch.device) -> None:
        """Move what is not the network: frozen networks, tables."""
        return

    def state(self) -> dict[str, Any]:
        """What else a checkpoint must hold."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take it back."""
        return

    def fingerprint(self) -> dict[str, Any]:
        """What the data are, for ``run.json``: counts, names, hashes."""
        return {}

    def evaluate(self) -> dict[str, float]:
        """Measures of :attr:`network` (which holds the moving average then) on what is held out. The one called "score"
        decides which checkpoint is best and when to stop; higher is better."""
        return {}

    def sheet(self) -> npt.NDArray[np.uint8] | None:
        """A picture (H, W, 3) of what :attr:`network` does, for TensorBoard."""
        return None


class Loop:
    """One run of a task, fresh or resumed."""

    def __init__(self, options: LoopOptions, make_task: Callable[[bool], Task]) -> None:
        """`make_task(resumed)` makes the task: in every process, in the first one first, so that it can fill caches. When
        `resumed`, the network's values and :meth:`Task.state` come from the checkpoint."""
        self.options = options
        precision = options.precision
        if precision == "auto":
            precision = "bf16-mixed" if torch.cuda.is_available() else "32-true"
        if options.threads:
            torch.set_num_threads(options.threads)
        self.fabric = Fabric(devices=options.devices, num_nodes=options.nodes, precision=precision)
        self.fabric.launch()
        torch.manual_seed(options.seed)
        self.path = options.out / checkpoint.LAST
        state = checkpoint.load(self.path) if self.path.is_file() else None
        with self.fabric.rank_zero_first():
            self.task = make_task(state is not None)
        self.task.autocast = self.fabric.autocast
        self.step, self.seconds, self.best, self.waited = 0, 0.0, -math.inf, 0
        network = self.task.network.to(memory_format=torch.channels_last)
        if state is not None:
            network.load_state_dict(state["network"])
            self.task.load_state(state)
        elif options.start_from is not None:
            own = self.task.begin_as(checkpoint.load(options.start_from))
            log.info("begins as %s, but for: %s", options.start_from, ", ".join(own) or "nothing")
        optimiser = self.task.optimiser(parameter_groups(network, options.weight_decay), options.learning_rate)
        self.module, self.optimiser = self.fabric.setup(network, optimiser)
        self.task.to(self.fabric.device)
        self.average = checkpoint.MovingAverage(network, options.average)
        if state is not None:
            self._resume(state)

    def _resume(self, state: dict[str, Any]) -> None:
        self.average.values = {name: value.to(self.fabric.device) for name, value in state["average"].items()}
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.best, self.waited = state["best"], state["waited"]
        log.info("resumed at step %d after %.0f s", self.step, self.seconds)

    @property
    def progress(self) -> float:
        """Share of the schedule that is done: by time where there is a time budget, else by steps."""
        if self.options.minutes:
            return self.seconds / (60 * self.options.minutes)
        return self.step / self.options.steps

    def run(self) -> Path:
        """Train until the schedule ends; returns the path of the last checkpoint."""
        options = self.options
        if self.fabric.is_global_zero:
            write_record(options, self.task.fingerprint(), self.fabric.world_size)
        report = Report(options, self.progress) if self.fabric.is_global_zero else None
        self.module.train()
        left = options.stop_after or (2**31 if options.minutes else options.steps - self.step)
        last = self.step + left
        batches = iter(self._loader(left))
        started, saved = time.monotonic() - self.seconds, time.monotonic()
        while self.step < last:
            self.seconds = self._agreed(time.monotonic() - started)
            if self.progress >= 1 or (options.patience and self.waited >= options.patience):
                break
            losses, pictures = self._step(batches)
            if report is not None:
                report.add(losses, self.step, self.progress, pictures * self.fabric.world_size)
            if options.evaluate_every and self.step % options.evaluate_every == 0:
                self._evaluate(report)
            if self.fabric.is_global_zero and time.monotonic() - saved > options.save_every:
                self.save(self.path)
                saved = time.monotonic()
        self.seconds = self._agreed(time.monotonic() - started)
        if not options.evaluate_every:
            self._evaluate(report)
        if report is not None:
            self.save(self.path)
            report.close()
        self.fabric.barrier()
        return self.path

    def learn(self, batches: list[Batch]) -> dict[str, Tensor]:
        """One step of the optimiser on one or more batches; returns the mean losses by name."""
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.options, self.step, self.progress)
        self.optimiser.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for number, batch in enumerate(batches, 1):
            with self.fabric.no_backward_sync(self.module, enabled=number < len(batches)):
                losses = self.task.losses(self.module, batch)
                self.fabric.backward(losses["loss"] / len(batches))
            for name, value in losses.items():
                sums[name] = sums.get(name, 0) + value.detach() / len(batches)
        self.fabric.clip_gradients(self.module, self.optimiser, max_norm=self.options.clip, error_if_nonfinite=False)
        self.optimiser.step()
        self.step += 1
        self.average.update(self.task.network, self.step)
        return sums

    def save(self, path: Path) -> None:
        """Write the checkpoint."""
        state: dict[str, Any] = {
            **self.task.state(),
            "network": self.task.network.state_dict(),
            "average": self.average.values,
            "optimiser": self.optimiser.state_dict(),
            "description": self.task.description(),
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
            "waited": self.waited,
        }
        checkpoint.save(path, state)

    def _loader(self, steps: int) -> DataLoader[Batch]:
        """Batches from here on, made in processes beside the training."""
        options = self.options
        first = self.step * options.accumulate
        with self.fabric.rank_zero_first():  # it may fill caches
            batches = self.task.batches(self.fabric.global_rank, self.fabric.world_size)
        return DataLoader(
            batches,
            batch_size=None,
            sampler=range(first, first + steps * options.accumulate),
            num_workers=options.workers,
            prefetch_factor=4 if options.workers else None,
        )

    def _step(self, batches: Iterator[Batch]) -> tuple[dict[str, Tensor], int]:
        device = self.fabric.device
        taken = [next(batches) for _ in range(self.options.accumulate)]
        moved = [{name: value.to(device, non_blocking=True) for name, value in batch.items()} for batch in taken]
        return self.learn(moved), sum(len(next(iter(batch.values()))) for batch in moved)

    def _evaluate(self, report: Report | None) -> None:
        """Measure the moving average; keep it as ``best.pt`` if it is the best so far."""
        with averaged(self.task.network, self.average):
            measures = self.task.evaluate() if self.fabric.is_global_zero else {}
            if report is not None:
                report.evaluated(measures, self.task.sheet(), self.step)
        score = self._agreed(measures.get("score", -math.inf))
        better = score > self.best
        self.best, self.waited = (score, 0) if better else (self.best, self.waited + 1)
        if better and self.fabric.is_global_zero:
            self.save(self.options.out / checkpoint.BEST)

    def _agreed(self, value: float) -> float:
        """The first process's value for all, so that they stop at the same step."""
        return float(self.fabric.broadcast(value)) if self.fabric.world_size > 1 else value


class Report:
    """Means of losses and pictures per second every few steps: on the terminal and for TensorBoard."""

    def __init__(self, options: LoopOptions, progress: float) -> None:
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
        self.bar.update(min(1000, int(1000 * progress)) - self.bar.n)
        if step % self.every:
            return
        rate = self.pictures / (time.monotonic() - self.since)
        means = {name: float(value) / self.count for name, value in self.sums.items()}
        for name, value in means.items():
            self.writer.add_scalar(f"loss/{name}", value, step)
        self.writer.add_scalar("pictures per second", rate, step)
        log.info("step %d, %.0f pictures/s: %s", step, rate, ", ".join(f"{k} {v:.3f}" for k, v in means.items()))
        self._restart()

    def evaluated(self, measures: dict[str, float], sheet: npt.NDArray[np.uint8] | None, step: int) -> None:
        """Report an evaluation."""
        for name, value in measures.items():
            self.writer.add_scalar(f"held out/{name}", value, step)
        if sheet is not None:
            self.writer.add_image("sheet", sheet, step, dataformats="HWC")
        if measures:
            log.info("step %d, held out: %s", step, ", ".join(f"{k} {v:.4f}" for k, v in measures.items()))

    def close(self) -> None:
        """Flush."""
        self.bar.close()
        self.writer.close()


def learning_rate(options: LoopOptions, step: int, progress: float) -> float:
    """Linear warm-up by steps, then half a cosine by progress down to 1 %."""
    cosine = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return options.learning_rate * min(1.0, (step + 1) / options.warm_up) * (0.99 * cosine + 0.01)


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels, none for biases and normalisation; what is frozen is left out."""
    learning = [p for p in network.parameters() if p.requires_grad]
    decayed, rest = [p for p in learning if p.ndim > 1], [p for p in learning if p.ndim <= 1]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]


@contextlib.contextmanager
def averaged(network: nn.Module, average: checkpoint.MovingAverage) -> Iterator[None]:
    """The network with the weights of its moving average, in evaluation mode, without gradients."""
    trained = {name: value.detach().clone() for name, value in network.state_dict().items()}
    network.load_state_dict(average.values)
    try:
        with as_served(network), torch.no_grad():
            yield
    finally:
        network.load_state_dict(trained)
