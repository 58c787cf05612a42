"""Train the segmenter: BiSeNet on renders, carried over to photos (CN112200236A [0081], [0188]).

    python -m train.segmenter --renders DIR --photos DIR --photos-labelled FASSEG.tar --out DIR --minutes 45 \\
        --devices 2 --threads 1 --precision bf16-mixed                                         # two cores with bf16
    torchrun --nproc-per-node 8 -m train.segmenter --devices 8 --preset gpu --steps 40000 ...  # GPUs

Renders teach every part. Photos are in every batch too, so that batch norm sees both kinds, and teach which parts are
possible by their landmarks (:mod:`train.landmark_parts`). No painted labels of photos are trained on; those of
``--photos-labelled`` only measure. A mean teacher, which labels photos with what it is sure of, was tried and left out: it
took bright hair for skin, was believed, and said so ever more."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import tyro
from torch import Tensor, nn
from torch.nn import functional

from sdk.contract import CROP_SIZE
from train.bisenet import Segmentation, Segmenter, build, describe, enlarge
from train.data import BatchSize, spaced, to_float
from train.face_parts import PARTS, picture
from train.fresh_renders import wanted
from train.loop import Batch, Loop, LoopOptions, Task
from train.segmenter_data import LabelledPhotos, LabelledRenders, MaskedPhotos, SegmenterBatches
from train.segmenter_losses import (
    cross_entropy,
    dice,
    intersection_over_union,
    members,
    part_frequencies,
    part_weights,
    set_entropy,
    shares,
)

log = logging.getLogger(__name__)

Image = npt.NDArray[np.uint8]
SHEET = 6
"""Pictures of each kind on the sample sheet."""


@dataclass(frozen=True, kw_only=True)
class Options(LoopOptions):
    """Options of training; each is a flag of the command line."""

    renders: str  # folder or URL of aligned render shards
    photos: str | None = None  # folder or URL of aligned photo shards, without labels (none: train on renders only)
    photo_shards: str = "lfw-train-*.tar"  # which shards of --photos to train on
    photos_labelled: Path | None = None  # shard of photos with painted parts, to measure on
    hold_out: int = 1  # this many last render shards are kept for measuring
    evaluate_on: int = 300  # so many held-out renders are measured on
    preset: str = "cpu"  # size of the network: tiny, cpu, gpu
    batch_renders: int = 16  # per process
    fresh_renders: int = 0  # so many of batch_renders are drawn anew in every step, by the workers
    backgrounds: tuple[str, ...] = ()  # tars or folders of photos, whose borders those stand before
    batch_photos: int = 8  # per process
    learning_rate: float = 2e-3  # for a batch of 48
    rarity: float = 0.5  # power of a part's rarity in its weight: at 0.2 eyes and teeth are not learnt before step 300
    dice: float = 0.5  # weight of the overlap of parts, nearer to what is measured than cross-entropy, but slow at first
    auxiliary: float = 0.4  # weight of the context path's heads (BiSeNet: 1, but these grids are coarser than our parts)
    landmarks: float = 0.5  # weight of what is possible by a photo's landmarks: less exact than labels of renders


class SegmenterTask(Task):
    """The segmenter and its losses."""

    network: Segmenter

    def __init__(self, options: Options) -> None:
        self.options = options
        renders = LabelledRenders(options.renders)
        last = renders.held_out(options.hold_out)
        self.renders, self.held_out = renders.part(~last), renders.part(last)
        self.photos = MaskedPhotos(options.photos, options.photo_shards) if options.photos else None
        self.labelled = LabelledPhotos(options.photos_labelled) if options.photos_labelled else None
        self.size = BatchSize(options.batch_renders, options.batch_photos if self.photos else 0)
        self.network = build(options.preset)
        frequencies = part_frequencies(self.renders)
        self.network.expect(frequencies)
        self.weights = part_weights(frequencies, options.rarity)

    def batches(self, rank: int, world: int) -> SegmenterBatches:
        fresh = wanted(LabelledRenders, self.options)
        return SegmenterBatches(self.renders, self.photos, self.size, self.options.seed, rank, world, fresh)

    def to(self, device: torch.device) -> None:
        self.weights = self.weights.to(device)

    def losses(self, module: nn.Module, batch: Batch) -> dict[str, Tensor]:
        options, count = self.options, self.size.renders
        said: Segmentation = module(to_float(batch["crop"]))
        logits = said.logits.float()
        losses = self._render_losses(logits[:count], [coarse[:count].float() for coarse in said.auxiliary], batch["parts"])
        loss = losses["parts"] + options.dice * losses["dice"] + options.auxiliary * losses["auxiliary"]
        if self.size.photos:
            possible = members(batch["possible"], logits.shape[-1])
            losses["landmarks"] = set_entropy(logits[count:], possible, self.weights)
            loss = loss + options.landmarks * losses["landmarks"]
        return {**losses, "loss": loss}

    def _render_losses(self, logits: Tensor, auxiliary: list[Tensor], parts: Tensor) -> dict[str, Tensor]:
        target = shares(parts, logits.shape[-1])
        pooled = [functional.adaptive_avg_pool2d(target, coarse.shape[-2:]) for coarse in auxiliary]
        coarse = [cross_entropy(said, true, self.weights) for said, true in zip(auxiliary, pooled, strict=True)]
        return {
            "parts": cross_entropy(logits, target, self.weights),
            "dice": dice(logits, target),
            "auxiliary": torch.stack(coarse).sum(),
        }

    def description(self) -> dict[str, Any]:
        return describe(self.network)

    def fingerprint(self) -> dict[str, Any]:
        photos = len(self.photos) if self.photos else 0
        return {"renders": len(self.renders), "held out": len(self.held_out), "photos": photos}

    def evaluate(self) -> dict[str, float]:
        """Mean and each part's intersection over union, on held-out renders and on photos with painted parts."""
        measured = renders_iou(self.network, self.held_out, spaced(len(self.held_out), self.options.evaluate_on))
        if self.labelled is not None:
            measured |= photos_iou(self.network, self.labelled)
        return {"score": measured["renders"], **measured}

    def sheet(self) -> Image:
        """Held-out renders and photos, each above its parts."""
        crops = [self.held_out.picture(i) for i in range(min(SHEET, len(self.held_out)))]
        if self.photos is not None:
            crops += [self.photos.picture(i) for i in spaced(len(self.photos), SHEET)]
        if self.labelled is not None:
            crops += self.labelled.crops[:SHEET]
        return sheet(self.network, crops)


