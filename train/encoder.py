"""Train the style heads: the discrete half of the encoder (CN109902767B [0050]-[0064]).

    python -m train.encoder --checkpoint runs/regressor/last.pt --renders DIR --photos DIR --out DIR --minutes 5

Goes on from a checkpoint of :mod:`train.regressor`, whose trunk and description it shares and leaves as they are (in
evaluation mode, so batch-norm statistics stay too): only the linear heads of the style slots learn, from the renders'
true options and the evidence measured on photos. The whole network is written to ``--out``, and exported from there
as both graphs."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from torch import Tensor
from tqdm import tqdm

from game.rig import Rig
from train import checkpoint
from train.data import Batches, BatchSize, PhotoShards, RenderShards, to_float
from train.geometry import mirrored_landmarks
from train.losses import evidence_loss, style_loss
from train.networks import FaceNet
from train.photo_styles import photo_evidence


@dataclass(frozen=True)
class Options:
    """Options of training; each is a flag of the command line."""

    checkpoint: Path  # written by train.regressor
    renders: str  # folder or URL of aligned render shards
    photos: str  # folder or URL of aligned photo shards
    out: Path  # where last.pt is written
    photo_shards: str = "lfw-train-*.tar"  # which shards of --photos to train on
    hold_out: int = 1  # this many last render shards are kept for benchmarks
    minutes: float = 0.0  # time budget (0: use --steps)
    steps: int = 500
    batch_renders: int = 32
    batch_photos: int = 32
    photo_weight: float = 1.0  # of the photos' evidence beside the renders' cross-entropy
    learning_rate: float = 1e-3
    seed: int = 1
    workers: int = 1


def style_losses(network: FaceNet, batch: dict[str, Tensor], renders: int) -> dict[str, Tensor]:
    """Cross-entropy on the renders, disagreement with the evidence on the photos."""
    styles = network(to_float(batch["crop"])).styles
    return {
        "renders": style_loss({k: v[:renders] for k, v in styles.items()}, batch["style"], network.schema),
        "photos": evidence_loss({k: v[renders:] for k, v in styles.items()}, batch["evidence"]),
    }


def train(options: Options) -> Path:
    """Train the style heads; returns the path of the checkpoint."""
    torch.manual_seed(options.seed)
    state = checkpoint.load(options.checkpoint)
    network = checkpoint.rebuild(state).to(memory_format=torch.channels_last)
    network.requires_grad_(False)
    network.style_heads.requires_grad_(True)
    renders, photos = RenderShards(options.renders), PhotoShards(options.photos, options.photo_shards)
    renders = renders.part(~renders.held_out(options.hold_out))
    evidence = photo_evidence(photos, renders, options.out / "evidence.npy")
    size = BatchSize(options.batch_renders, options.batch_photos)
    batches = Batches(renders, photos, size, options.seed, mirrored_landmarks(Rig.load()), evidence)
    optimiser = torch.optim.AdamW(network.style_heads.parameters(), options.learning_rate, weight_decay=0.01)
    average = checkpoint.MovingAverage(network, 0.99)
    started = time.monotonic()
    steps = 2**31 if options.minutes else options.steps
    bar = tqdm(batches.loader(0, steps, options.workers), total=None if options.minutes else steps)
    for step, batch in enumerate(bar):
        spent = (time.monotonic() - started) / 60
        if options.minutes and spent > options.minutes:
            break
        progress = spent / options.minutes if options.minutes else step / steps
        for group in optimiser.param_groups:
            group["lr"] = options.learning_rate * max(1 - progress, 0.01)
        losses = style_losses(network, batch, options.batch_renders)
        optimiser.zero_grad(set_to_none=True)
        (losses["renders"] + options.photo_weight * losses["photos"]).backward()
        optimiser.step()
        average.update(network, step + 1)
        bar.set_postfix_str(" ".join(f"{name} {value.item():.3f}" for name, value in losses.items()))
    path = options.out / checkpoint.LAST
    checkpoint.save(path, {**state, "network": network.state_dict(), "average": average.values})
    return path


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    print(train(tyro.cli(Options, description=__doc__)))
