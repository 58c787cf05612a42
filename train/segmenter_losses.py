"""Losses and measures of the segmenter. Labels become shares of every part in a cell, so that coarse grids lose nothing."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from train.data import spaced
from train.face_parts import PARTS
from train.segmenter_data import LabelledRenders


def part_frequencies(renders: LabelledRenders, sample: int = 200) -> Tensor:
    """(parts,) the share of pixels that each part has in some renders, at least 1e-4."""
    chosen = spaced(len(renders), sample)
    counts = sum(np.bincount(renders.labels(int(i)).ravel(), minlength=len(PARTS)) for i in chosen)
    return torch.from_numpy(np.maximum(counts / np.sum(counts), 1e-4)).float()


def part_weights(frequencies: Tensor, rarity: float) -> Tensor:
    """(parts,) weights of cross-entropy: frequencies (parts,) to the power of -rarity, 1 on average."""
    weights = frequencies**-rarity
    return weights / weights.mean()


def shares(parts: Tensor, cells: int) -> Tensor:
    """Parts uint8 (B, H, W) -> share of each part in each cell, float32 (B, parts, cells, cells). H and W are multiples of
    `cells`."""
    batch, height, width = parts.shape
    rows, columns = height // cells, width // cells
    found = torch.zeros(batch, len(PARTS), cells, cells, device=parts.device)
    one = found.new_full((1,), 1 / (rows * columns)).expand(batch, 1, cells, cells)
    for row in range(rows):
        for column in range(columns):
            found.scatter_add_(1, parts[:, None, row::rows, column::columns].long(), one)
    return found


def members(sets: Tensor, cells: int) -> Tensor:
    """Sets of parts int16 (B, H, W) -> which parts may be in each cell, bool (B, parts, cells, cells), by its middle."""
    step = sets.shape[-1] // cells
    middles = sets[:, None, step // 2 :: step, step // 2 :: step].int()
    return (middles >> torch.arange(len(PARTS), device=sets.device)[:, None, None] & 1).bool()


def cross_entropy(logits: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Mean over the target shares (B, parts, h, w), each part with its weight (parts,).

    Weights alone would make rare parts likelier than they are, and too large: the logits are those of the true
    probabilities, to which the weights are added here."""
    weighted = target * weights[:, None, None]
    return -(weighted * _log_weighted(logits, weights)).sum() / weighted.sum()


def set_entropy(logits: Tensor, possible: Tensor, weights: Tensor) -> Tensor:
    """Minus the logarithm of the probability that the part is one of those possible, bool (B, parts, h, w): cross-entropy
    where there is only one, 0 where all are. A cell weighs what the commonest of its possible parts does."""
    weight = torch.where(possible, weights[:, None, None], torch.inf).amin(1)
    inside = torch.where(possible, _log_weighted(logits, weights), -torch.inf).logsumexp(1)
    return -(weight * inside).sum() / weight.sum()


def _log_weighted(logits: Tensor, weights: Tensor) -> Tensor:
    return (logits + weights.log()[:, None, None]).log_softmax(1)


def dice(logits: Tensor, target: Tensor) -> Tensor:
    """One minus the mean overlap of the batch's parts (Milletari et al., V-Net, 2016): near to what intersection over union
    measures, of small parts as of large ones. A part that no picture of the batch has does not count."""
    said = logits.softmax(1)
    both, true = (said * target).sum((0, 2, 3)), target.sum((0, 2, 3))
    overlap = (2 * both + 1) / (said.sum((0, 2, 3)) + true + 1)
    there = (true > 0).to(overlap.dtype)
    return 1 - (overlap * there).sum() / there.sum().clamp(min=1)


def intersection_over_union(
    pairs: Iterable[tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]], count: int
) -> npt.NDArray[np.float64]:
    """(count,) per part over all pixels of all pictures.

    Args:
        pairs: what is said and what is true, labels below `count`; pixels whose truth is above do not count.
        count: how many parts there are. One that is neither said nor true anywhere has no score: NaN.
    """
    confusion = np.zeros((count, count))
    for said, truth in pairs:
        known = truth < count
        numbers = count * truth[known].astype(np.int64) + said[known]
        confusion += np.bincount(numbers, minlength=count**2).reshape(count, count)
    both = np.diag(confusion)
    either = confusion.sum(0) + confusion.sum(1) - both
    return np.divide(both, either, out=np.full(count, np.nan), where=either > 0)