@torch.no_grad()
def predicted(network: Segmenter, crops: list[Image]) -> Iterator[Image]:
    """The parts (256, 256) of crops (256, 256, 3), one after the other. The network is in evaluation mode."""
    device = next(network.parameters()).device
    for crop in crops:
        said = network(to_float(torch.from_numpy(np.ascontiguousarray(crop))[None].to(device)))
        yield enlarge(said.logits, CROP_SIZE).argmax(1)[0].byte().cpu().numpy()


def renders_iou(network: Segmenter, renders: LabelledRenders, chosen: npt.NDArray[np.int_]) -> dict[str, float]:
    """Intersection over union on some renders: their mean as "renders", and "renders PART"."""
    crops = [renders.picture(int(i)) for i in chosen]
    truth = (renders.labels(int(i)) for i in chosen)
    return _named("renders", PARTS, intersection_over_union(zip(predicted(network, crops), truth, strict=True), len(PARTS)))


def photos_iou(network: Segmenter, labelled: LabelledPhotos) -> dict[str, float]:
    """Intersection over union on photos with painted parts: their mean as "photos", and "photos PART"."""
    merged = np.array(labelled.OF_PARTS, np.uint8)
    said = (merged[parts] for parts in predicted(network, labelled.crops))
    scores = intersection_over_union(zip(said, labelled.parts, strict=True), len(labelled.PARTS))
    return _named("photos", labelled.PARTS, scores)


def _named(kind: str, parts: tuple[str, ...], scores: npt.NDArray[np.float64]) -> dict[str, float]:
    each = {f"{kind} {part}": float(score) for part, score in zip(parts, scores, strict=True)}
    return {kind: float(np.nanmean(scores)), **each}


def sheet(network: Segmenter, crops: list[Image], columns: int = SHEET) -> Image:
    """Crops (256, 256, 3) in rows, each row above its parts in colours, at half size."""
    rows: list[Image] = []
    for first in range(0, len(crops), columns):
        taken = crops[first : first + columns]
        for pictures in (taken, [picture(parts) for parts in predicted(network, taken)]):
            row = np.zeros((CROP_SIZE, columns * CROP_SIZE, 3), np.uint8)
            row[:, : len(pictures) * CROP_SIZE] = np.hstack(pictures)
            rows.append(row)
    return np.vstack(rows)[::2, ::2]


def training(options: Options) -> Loop:
    """The run that the options describe, fresh or resumed."""
    return Loop(options, lambda resumed: SegmenterTask(options))


def train(options: Options) -> Path:
    """Train or resume; returns the path of the last checkpoint."""
    return training(options).run()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    print(train(tyro.cli(Options, description=__doc__)))
