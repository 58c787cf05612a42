"""Make an encoder as sure of its styles as it is often right, by a temperature per slot (Guo et al., "On calibration of modern
neural networks", ICML 2017), on people and renders that it has not seen.

    python -m train.calibrate --checkpoint runs/soup/last.pt --renders data/aligned/renders --photos data/aligned/photos

Training does this at its end; a mean of encoders (:mod:`train.soup`) is less sure than those were, and needs it again. What
is measured on held-out faces is here, too."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import tyro
from torch.nn import functional

from sdk.schema import REFERENCE, Schema
from train import checkpoint, encoder_network
from train.data import Shards
from train.encoder_data import Faces, Sources
from train.encoder_network import Encoded, Encoder

log = logging.getLogger(__name__)

MEASURED = 2000
"""Held-out renders and photos that temperatures are found on, at most."""


@dataclass(frozen=True, kw_only=True)
class Options(Sources):
    """Options; each is a flag of the command line."""

    checkpoint: Path  # of train.encoder, changed in place


@torch.no_grad()
def said_about(network: Encoder, shards: Shards, chosen: npt.NDArray[np.int_], device: torch.device) -> list[Encoded]:
    """What E says about some pictures, as it is served, in batches."""
    parts = np.array_split(chosen, -(-len(chosen) // 32))
    return [network.both_sides(*shards.inputs(part, device)) for part in parts]


def right_answers(answers: list[Encoded], style: npt.NDArray[np.int64], schema: Schema) -> dict[str, float]:
    """Share of right answers per slot, of the slots that somebody saw."""
    right = torch.cat([a.options for a in answers]).cpu().numpy() == style
    seen = style >= 0
    return {s.name: float(right[seen[:, k], k].mean()) for k, s in enumerate(schema.style) if seen[:, k].any()}


def temperatures(network: Encoder, faces: Faces, device: torch.device, schema: Schema) -> Iterator[tuple[str, float]]:
    """Per slot the factor of the temperature that makes held-out people's answers likeliest; of slots that nobody labelled on
    photos, held-out renders' answers."""
    of_photos, of_renders = (
        said_about(network, shards, np.arange(min(len(shards), MEASURED)), device) if len(shards) else []
        for shards in (faces.held_out_photos, faces.held_out)
    )
    candidates = torch.logspace(-1, 1, 201, device=device)
    for k, slot in enumerate(schema.style):
        style, answers = faces.held_out_labels.style[:MEASURED, k], of_photos
        if not (style >= 0).any():
            style, answers = faces.held_out.arrays["style"][:MEASURED, k], of_renders
        logits = torch.cat([a.styles[slot.name] for a in answers]).float()[style >= 0]
        truth = torch.from_numpy(style[style >= 0]).to(device)
        costs = torch.stack([functional.cross_entropy(logits / t, truth) for t in candidates])
        yield slot.name, float(candidates[costs.argmin()])


def calibrate(path: Path, faces: Faces, device: torch.device, schema: Schema = REFERENCE) -> None:
    """Put the temperatures into a checkpoint."""
    state = checkpoint.load(path)
    factors = dict(temperatures(encoder_network.rebuild(state).to(device), faces, device, schema))
    log.info("temperatures: %s", ", ".join(f"{name} {value:.2f}" for name, value in factors.items()))
    for kind in ("network", "average"):
        state[kind]["temperature"] *= torch.tensor(list(factors.values()))
    checkpoint.save(path, state)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    chosen = tyro.cli(Options, description=__doc__)
    calibrate(chosen.checkpoint, Faces.read(chosen), torch.device("cpu"))
