"""Batches for the segmenter: renders with the part of every pixel, photos with the parts that their pixels may be.

Labels move with their picture, by the same matrix; left and right change places in the mirror; what stands in front of the
face and the black outside of a photo is background. Half of the renders get the surroundings of a photo for theirs, sharp and
full of things, where those of the renderer are soft: hair was told from background by that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sdk.contract import CROP_SIZE
from train import augment
from train.align_photos import ShardAligner
from train.data import BatchSize, PhotoShards, ShardError, Shards, drawn, renders_of_turn
from train.face_parts import BACKGROUND, MIRRORED, MIRRORED_SETS, OF_LABELS, Labels, set_of, table
from train.fresh_renders import FreshRenders
from train.landmark_parts import Sets, possible_parts
from train.shard_files import read_samples

Image = npt.NDArray[np.uint8]
AnyLabels = npt.NDArray[Any]
_OF_LABELS = table(OF_LABELS)
BACKDROPS = 0.5
"""Share of renders that get the surroundings of a photo."""
BESIDE = 60
"""Columns at either side of an aligned photo that show little but surroundings."""


class Kind(NamedTuple):
    """What a kind of labels becomes in the mirror, and what it says of the background."""

    mirrored: AnyLabels
    background: int


PART = Kind(table(MIRRORED), BACKGROUND)
SET = Kind(np.array(MIRRORED_SETS, np.int16), set_of(BACKGROUND))


class LabelledRenders(Shards):
    """Renders and the part of every pixel."""

    kind = PART

    def _labels(self, entry: Any) -> dict[str, Any]:
        offset, size = entry.place("png")
        if not size:
            raise ShardError(f"sample {entry.key!r} has no labels {entry.key}.png: these are not aligned renders")
        return {"labels_offset": offset, "labels_size": size}

    def labels(self, index: int) -> Labels:
        """(256, 256) the parts in crop number ``index``."""
        return _OF_LABELS[cv2.imdecode(self.bytes_of(index, "labels_"), cv2.IMREAD_GRAYSCALE)]


class MaskedPhotos(PhotoShards):
    """Photos, the parts that their pixels may be by their landmarks, and where the crop lies outside of the photo."""

    kind = SET

    def _labels(self, entry: Any) -> dict[str, Any] | None:
        labels = super()._labels(entry)
        offset, size = entry.place("mask.png")
        return labels and labels | {"mask_offset": offset, "mask_size": size}

    def labels(self, index: int) -> Sets:
        """(256, 256) the sets of parts that are possible in crop number ``index``; outside of the photo is background."""
        possible = possible_parts(self.arrays["landmarks"][index])
        if self.arrays["mask_size"][index]:
            possible[cv2.imdecode(self.bytes_of(index, "mask_"), cv2.IMREAD_GRAYSCALE) == 0] = set_of(BACKGROUND)
        return possible


def changed(image: Image, labels: AnyLabels, kind: Kind, rng: np.random.Generator) -> tuple[Image, AnyLabels]:
    """Change a crop (256, 256, 3) and its labels (256, 256) as :func:`train.augment.augment` does the crop."""
    mirror = rng.random() < 0.5
    matrix = augment.jitter_matrix(rng, mirror)
    image = augment.warp(image, matrix, rng)
    labels = _warp_labels(kind.mirrored[labels] if mirror else labels, matrix)
    if rng.random() < 0.2:
        labels[_differ(image.copy(), image := augment.cover(image, rng))] = kind.background
    image = augment.looks(image, rng)
    if rng.random() < 0.25:
        labels[_differ(image, image := augment.black_corners(image, rng))] = kind.background
    return np.ascontiguousarray(image), labels


def with_backdrop(image: Image, labels: Labels, photo: Image) -> Image:
    """A render (256, 256, 3) with its parts (256, 256) before what stands at the sides of a photo (256, 256, 3)."""
    sides = np.hstack([photo[:, -BESIDE:], photo[:, :BESIDE]])  # the photo's borders meet in the middle, behind the head
    backdrop = cv2.resize(sides, (CROP_SIZE, CROP_SIZE), interpolation=cv2.INTER_CUBIC)
    share = cv2.blur((labels == BACKGROUND).astype(np.float32), (3, 3))[..., None]
    return (image + share * (backdrop - image.astype(np.float32)) + 0.5).astype(np.uint8)


def _differ(first: Image, second: Image) -> npt.NDArray[np.bool_]:
    return (first != second).any(2)


def _warp_labels(labels: AnyLabels, matrix: npt.NDArray[np.float32]) -> AnyLabels:
    """Labels under a matrix of :func:`train.augment.jitter_matrix`; those of the edge repeat."""
    shifted = matrix.astype(np.float64)
    shifted[:, 2] += 0.5 * shifted[:, :2].sum(1) - 0.5  # OpenCV puts pixel centres at whole numbers
    return cv2.warpAffine(labels, shifted, (CROP_SIZE, CROP_SIZE), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)


class SegmenterBatches(Dataset[dict[str, Tensor]]):
    """Item *n* is batch *n* of this rank, by (seed, n) alone: ``crop`` uint8 (R + P, 256, 256, 3), renders first; ``parts``
    uint8 (R, 256, 256); ``possible`` int16 (P, 256, 256), sets of parts."""

    def __init__(
        self,
        renders: LabelledRenders,
        photos: MaskedPhotos | None,
        size: BatchSize,
        seed: int,
        rank: int = 0,
        world: int = 1,
        fresh: FreshRenders[LabelledRenders] | None = None,
    ) -> None:
        """`fresh`: renders that take the places of some of `renders`."""
        self.renders, self.photos, self.size, self.seed = renders, photos, size, seed
        self.rank, self.world, self.fresh = rank, world, fresh

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        turn = step * self.world + self.rank
        rng = np.random.default_rng((self.seed, turn))
        chosen = renders_of_turn(self.renders, self.fresh, self.seed, turn, self.size.renders)
        rows = [self._row(shards, index, rng) for shards, index in chosen]
        photos = []
        if self.photos is not None:
            of_photos = drawn(len(self.photos), self.seed, 2, turn, self.size.photos)
            photos = [self._row(self.photos, index, rng) for index in of_photos.tolist()]
        batch = {
            "crop": np.stack([crop for crop, _ in rows + photos]),
            "parts": np.stack([parts for _, parts in rows]),
        }
        if photos:
            batch["possible"] = np.stack([possible for _, possible in photos])
        return {name: torch.from_numpy(values) for name, values in batch.items()}

    def _row(self, shards: LabelledRenders | MaskedPhotos, index: int, rng: np.random.Generator) -> tuple[Image, AnyLabels]:
        image, labels = shards.picture(index), shards.labels(index)
        if self.photos is not None and shards is not self.photos and rng.random() < BACKDROPS:
            image = with_backdrop(image, labels, self.photos.picture(int(rng.integers(len(self.photos)))))
        return changed(image, labels, shards.kind, rng)

    def __len__(self) -> int:
        return 2**40


class LabelledPhotos:
    """Photos whose parts a person has painted (FASSEG), for measuring: aligned by the `align` graph, the labels with them.

    A shard has ``KEY.jpg`` and ``KEY.mask.png`` in :data:`COLOURS`. The labels are warped to the crop, rather than what is
    predicted warped back: the crop is what the segmenter is asked about, it shows every face equally large, and nothing is
    interpolated but the picture. What lies outside of the photo does not count."""

    PARTS = ("background", "skin", "hair", "eyes", "nose", "mouth")
    COLOURS = ((255, 0, 0), (255, 255, 0), (127, 0, 0), (0, 0, 255), (0, 255, 255), (0, 255, 0))
    OF_PARTS = (0, 1, 2, 2, 3, 3, 4, 5, 5, 5, 2, 1)
    """For every part of :mod:`train.face_parts` the one it belongs to here: skin has neck and ears, hair has brows."""
    OUTSIDE = 255

    def __init__(self, path: Path) -> None:
        """FileNotFoundError where there is no shard; :class:`train.data.ShardError` where it has no photo with labels."""
        aligner = ShardAligner()
        self.crops: list[Image] = []
        self.parts: list[Labels] = []
        for key, files in read_samples(path):
            if not {"jpg", "mask.png"} <= set(files):
                raise ShardError(f"{path}: sample {key!r} has no {key}.jpg or no {key}.mask.png")
            aligned = aligner.align({"jpg": files["jpg"]})
            if aligned is not None:
                self.crops.append(cv2.imdecode(np.frombuffer(aligned["jpg"], np.uint8), cv2.IMREAD_COLOR)[..., ::-1])
                self.parts.append(self._warped(files["mask.png"], np.array(json.loads(aligned["json"])["transform"])))
        if not self.crops:
            raise ShardError(f"{path}: there is no photo with a face and labels")

    @classmethod
    def _warped(cls, mask: bytes, transform: npt.NDArray[np.float64]) -> Labels:
        """Painted colours -> parts (256, 256); edges are antialiased, so the nearest colour counts."""
        painted = cv2.imdecode(np.frombuffer(mask, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(np.int32)
        distance = [np.abs(painted - colour).sum(2) for colour in cls.COLOURS]
        parts = np.argmin(distance, 0).astype(np.uint8)
        shifted = transform.copy()
        shifted[:, 2] += transform[:, :2] @ [0.5, 0.5] - 0.5  # OpenCV puts pixel centres at whole numbers
        size = (CROP_SIZE, CROP_SIZE)
        return cv2.warpAffine(parts, shifted, size, flags=cv2.INTER_NEAREST, borderValue=cls.OUTSIDE)
