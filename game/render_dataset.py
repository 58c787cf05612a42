"""Render a training set: pictures, labels and parameters of random characters, as WebDataset shards.

    python -m game.render_dataset --count 60000 --out renders --seed 1 --backgrounds photos-00.tar photos-01.tar
    python -m game.render_dataset --count 5000 --out people --seed 5 --per-identity 4 ...     # for train.recogniser

Every sample has KEY.jpg (quality 95, 4:4:4), KEY.png (labels, see :data:`game.labels.LABELS`), KEY.json (the parameters) and
KEY.landmarks.npy (float32 (468, 2), pixels). Sample i depends on the seed and on i alone, whatever the number of workers. A run
that was stopped goes on with the shards that are missing; a shard is written beside its place and renamed when it is complete.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from game.backgrounds import load_strips
from game.character import Character
from game.labels import LABELS
from game.renderer import Renderer, Rendering
from game.sampling import sample_character, sample_scene
from game.scene import Scene
from game.shard_writer import new_shard
from sdk.schema import REFERENCE

_SETTINGS = "dataset.json"


class DatasetError(RuntimeError):
    """The output folder holds a dataset made with other settings; the message names the setting."""


@dataclass(frozen=True)
class Settings:
    """What a dataset consists of. Two runs with equal settings write equal bytes."""

    count: int
    seed: int = 0
    shard_size: int = 1000
    size: int = 256
    backgrounds: tuple[str, ...] = ()
    per_identity: int = 1  # so many samples in a row share identity and style

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.count // self.shard_size)

    def samples(self, shard: int) -> range:
        """Indices of the samples of a shard."""
        return range(shard * self.shard_size, min(self.count, (shard + 1) * self.shard_size))


def shard_path(out: Path, shard: int) -> Path:
    """Where a shard lies when it is complete."""
    return out / f"renders-{shard:05d}.tar"


def parameters(character: Character, scene: Scene, seed: int) -> dict[str, Any]:
    """The JSON of one sample."""
    return {
        "identity": [round(float(v), 5) for v in character.identity],
        "expression": [round(float(v), 5) for v in character.expression],
        "pose": [round(float(v), 4) for v in character.pose],
        "style": {slot.name: slot.options[character.style[slot.name]] for slot in REFERENCE.style},
        "gaze": [round(v, 4) for v in scene.gaze],
        "glasses": scene.glasses,
        "camera": asdict(scene.camera),
        "seed": seed,
    }


def draw(
    settings: Settings, index: int, renderer: Renderer, strips: Sequence[NDArray[np.uint8]]
) -> tuple[Character, Scene, Rendering]:
    """Sample ``index`` of a dataset: its character, its scene and the picture."""
    rng = np.random.default_rng([settings.seed, index])
    character = sample_character(rng)
    first = index - index % settings.per_identity
    if first < index:
        same = sample_character(np.random.default_rng([settings.seed, first]))
        character = replace(character, identity=same.identity, style=same.style)
    scene = sample_scene(rng, strips, character, settings.size)
    return character, scene, renderer.render(character, scene)


def encode(character: Character, scene: Scene, rendering: Rendering, seed: int) -> dict[str, bytes]:
    """The files of one sample: suffix -> bytes."""
    import cv2

    jpeg = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    picture = cv2.imencode(".jpg", np.ascontiguousarray(rendering.image[..., ::-1]), jpeg)[1]
    labels = cv2.imencode(".png", rendering.labels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1]
    landmarks = io.BytesIO()
    np.save(landmarks, rendering.landmarks)
    text = json.dumps(parameters(character, scene, seed), separators=(",", ":"))
    return {"jpg": picture.tobytes(), "png": labels.tobytes(), "json": text.encode(), "landmarks.npy": landmarks.getvalue()}


def write_shard(
    out: Path, settings: Settings, shard: int, renderer: Renderer, strips: Sequence[NDArray[np.uint8]]
) -> Iterator[int]:
    """Write one shard; yields after every sample."""
    with new_shard(shard_path(out, shard)) as add:
        for index in settings.samples(shard):
            add(f"{index:08d}", encode(*draw(settings, index, renderer, strips), settings.seed))
            yield index


def check_settings(out: Path, settings: Settings) -> None:
    """Write the settings beside the shards, or compare with those there: :class:`DatasetError` where they differ."""
    record: Mapping[str, Any] = {**asdict(settings), "backgrounds": list(settings.backgrounds), "labels": list(LABELS)}
    path = out / _SETTINGS
    if path.exists():
        there = json.loads(path.read_text(encoding="utf-8"))
        defaults = {"per_identity": 1}  # folders that are older than this setting
        for name, value in record.items():
            if name != "count" and there.get(name, defaults.get(name)) != value:
                raise DatasetError(f"{path}: {name} is {there.get(name)!r} there, but {value!r} was asked for; use another --out")
        if there["count"] % settings.shard_size and there["count"] != settings.count:
            raise DatasetError(f"{path}: the last shard of {there['count']} samples is not full; --count cannot change")
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


_worker: dict[str, Any] = {}


def _start_worker(out: Path, settings: Settings, drawn: Synchronized) -> None:
    strips = load_strips(settings.backgrounds) if settings.backgrounds else []
    _worker.update(out=out, settings=settings, drawn=drawn, renderer=Renderer(settings.size), strips=strips)


def _render_shard(shard: int) -> None:
    for _ in write_shard(_worker["out"], _worker["settings"], shard, _worker["renderer"], _worker["strips"]):
        with _worker["drawn"].get_lock():
            _worker["drawn"].value += 1


def render_dataset(out: Path, settings: Settings, workers: int | None = None) -> int:
    """Render the shards of a dataset that are missing in ``out``. Returns the number of samples drawn.

    ``workers``: processes; the number of cores where None. :class:`DatasetError` where ``out`` holds another dataset.
    """
    out.mkdir(parents=True, exist_ok=True)
    check_settings(out, settings)
    missing = [shard for shard in range(settings.shards) if not shard_path(out, shard).exists()]
    total = sum(len(settings.samples(shard)) for shard in missing)
    if not missing:
        return 0
    # One thread a process: the workers fill the cores.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    context = multiprocessing.get_context("spawn")
    drawn = context.Value("q", 0)
    count = min(workers or len(os.sched_getaffinity(0)), len(missing))
    with (
        context.Pool(count, _start_worker, (out, settings, drawn)) as pool,
        tqdm(total=total, unit="picture", smoothing=0.05) as bar,
    ):
        finished = pool.map_async(_render_shard, missing, chunksize=1)
        while not finished.ready():
            time.sleep(0.2)
            if drawn.value > bar.n:
                bar.update(drawn.value - bar.n)
        finished.get()
        bar.update(drawn.value - bar.n)
    return total


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, required=True, help="number of samples")
    parser.add_argument("--out", type=Path, required=True, help="folder for the shards")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--backgrounds", nargs="*", default=(), metavar="TAR", help="tar files or folders of photos to cut backgrounds from"
    )
    parser.add_argument("--workers", type=int, default=None, help="processes (default: all cores)")
    parser.add_argument("--shard-size", type=int, default=1000)
    parser.add_argument("--size", type=int, default=256, help="side of the pictures in pixels")
    parser.add_argument("--per-identity", type=int, default=1, help="samples in a row of one identity and style")
    options = parser.parse_args(arguments)
    if min(options.count, options.shard_size, options.per_identity) < 1:
        parser.error("--count, --shard-size and --per-identity must be at least 1")
    settings = Settings(
        options.count, options.seed, options.shard_size, options.size, tuple(options.backgrounds), options.per_identity
    )
    drawn = render_dataset(options.out, settings, options.workers)
    print(f"{drawn} pictures drawn; {settings.shards} shards in {options.out}")


if __name__ == "__main__":
    main()
