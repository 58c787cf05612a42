"""Kept views: what the part of a network that stays as it is sees of every picture, found once, so that the last layers learn
from it many times.

A trunk takes a hundred times longer to say what it sees than the last layers to learn from it, forward and back. So ``--views N``
of a training lets it look once at every render and at N views of every photo, each changed and moved in another way, half of
them mirrored; from then on a step costs what the last layers cost, and whatever the losses do with their answers. What is kept
lies in the run's folder; it is made anew when pictures, views or the fixed part are others."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from train.data import Arrays, Batches, to_float
from train.kept_arrays import fingerprint, stamp

SIGHT = "sight/"
"""Before the names of what the fixed part saw, among the fields of a batch."""
UNCHANGED = 0.5
"""Share of the views in which light and colours stay as they are."""
PICTURES = 32
"""That are looked at together."""

Look = Callable[[Tensor, Tensor], NamedTuple]
"""Crops (B, 3, 256, 256) in [0, 1] and FaceMesh's landmarks (B, 468, 2) -> what the fixed part sees, tensors (B, ...)."""


@dataclass(frozen=True)
class Views:
    """Rows as :meth:`train.data.Batches.render` and :meth:`train.data.Batches.photo` make them, with what is seen in place of the
    picture: one of every render, `count` neighbours of every photo."""

    renders: Arrays
    photos: Arrays
    count: int

    def render(self, index: int) -> Arrays:
        """The view of a render."""
        return _row(self.renders, index)

    def photo(self, index: int, rng: np.random.Generator, mirror: bool) -> Arrays:
        """One of the views of a photo, or of its mirror image: those with odd numbers are."""
        return _row(self.photos, index * self.count + 2 * int(rng.integers(self.count // 2)) + mirror)


class Wanted(Protocol):
    """Options of trainings that can learn from views."""

    start_from: Path | None
    fresh_renders: int
    views: int


def check_views(options: Wanted) -> None:
    """ValueError where the options do not go together."""
    if options.views < 0 or options.views % 2:
        raise ValueError(f"--views {options.views}: an even number, half of a photo's views are of its mirror image")
    if options.views and options.start_from is None:
        raise ValueError("--views: last layers learn from what the layers before them have learnt to see: give --start-from")
    if options.views and options.fresh_renders:
        raise ValueError("--views are of stored renders: they do not go together with --fresh-renders")


def _row(arrays: Arrays, row: int) -> Arrays:
    return {name: np.asarray(values[row], np.float32 if name.startswith(SIGHT) else None) for name, values in arrays.items()}


def sight_in(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the fixed part saw of a batch, by field."""
    return {name.removeprefix(SIGHT): value for name, value in batch.items() if name.startswith(SIGHT)}


def kept_views(batches: Batches, look: Look, fixed: Iterable[nn.Module], count: int, folder: Path) -> Views:
    """Views of the renders and photos of some batches, `count` of each photo: found in `folder`, or made and put there.
    `fixed`: the modules that `look` looks with."""
    keys = (batches.renders.arrays["key"], batches.photos.arrays["key"])
    made_of = stamp((*keys, fingerprint(fixed), np.array([count, batches.seed])))
    found = {}
    for kind in ("renders", "photos"):
        path = folder / f"views-of-{kind}-{made_of}.npz"
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(".part.npz")
            with all_cores():
                np.savez(temporary, **_made(_Pictures(batches, count if kind == "photos" else 0), look, kind))
            temporary.rename(path)
        with np.load(path) as stored:
            found[kind] = dict(stored)
    return Views(found["renders"], found["photos"], count)


class _Pictures(Dataset[Arrays]):
    """Item *n* is view ``n % views`` of photo ``n // views``; without views, render *n*."""

    def __init__(self, batches: Batches, views: int) -> None:
        self.batches, self.views = copy.copy(batches), views
        self.batches.UNCHANGED = self.batches.UNCHANGED_PHOTOS = UNCHANGED

    def __len__(self) -> int:
        return len(self.batches.photos) * self.views if self.views else len(self.batches.renders)

    def __getitem__(self, number: int) -> Arrays:
        rng = np.random.default_rng((self.batches.seed, self.views, number))
        if self.views:
            index, view = divmod(number, self.views)
            return Batches.photo(self.batches, index, rng, mirror=bool(view % 2))
        return self.batches.render(self.batches.renders, number, rng)


@contextmanager
def all_cores() -> Iterator[None]:
    """As many threads as there are cores, for what one process does while the others wait for it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@torch.no_grad()
def _made(pictures: _Pictures, look: Look, kind: str) -> Arrays:
    """Rows of all views; what is seen in FP16."""
    rows: dict[str, list[npt.NDArray[Any]]] = {}
    loader = DataLoader(pictures, PICTURES, num_workers=len(os.sched_getaffinity(0)), multiprocessing_context="fork")
    for part in tqdm(loader, f"views of {kind}", unit=f"x {PICTURES} pictures"):
        seen = look(to_float(part.pop("crop")), part.pop("mesh"))._asdict()
        half = {SIGHT + name: value.float().cpu().half() for name, value in seen.items() if value is not None}
        for name, value in {**half, **part}.items():
            rows.setdefault(name, []).append(value.numpy())
    return {name: np.concatenate(parts) for name, parts in rows.items()}
