"""Aligned shards -> training batches.

A shard is an uncompressed tar in the WebDataset layout, written by :mod:`train.align_photos`: ``KEY.jpg`` (256 x 256
crop), ``KEY.json``, ``KEY.landmarks.npy`` (FaceMesh, 468 x 3, crop px) and, for renders, ``KEY.rig_landmarks.npy``
(the rig's own points, exact, 468 x 2). :class:`RenderShards` and :class:`PhotoShards` read labels into memory once
(cached beside the shards) and pictures straight from the tar when a batch needs them, in any order.

Which pictures make up step *n*, and how they are changed, depends on (seed, n) alone: training that resumes goes on
as if it had never stopped, and torchrun's processes share one plan."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from game.character import identity_mirror_signs, mirrored_units
from sdk.schema import REFERENCE, Schema
from train.augment import augment
from train.shard_files import Files, Place, local_shards

if TYPE_CHECKING:
    from typing_extensions import Self

    from train.fresh_renders import FreshRenders
    from train.views import Views

PHOTO_SCORE = 0.5
"""FaceMesh score under which an aligned picture is not trained on."""

Arrays = dict[str, npt.NDArray[Any]]
POSE_SIGNS = np.array([1, -1], np.float32)
GAZE_SIGNS = np.array([-1, 1], np.float32)


class ShardError(ValueError):
    """A folder holds no aligned shards, or a shard lacks a file. The message names it."""


@dataclass(frozen=True)
class _Entry:
    """One sample of a shard: its key and the files with it, read when asked for."""

    key: str
    offset: int
    size: int
    read: Callable[[str], bytes]
    place: Callable[[str], tuple[int, int]]  # where in the shard a file's bytes are: offset and size; (0, 0) where there is none

    def json(self) -> dict[str, Any]:
        return json.loads(self.read("json"))

    def array(self, name: str) -> npt.NDArray[np.float32]:
        return np.load(io.BytesIO(self.read(name))).astype(np.float32)


def _entries(path: Path) -> Iterator[_Entry]:
    with tarfile.open(path, "r:") as tar:
        members: dict[str, dict[str, tarfile.TarInfo]] = {}
        for member in tar:
            key, _, extension = member.name.partition(".")
            members.setdefault(key, {})[extension] = member
        for key, files in members.items():

            def read(extension: str, key: str = key, files: dict[str, tarfile.TarInfo] = files) -> bytes:
                if extension not in files:
                    raise ShardError(f"{path}: sample {key!r} has no {key}.{extension}")
                return tar.extractfile(files[extension]).read()  # type: ignore[union-attr]

            def place(extension: str, files: dict[str, tarfile.TarInfo] = files) -> tuple[int, int]:
                return (files[extension].offset_data, files[extension].size) if extension in files else (0, 0)

            if "jpg" not in files:
                raise ShardError(f"{path}: sample {key!r} has no {key}.jpg")
            yield _Entry(key, files["jpg"].offset_data, files["jpg"].size, read, place)


def _entry_in_memory(key: str, files: Files) -> _Entry:
    """As if its files lay one behind the other."""
    ends = np.cumsum([len(data) for data in files.values()]).tolist()
    places = {name: (end - len(data), len(data)) for (name, data), end in zip(files.items(), ends, strict=True)}
    return _Entry(key, *places["jpg"], files.__getitem__, lambda extension: places.get(extension, (0, 0)))


class Shards(ABC):
    """The aligned samples of one folder: where each picture is, and the arrays of its labels."""

    paths: list[Path]
    arrays: Arrays

    def __init__(self, folder: Place, pattern: str = "*.tar") -> None:
        """Shards of ``folder``, a path or a URL, whose file name matches ``pattern``; :class:`ShardError` where there are
        none."""
        self.paths = local_shards(folder, pattern)
        if not self.paths:
            raise ShardError(f"there are no shards {pattern} in {str(folder)!r}")
        self.arrays = self._load(self.paths[0].parent)

    @classmethod
    def in_memory(cls, samples: Iterable[tuple[str, Files]]) -> Self:
        """Samples that lie in no shard: key, and extension -> bytes."""
        shards, found = cls.__new__(cls), list(samples)
        shards.paths = []
        shards._files = [np.frombuffer(b"".join(files.values()), np.uint8) for _, files in found]
        shards.arrays = shards._gather([_entry_in_memory(key, files)] for key, files in found)
        return shards

    def __len__(self) -> int:
        return len(self.arrays["offset"])

    @cached_property
    def _files(self) -> list[npt.NDArray[np.uint8]]:
        return [np.memmap(path, np.uint8, mode="r") for path in self.paths]

    def picture(self, index: int) -> npt.NDArray[np.uint8]:
        """Crop number ``index``: (256, 256, 3) uint8 RGB."""
        return cv2.cvtColor(cv2.imdecode(self.bytes_of(index), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)

    def crops(self, chosen: npt.NDArray[np.int_]) -> Tensor:
        """The crops of these numbers as networks want them: (N, 3, 256, 256) in [0, 1]."""
        return to_float(torch.from_numpy(np.stack([self.picture(int(index)) for index in chosen])))

    def inputs(self, chosen: npt.NDArray[np.int_], device: torch.device | None = None) -> tuple[Tensor, Tensor]:
        """The crops of these numbers, and FaceMesh's landmarks on them (N, 468, 2)."""
        return self.crops(chosen).to(device), torch.from_numpy(self.mesh(chosen)).to(device)

    def bytes_of(self, index: int, file: str = "") -> npt.NDArray[np.uint8]:
        """The bytes of sample number ``index``'s picture, or of a file whose place is in the arrays FILEoffset and FILEsize."""
        start, size = int(self.arrays[file + "offset"][index]), int(self.arrays[file + "size"][index])
        return np.asarray(self._files[int(self.arrays["shard"][index])][start : start + size])

    def held_out(self, last: int) -> npt.NDArray[np.bool_]:
        """(N,) which samples lie in the last so many shards."""
        return self.arrays["shard"] >= len(self.paths) - last

    def part(self, kept: npt.NDArray[np.bool_]) -> Self:
        """Some of the samples, (N,) which; the shards themselves keep all."""
        some = copy.copy(self)
        some.arrays = {name: values[kept] for name, values in self.arrays.items()}
        return some

    def _load(self, folder: Path) -> Arrays:
        """Labels from the cache beside the shards, which is made anew whenever a shard's name or size has changed."""
        stamp = type(self).__name__ + "".join(f"{path.name} {path.stat().st_size}\n" for path in self.paths)
        cache = folder / f"labels-{hashlib.sha256(stamp.encode()).hexdigest()[:16]}.npz"
        if cache.is_file():
            with np.load(cache) as stored:
                return dict(stored)
        arrays = self._gather(_entries(path) for path in self.paths)
        if not arrays:
            raise ShardError(f"none of the samples in {str(folder)!r} can be used")
        temporary = cache.with_suffix(".part.npz")
        np.savez(temporary, **arrays)
        temporary.rename(cache)
        return arrays

    def _gather(self, shards: Iterable[Iterable[_Entry]]) -> Arrays:
        rows: dict[str, list[Any]] = {}
        for shard, entries in enumerate(shards):
            for entry in entries:
                labels = self._labels(entry)
                if labels is None:
                    continue
                labels |= {"key": entry.key, "shard": shard, "offset": entry.offset, "size": entry.size}
                for name, value in labels.items():
                    rows.setdefault(name, []).append(value)
        return {name: np.array(values) for name, values in rows.items()}

    def mesh(self, index: int | npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
        """(468, 2), or (N, 468, 2) of several pictures, crop px: where FaceMesh sees the landmarks."""
        return np.asarray(self.arrays["landmarks"][index], np.float32)

    @abstractmethod
    def _labels(self, entry: _Entry) -> dict[str, Any] | None:
        """The labels of a sample, or None when it is not to be used."""


class RenderShards(Shards):
    """Renders: identity (N, 244), expression (N, 23), pose (N, 2) degrees, gaze (N, 2), style (N, slots) option
    numbers, landmarks (N, 468, 2) exact, mesh_offset (N, 468, 2) float16: FaceMesh's points minus those."""

    schema: Schema = REFERENCE

    def _labels(self, entry: _Entry) -> dict[str, Any]:
        fields = entry.json()
        labels: dict[str, Any] = {name: np.array(fields[name], np.float32) for name in ("identity", "expression", "pose", "gaze")}
        labels["style"] = np.array([slot.index(fields["style"][slot.name]) for slot in self.schema.style], np.int64)
        labels["landmarks"] = entry.array("rig_landmarks.npy")
        offset = entry.array("landmarks.npy")[:, :2] - labels["landmarks"]
        labels["mesh_offset"] = offset.astype(np.float16)
        return labels

    def mesh(self, index: int | npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
        return super().mesh(index) + self.arrays["mesh_offset"][index].astype(np.float32)


class PhotoShards(Shards):
    """Photos: landmarks (N, 468, 2) by FaceMesh, person (N,) names (the key before its last ``_NNNN``)."""

    def _labels(self, entry: _Entry) -> dict[str, Any] | None:
        if entry.json().get("mesh_score", 1.0) < PHOTO_SCORE:
            return None
        person = entry.key.rsplit("/", 1)[-1].rsplit("_", 1)[0]
        return {"landmarks": entry.array("landmarks.npy")[:, :2], "person": person}

    @cached_property
    def person_number(self) -> npt.NDArray[np.int64]:
        """(N,) a number per person."""
        return np.unique(self.arrays["person"], return_inverse=True)[1]

    @cached_property
    def firsts(self) -> npt.NDArray[np.intp]:
        """The number of each person's first photo, by the person's number."""
        return np.unique(self.person_number, return_index=True)[1]

    @cached_property
    def others(self) -> list[npt.NDArray[np.intp]]:
        """For each photo the other photos of the same person."""
        members: dict[int, list[int]] = {}
        for index, person in enumerate(self.person_number):
            members.setdefault(int(person), []).append(index)
        return [np.array([i for i in members[int(p)] if i != k], np.intp) for k, p in enumerate(self.person_number)]


S = TypeVar("S", bound=Shards)


@dataclass(frozen=True)
class BatchSize:
    """Pictures per process and step. ``photos`` is even: they come in pairs, two photos of one person or one photo
    twice."""

    renders: int
    photos: int


class Batches(Dataset[dict[str, Tensor]]):
    """Item *n* is the batch of step *n* (for this rank): a dict of tensors.

    ``crop`` uint8 (R + P, 256, 256, 3), renders first, and ``mesh`` (R + P, 468, 2), what FaceMesh sees on them.
    Renders: ``identity`` (R, 244), ``expression``, ``pose`` (degrees), ``gaze``, ``style`` (R, slots), ``landmarks``
    (R, 468, 2). Photos: ``photo_landmarks`` (P, 468, 2) by FaceMesh, ``person`` (P,), ``mirrored`` (P,) bool,
    ``photo`` (P,) number of the photo and, where their styles were
    measured, ``evidence`` (P, options of all slots side by side). Neighbours 2k and 2k + 1 of the photos are a pair. With kept
    views (:mod:`train.views`) what a network's fixed part saw stands in place of ``crop`` and ``mesh``.
    """

    UNCHANGED, UNCHANGED_PHOTOS = 0.0, 0.0
    """Shares of renders and photos whose light and colours stay as they are: these are moved only."""

    def __init__(
        self,
        renders: RenderShards,
        photos: PhotoShards,
        size: BatchSize,
        seed: int,
        landmark_mirror: npt.NDArray[np.intp],
        evidence: npt.NDArray[np.float32] | None = None,
        rank: int = 0,
        world: int = 1,
        change: bool = True,
        fresh: FreshRenders[RenderShards] | None = None,
        views: Views | None = None,
    ) -> None:
        """`fresh`: renders that take the places of some of `renders`; `views`: of these renders and photos, instead of
        pictures."""
        self.renders, self.photos, self.size, self.seed = renders, photos, size, seed
        self.landmark_mirror, self.evidence = landmark_mirror, evidence
        self.rank, self.world, self.change, self.fresh, self.views = rank, world, change, fresh, views
        self.identity_signs, self.unit_mirror = identity_mirror_signs(), mirrored_units()

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        turn = step * self.world + self.rank
        rng = np.random.default_rng((self.seed, turn))
        chosen = renders_of_turn(self.renders, self.fresh, self.seed, turn, self.size.renders)
        renders = [self.render(shards, index, rng) for shards, index in chosen]
        firsts = drawn(len(self.photos), self.seed, 2, turn, self.size.photos // 2)
        photos = [photo for first in firsts for photo in self._pair(int(first), rng)]
        batch = stacked(renders)
        if photos:
            seen = renders[0].keys() & photos[0].keys()
            batch |= stacked(photos) | stacked([{name: row[name] for name in seen} for row in renders + photos])
        return {name: torch.from_numpy(values) for name, values in batch.items()}

    def _crop(
        self, shards: Shards, index: int, landmarks: npt.NDArray[np.float32], rng: np.random.Generator, mirror: bool
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
        """A picture, changed, and the landmarks (..., 468, 2) on it."""
        crop = shards.picture(index)
        if not self.change:
            return crop, landmarks
        unchanged = self.UNCHANGED_PHOTOS if shards is self.photos else self.UNCHANGED
        crop, matrix = augment(crop, rng, mirror, moved_only=bool(unchanged and rng.random() < unchanged))
        landmarks = landmarks @ matrix[:, :2].T + matrix[:, 2]
        return crop, (landmarks[..., self.landmark_mirror, :] if mirror else landmarks).astype(np.float32)

    def render(self, renders: RenderShards, index: int, rng: np.random.Generator) -> Arrays:
        """A render as it is seen in some turn, and what it shows."""
        if self.views is not None:
            return self.views.render(index)
        labels = {name: renders.arrays[name][index] for name in ("identity", "expression", "pose", "gaze", "style")}
        mirror, exact = self.change and rng.random() < 0.5, renders.arrays["landmarks"][index]
        crop, (landmarks, mesh) = self._crop(renders, index, np.stack([exact, renders.mesh(index)]), rng, mirror)
        if mirror:
            labels["identity"] = labels["identity"] * self.identity_signs
            labels["expression"] = labels["expression"][self.unit_mirror]
            labels["pose"], labels["gaze"] = labels["pose"] * POSE_SIGNS, labels["gaze"] * GAZE_SIGNS
        return {"crop": crop, "mesh": mesh, "landmarks": landmarks, **labels}

    def _pair(self, first: int, rng: np.random.Generator) -> list[Arrays]:
        """A photo, and another of the same person where there is one, else itself in the mirror."""
        others = self.photos.others[first]
        mirror = bool(self.change and rng.random() < 0.5)
        if len(others) and rng.random() < 0.7:
            return [self.photo(first, rng, mirror), self.photo(int(rng.choice(others)), rng, mirror)]
        return [self.photo(first, rng, mirror), self.photo(first, rng, not mirror and self.change)]

    def photo(self, index: int, rng: np.random.Generator, mirror: bool) -> Arrays:
        """A photo as it is seen in some turn, and what is known of it."""
        if self.views is not None:
            return self.views.photo(index, rng, mirror)
        crop, landmarks = self._crop(self.photos, index, self.photos.arrays["landmarks"][index], rng, mirror)
        row: Arrays = {
            "crop": crop,
            "mesh": landmarks,
            "photo_landmarks": landmarks,
            "person": np.int64(self.photos.person_number[index]),
            "photo": np.int64(index),
            "mirrored": np.bool_(mirror),
        }
        if self.evidence is not None:
            row["evidence"] = self.evidence[index]
        return row

    def __len__(self) -> int:
        return 2**40

    def loader(self, first: int, steps: int, workers: int) -> DataLoader[dict[str, Tensor]]:
        """Batches of steps ``first`` .. ``first + steps - 1``, made in ``workers`` processes beside the training."""
        return DataLoader(
            self,
            batch_size=None,
            sampler=range(first, first + steps),
            num_workers=workers,
            prefetch_factor=4 if workers else None,
        )


def renders_of_turn(renders: S, fresh: FreshRenders[S] | None, seed: int, turn: int, take: int) -> list[tuple[S, int]]:
    """Where the ``take`` renders of a turn are, and their numbers there: stored ones, then those that are drawn anew."""
    stored = drawn(len(renders), seed, 1, turn, take - (fresh.take if fresh else 0))
    places = [(renders, int(index)) for index in stored]
    if fresh:
        new = fresh(turn)
        places += [(new, k) for k in range(len(new))]
    return places


def stacked(rows: list[Arrays]) -> Arrays:
    """Rows of a batch, field by field."""
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def drawn(count: int, seed: int, stream: int, turn: int, take: int) -> npt.NDArray[np.intp]:
    """The ``take`` samples of a turn from an endless series of shuffles of ``count``; another one for every stream."""
    places = np.arange(turn * take, (turn + 1) * take)
    order = np.empty(take, np.intp)
    for epoch in np.unique(places // count):
        shuffle = _shuffle(count, seed, stream, int(epoch))
        inside = places // count == epoch
        order[inside] = shuffle[places[inside] % count]
    return order


def _shuffle(count: int, seed: int, stream: int, epoch: int) -> npt.NDArray[np.intp]:
    key = (count, seed, stream, epoch)
    if key not in _shuffles:
        if len(_shuffles) > 8:
            _shuffles.clear()
        _shuffles[key] = np.random.default_rng((seed, stream, epoch)).permutation(count)
    return _shuffles[key]


_shuffles: dict[tuple[int, int, int, int], npt.NDArray[np.intp]] = {}


def spaced(count: int, take: int) -> npt.NDArray[np.int_]:
    """Numbers of `take` of `count` samples, evenly spaced; of all where there are no more."""
    return np.linspace(0, count - 1, min(take, count)).astype(int)


def rows_of_pictures(*rows: Tensor) -> npt.NDArray[np.uint8]:
    """Pictures (B, 3, H, W) in [0, 1], those of a tensor side by side, one tensor below the other, at half size: (H', W', 3)."""
    pixels = torch.cat([torch.cat(list(pictures), 2) for pictures in rows], 1).clamp(0, 1).permute(1, 2, 0)
    sheet = (255 * pixels).round().byte().cpu().numpy()
    return cv2.resize(sheet, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)


def to_float(crop: Tensor) -> Tensor:
    """uint8 (B, 256, 256, 3) -> float32 (B, 3, 256, 256) in [0, 1], channels last in memory (the layout of both,
    unchanged)."""
    return crop.permute(0, 3, 1, 2).float().mul_(1 / 255)
