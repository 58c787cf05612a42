"""Styles of photos, as a network tells them that has learnt to see elsewhere.

Few photos have styles told by eye, and the encoder comes to know them by heart. EfficientNet-Lite0 (:mod:`train.perceptual`) has
seen a million pictures of other things; linear layers on its features, frozen, are right about people they have not seen more
often than the encoder alone. So the encoder learns their probabilities beside the labels (G. Hinton et al., "Distilling the
knowledge in a neural network", 2015). Each photo's come from layers fitted to other people: they are as unsure as they should
be. And who has a beard on one photo mostly has one on the next: photos that nobody looked at count a little as what was told of
their people's others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from sdk.schema import REFERENCE, Schema
from train.data import PhotoShards
from train.face_files import UNKNOWN
from train.kept_arrays import FloatArray, kept
from train.perceptual import efficientnet
from train.style_labels import HIDDEN

FOLDS = 5
"""Parts of the people; of each the layers are fitted to the others."""
DECAY = 0.2
"""Weight of the layers' squared norm: what made held-out people's labels likeliest."""
SAME_PERSON = 0.5
"""Weight of a photo that nobody looked at, of a person who has a label; all of a person's together that of a label at most."""
CELLS = 4
"""Means of features are taken in so many by so many cells."""


def taught_styles(photos: PhotoShards, style: npt.NDArray[np.int64], folder: Path, schema: Schema = REFERENCE) -> FloatArray:
    """(N, options of all slots side by side): probabilities of each photo's options, from the options of the photos that have
    labels, `style` (N, slots); 0 where nobody looked at that slot of any photo, or saw that it is hidden. Kept in `folder`."""

    def taught() -> FloatArray:
        seen, person = features(photos), photos.person_number
        return np.concatenate([_slot(seen, style[:, k], person, len(slot.options)) for k, slot in enumerate(schema.style)], 1)

    return kept(folder, "taught", (style, photos.arrays["key"]), taught)


@torch.no_grad()
def features(photos: PhotoShards, batch: int = 16) -> Tensor:
    """(2N, features): of all photos, then of their mirror images, what EfficientNet-Lite0's fifth and last stages see, each
    feature with mean 0 and deviation 1."""
    network = efficientnet(7).eval()
    found: tuple[list[Tensor], list[Tensor]] = ([], [])
    parts = np.array_split(np.arange(len(photos)), -(-len(photos) // batch))
    for part in tqdm(parts, "features of photos", unit="batch"):
        crops = 2 * photos.crops(part) - 1
        for side, pictures in zip(found, (crops, crops.flip(3)), strict=True):
            maps = network(pictures)
            side.append(torch.cat([functional.adaptive_avg_pool2d(maps[k], CELLS).flatten(1) for k in (4, 6)], 1))
    seen = torch.cat([torch.cat(side) for side in found])
    return (seen - seen.mean(0)) / (seen.std(0) + 1e-3)


def _slot(seen: Tensor, style: npt.NDArray[np.int64], person: npt.NDArray[np.int_], options: int) -> FloatArray:
    """Of one slot, by layers fitted to the other folds."""
    wanted, weight = (torch.from_numpy(np.concatenate([values, values])) for values in likely(style, person, options))
    fold, taught = person % FOLDS, np.zeros((len(style), options), np.float32)
    for part in np.unique(fold):
        learnt = (weight > 0) & torch.from_numpy(np.tile(fold != part, 2))
        asked = np.tile((style != HIDDEN) & (fold == part), 2)
        if learnt.any() and asked.any():
            answers = line(seen[learnt], wanted[learnt], weight[learnt])(seen[asked]).softmax(1)
            taught[asked[: len(style)]] = answers.unflatten(0, (2, -1)).mean(0)
    return taught


def likely(style: npt.NDArray[np.int64], person: npt.NDArray[np.int_], options: int) -> tuple[FloatArray, FloatArray]:
    """Of photos, some with labels, `style` (N,): (N, options) what is likely on them, and (N,) how much that counts. Where nobody
    looked it is the mean of the person's labels, for SAME_PERSON; where it cannot be seen or is not known it counts nothing."""
    wanted, weight = np.zeros((len(style), options), np.float32), (style >= 0).astype(np.float32)
    wanted[style >= 0, style[style >= 0]] = 1
    for number in np.unique(person[style >= 0]):
        own = person == number
        others = own & (style == UNKNOWN)
        wanted[others] = wanted[own & (style >= 0)].mean(0)
        weight[others] = min(SAME_PERSON, 1 / max(others.sum(), 1))
    return wanted, weight


def line(seen: Tensor, wanted: Tensor, weight: Tensor) -> torch.nn.Linear:
    """Multinomial logistic regression of probabilities of options (N, O) on features (N, F); each counts `weight` (N,)."""
    layer = torch.nn.Linear(seen.shape[1], wanted.shape[1])
    for values in layer.parameters():
        torch.nn.init.zeros_(values)
    optimiser = torch.optim.LBFGS(layer.parameters(), max_iter=40, line_search_fn="strong_wolfe")

    def cost() -> float:
        optimiser.zero_grad()
        error = functional.cross_entropy(layer(seen), wanted, reduction="none") @ weight / weight.sum()
        loss = error + DECAY * layer.weight.square().sum()
        loss.backward()
        return float(loss.detach())

    optimiser.step(cost)
    return layer.requires_grad_(False)
