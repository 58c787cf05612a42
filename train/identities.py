"""Batches of identities for :mod:`train.recogniser`: photos of people and renders of characters, two pictures of each,
some of them blended with another picture: faces of nobody, for a teacher to say who they are like.

What batch *n* holds depends on (seed, n) alone, as in :mod:`train.data`, whose shards are read here."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from train.augment import augment
from train.data import PhotoShards, Shards, drawn

Array = npt.NDArray[Any]
LEAST = 0.5
"""A blended picture is at least this much itself; the rest is its partner."""


class Identities:
    """The pictures of one kind, photos or renders, and whose they are.

    Attributes:
        number: (N,) number of each picture's identity."""

    def __init__(self, shards: Shards) -> None:
        self.shards = shards
        self.number = identity_numbers(shards)
        order = np.argsort(self.number, kind="stable")
        self._members = np.split(order, np.flatnonzero(np.diff(self.number[order])) + 1)

    @property
    def count(self) -> int:
        """Number of identities."""
        return len(self._members)

    def another(self, index: int, rng: np.random.Generator) -> int:
        """Another picture of that one's identity, itself where there is none."""
        others = self._members[self.number[index]]
        return int(rng.choice(others[others != index])) if len(others) > 1 else index


def identity_numbers(shards: Shards) -> npt.NDArray[np.int64]:
    """(N,) a number per person of photos, or per character of renders (equal sliders: one character)."""
    names = shards.arrays["person"] if isinstance(shards, PhotoShards) else shards.arrays["identity"]
    return np.unique(names, return_inverse=True, axis=0)[1].ravel()


def held_out_people(shards: PhotoShards, share: float) -> npt.NDArray[np.bool_]:
    """(N,) which photos are of people who are kept from training: a share of them, always the same."""
    number = identity_numbers(shards)
    people = int(number.max()) + 1
    return np.isin(number, np.random.default_rng(0).permutation(people)[: round(share * people)])


class IdentityBatches(Dataset[dict[str, Tensor]]):
    """Item *n* is the batch of step *n* (for this rank): ``crop`` uint8 (B, 256, 256, 3), photos first, then renders,
    ``identity`` (B,) a number within their kind. Neighbours 2k and 2k + 1 are one identity. ``share`` (B,) float32 and
    ``partner`` (B,): a picture is to be blended, ``share`` of itself and the rest of picture ``partner`` of its kind."""

    def __init__(
        self,
        photos: Identities,
        renders: Identities,
        sizes: tuple[int, int],
        blended: float,
        seed: int,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """`sizes`: photos and renders in a batch, both even. `blended`: how many of them have a share of less than 1."""
        self.kinds, self.sizes, self.blended, self.seed = (photos, renders), sizes, blended, seed
        self.rank, self.world = rank, world

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        turn = step * self.world + self.rank
        rng = np.random.default_rng((self.seed, turn))
        crops, numbers, partners = [], [], []
        for stream, (kind, size) in enumerate(zip(self.kinds, self.sizes, strict=True)):
            firsts = drawn(len(kind.number), self.seed, stream, turn, size // 2)
            chosen = np.array([(first, kind.another(int(first), rng)) for first in firsts]).ravel()
            crops += [augment(kind.shards.picture(int(index)), rng, bool(rng.random() < 0.5))[0] for index in chosen]
            numbers.append(kind.number[chosen])
            partners.append(rng.permutation(size) + sum(self.sizes[:stream]))
        whole = rng.random(sum(self.sizes)) >= self.blended
        share = np.where(whole, 1, rng.uniform(LEAST, 1, len(whole))).astype(np.float32)
        return {
            "crop": torch.from_numpy(np.stack(crops)),
            "identity": torch.from_numpy(np.concatenate(numbers)),
            "share": torch.from_numpy(share),
            "partner": torch.from_numpy(np.concatenate(partners)),
        }

    def __len__(self) -> int:
        return 2**40
