"""How well the colours of characters could be told by the colours that renders have at landmarks, and by nothing else.

    python -m benchmarks.colour_ceiling --renders DIR

Colours are read where the encoder reads them (:func:`train.encoder_network.colour_points`), on unchanged pictures, at FaceMesh's
landmarks and at the rig's exact ones. A small network learns skin, hair, eyes and lips from them, on a fourth of the renders and
on all, and is measured on the held-out ones of :mod:`benchmarks.accuracy`: the differences show how much is wanting in landmarks
and in renders, and how much is not in the colours, since dark skin in bright light looks as light skin does in dim light. Writes
``colour_ceiling.json``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import tyro
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from benchmarks import report
from benchmarks.accuracy_styles import palette_distances, palette_step
from train.close_looks import DARKEST
from train.data import RenderShards
from train.encoder_network import colour_points
from train.networks import read_at

Array = npt.NDArray[Any]
SLOTS = ("skin", "hair_colour", "iris", "lip")
WIDTH, DROPPED = 384, 0.2
EPOCHS, BATCH, LEARNING_RATE = 40, 256, 1e-3


@dataclass(frozen=True)
class Options:
    """Options; each is a flag of the command line."""

    renders: Path  # aligned renders
    hold_out: int = 1  # the last so many render shards
    name: str = "colour_ceiling"  # of the JSON file


def colours(shards: RenderShards) -> dict[str, Tensor]:
    """Logarithms of the colours (N, 3 P) at every picture's points, by what says where they are."""
    found: dict[str, list[Tensor]] = {"FaceMesh": [], "exact": []}
    for part in tqdm(np.array_split(np.arange(len(shards)), -(-len(shards) // 64)), "colours", unit="batch"):
        crops, mesh = shards.inputs(part)
        for kind, landmarks in (("FaceMesh", mesh), ("exact", torch.from_numpy(shards.arrays["landmarks"][part]))):
            found[kind].append((read_at(crops, colour_points(landmarks)) + DARKEST).log())
    return {kind: torch.cat(parts) for kind, parts in found.items()}


def taught(seen: Tensor, style: Tensor, sizes: list[int]) -> nn.Module:
    """A network that tells options (N, slots) by colours (N, F): logits of all slots side by side."""
    torch.manual_seed(0)
    layers = (nn.Linear(seen.shape[1], WIDTH), nn.ReLU(), nn.Dropout(DROPPED), nn.Linear(WIDTH, WIDTH), nn.ReLU())
    network = nn.Sequential(*layers, nn.Dropout(DROPPED), nn.Linear(WIDTH, sum(sizes)))
    optimiser = torch.optim.AdamW(network.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS)
    for _ in tqdm(range(EPOCHS), "learning", unit="epoch", leave=False):
        for rows in torch.randperm(len(seen)).split(BATCH):
            slots = network(seen[rows]).split(sizes, 1)
            loss = torch.stack([functional.cross_entropy(slot, style[rows, k]) for k, slot in enumerate(slots)]).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        schedule.step()
    return network.eval()


def measure(shards: RenderShards, held_out: Array) -> list[dict[str, Any]]:
    """A row per kind of landmarks and number of renders: per slot how often the answer is right, and how often it is at most a
    step of the palette away."""
    slots = [shards.schema.slot(name) for name in SLOTS]
    columns = [[slot.name for slot in shards.schema.style].index(name) for name in SLOTS]
    sizes = [len(slot.options) for slot in slots]
    style = torch.from_numpy(shards.arrays["style"][:, columns])
    learnt, asked = (torch.from_numpy(np.flatnonzero(rows)) for rows in (~held_out, held_out))
    rows = []
    for kind, seen in colours(shards).items():
        seen = (seen - seen[learnt].mean(0)) / (seen[learnt].std(0) + 1e-3)
        for some in (learnt[::4], learnt):
            network = taught(seen[some], style[some], sizes)
            answers = network(seen[asked]).detach().split(sizes, 1)
            row: dict[str, Any] = {"landmarks": kind, "renders": len(some)}
            for slot, said, truth in zip(slots, answers, style[asked].T, strict=True):
                apart = torch.from_numpy(palette_distances(slot))[said.argmax(1), truth]
                row[f"{slot.name}, top-1"] = float((said.argmax(1) == truth).float().mean())
                row[f"{slot.name}, within a step"] = float((apart <= palette_step(slot)).float().mean())
            rows.append(row)
    return rows


def main(options: Options) -> list[dict[str, Any]]:
    """Measure, print, write."""
    shards = RenderShards(options.renders)
    rows = measure(shards, shards.held_out(options.hold_out))
    report.print_table("From colours at landmarks alone", tuple(rows[0]), [tuple(row.values()) for row in rows])
    print(f"\n{report.write(options.name, {'rows': rows}, ('numpy', 'torch'))}")
    return rows


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
