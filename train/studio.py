"""The studio: one light, one backdrop, one camera, the face placed as in an aligned crop. What the imitator imitates.

    python -m train.studio --out DIR --count 25000 --workers 2

renders training pictures as shards: ``KEY.jpg``, ``KEY.png`` (labels, :data:`game.labels.LABELS`), ``KEY.json`` and
``KEY.landmarks.npy``, as :mod:`game.render_dataset` writes them. Of two samples one has every parameter uniform in its
range (CN112200236A [0090], CN109902767B [0060]), the other is a plausible person (:mod:`game.sampling`).

The rule by which photos become crops (:class:`train.alignment.SimilarityFit`) turns and scales these pictures too, with
the rig's own points in the place of FaceMesh's. It moves the camera, not the pixels: nothing is resampled, and the
imitator, which holds the same rule in torch, knows for every vertex the pixel in which the renderer puts it."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import tyro
from torch import Tensor, nn
from tqdm import tqdm

from game.camera import Camera
from game.character import Character
from game.render_dataset import encode
from game.renderer import Renderer, Rendering
from game.rig import Rig
from game.sampling import sample_character
from game.scene import Scene
from game.shard_writer import new_shard
from sdk.contract import CROP_SIZE
from sdk.schema import REFERENCE
from train.alignment import SimilarityFit
from train.rig import TorchRig

PITCH, YAW = 20.0, 40.0
"""Degrees to either side within which heads are turned, as those of :func:`game.sampling.sample_pose`."""


class StudioView(nn.Module):
    """Parameters -> where the studio's picture shows every vertex of the rig. Batched, differentiable, without weights."""

    def __init__(self, rig: Rig) -> None:
        super().__init__()
        self.rig, self.fit, self.camera = TorchRig(rig), SimilarityFit(), Camera.portrait(CROP_SIZE)

    def forward(self, identity: Tensor, expression: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
        """Identity (B, 244), expression (B, 23) and pose (B, 2) in degrees to the vertices in the head's own frame, before
        it turns, (B, V, 3) in dm; and in the picture, (B, V, 3): x and y in crop pixels, y down, and nearness to the
        camera in crop pixels, 0 at the middle of eyes and mouth."""
        own = self.rig.vertices(identity, expression)
        seen = self._project(self.rig.turn(own, pose))
        transform = self.transform(seen)
        placed = seen[..., :2] @ transform[:, :, :2].transpose(1, 2) + transform[:, None, :, 2]
        scale = transform[:, :, 0].square().sum(1).sqrt()
        middle = (self.fit.mean.mean(0) @ self.rig.landmarks(seen))[:, None, 2]
        return own, torch.cat([placed, ((middle - seen[..., 2]) * scale[:, None])[..., None]], -1)

    def transform(self, seen: Tensor) -> Tensor:
        """Vertices in pixels of the default camera (B, V, 3) to the similarity (B, 2, 3) from there into the crop."""
        return self.fit(self.rig.landmarks(seen))[0]

    def camera_of(self, character: Character) -> Camera:
        """The camera that shows a character as the studio does."""
        vertices = self.rig.vertices(*(torch.tensor(v)[None] for v in (character.identity, character.expression, character.pose)))
        (cosine, _, x), (sine, _, y) = self.transform(self._project(vertices))[0].tolist()
        u, v = self.camera.centre
        return replace(
            self.camera,
            focal=self.camera.focal * math.hypot(cosine, sine),
            centre=(cosine * u - sine * v + x, sine * u + cosine * v + y),
            roll=math.degrees(math.atan2(sine, cosine)),
        )

    def _project(self, points: Tensor) -> Tensor:
        """Points (B, N, 3) in dm to pixels x, y of the default camera, and depth in the same unit."""
        seen = TorchRig.project(points, self.camera)
        return torch.cat([seen[..., :2], seen[..., 2:] * (self.camera.focal / self.camera.position[2])], -1)


class Studio:
    """Draws characters as the studio shows them."""

    def __init__(self) -> None:
        self.view, self.renderer = StudioView(Rig.load()), Renderer(CROP_SIZE)

    @torch.no_grad()
    def scene(self, character: Character) -> Scene:
        """The studio with its camera on a character."""
        return replace(Scene.studio(CROP_SIZE), camera=self.view.camera_of(character))

    def render(self, character: Character) -> Rendering:
        """The picture, (256, 256, 3) uint8, and its labels."""
        return self.renderer.render(character, self.scene(character))


def uniform_character(rng: np.random.Generator) -> Character:
    """Every parameter uniform in its range ([0090]); no face has so many things wrong with it at once."""
    return Character(
        identity=rng.uniform(-1, 1, len(REFERENCE.identity)).astype(np.float32),
        expression=rng.uniform(0, 1, len(REFERENCE.expression)).astype(np.float32),
        pose=(rng.uniform(-1, 1, 2) * (PITCH, YAW)).astype(np.float32),
        style={slot.name: int(rng.integers(len(slot.options))) for slot in REFERENCE.style},
    )


def draw_character(seed: int, index: int) -> Character:
    """Character number ``index`` of a data set: even ones are plausible, odd ones uniform."""
    rng = np.random.default_rng([seed, index])
    return uniform_character(rng) if index % 2 else sample_character(rng)


@dataclass(frozen=True)
class Options:
    """Options of rendering; each is a flag of the command line."""

    out: Path  # folder for the shards; complete ones there are kept
    count: int = 25000
    shard_size: int = 1000
    seed: int = 0
    workers: int = 1


def write_shard(out: Path, options: Options, shard: int, studio: Studio) -> Iterator[int]:
    """Write one shard, in place only when complete; yields after every sample."""
    path = out / f"studio-{shard:05d}.tar"
    if path.is_file():
        return
    with new_shard(path) as add:
        for index in range(shard * options.shard_size, min(options.count, (shard + 1) * options.shard_size)):
            character = draw_character(options.seed, index)
            scene = studio.scene(character)
            add(f"{index:08d}", encode(character, scene, studio.renderer.render(character, scene), options.seed))
            yield index


_worker: dict[str, Any] = {}


def _start_worker(options: Options) -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    _worker.update(options=options, studio=Studio())


def _write(shard: int) -> int:
    return sum(1 for _ in write_shard(_worker["options"].out, _worker["options"], shard, _worker["studio"]))


def render(options: Options) -> None:
    """Write the shards that are missing."""
    options.out.mkdir(parents=True, exist_ok=True)
    shards = -(-options.count // options.shard_size)
    with multiprocessing.get_context("spawn").Pool(options.workers, _start_worker, (options,)) as pool:
        for _ in tqdm(pool.imap_unordered(_write, range(shards)), total=shards, unit="shard"):
            pass


if __name__ == "__main__":
    render(tyro.cli(Options, description=__doc__))
