"""Pictures to check and to warm up the networks with: real photos and renders of the reference game, as they are served."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from game.character import Character
from game.renderer import Renderer
from game.sampling import sample_character
from game.scene import Scene
from game.scene_sampling import sample_scene
from sdk import contract
from sdk.letterbox import letterbox

RENDERS = 12
Canvases = NDArray[np.uint8]


def canvases(shards: Sequence[Path] = (), per_shard: int = 64) -> dict[str, Canvases]:
    """Canvases (N, 640, 640, 3) uint8 RGB by kind: "renders", and "photos": the portrait of an astronaut that scikit-image
    carries, whole, mirrored, close, and small on a wall, and the first photos of WebDataset shards."""
    rng = np.random.default_rng(0)
    characters = [Character.base(), *(sample_character(rng) for _ in range(RENDERS - 1))]
    scenes = [Scene.studio(), *(sample_scene(rng, character=character) for character in characters[1:])]
    renderer = Renderer()
    renders = [renderer.render(character, scene).image for character, scene in zip(characters, scenes, strict=True)]
    photos = [*_portraits(), *(photo for shard in shards for photo in islice(_photos(shard), per_shard))]
    kinds = {"renders": renders, "photos": photos}
    return {kind: np.stack([letterbox(picture)[0] for picture in pictures]) for kind, pictures in kinds.items()}


def crops(align: Path, pictures: Canvases) -> NDArray[np.float32]:
    """Aligned crops (N, 3, 256, 256) of canvases, by an `align` file on ONNX Runtime."""
    session = onnxruntime.InferenceSession(str(align), providers=["CPUExecutionProvider"])
    (crop,) = zip(*(session.run([contract.CROP.name], {contract.CANVAS.name: one[None]}) for one in pictures), strict=True)
    return np.concatenate(crop)


def write_warm_up(model_repository: Path, align: Path) -> list[Path]:
    """The inputs that Triton runs once before it says ready: the base face, as a canvas and as its crop."""
    canvas, _ = letterbox(Renderer().render(Character.base(), Scene.studio()).image)
    values: dict[str, NDArray[Any]] = {contract.CANVAS.name: canvas, contract.CROP.name: crops(align, canvas[None])[0]}
    written = []
    for model in contract.models().values():
        for tensor in model.inputs:
            path = model_repository / model.name / "warmup" / f"{tensor.name}.raw"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(values[tensor.name].tobytes())
            written.append(path)
    return written


def _portraits() -> Iterator[NDArray[np.uint8]]:
    import skimage.data  # reads pictures when imported

    portrait: NDArray[np.uint8] = skimage.data.astronaut()  # type: ignore[no-untyped-call]
    wall = np.full((1500, 2000, 3), 90, np.uint8)
    wall[600:1112, 300:812] = portrait
    yield from (portrait, portrait[:, ::-1], portrait[:260, 100:360], wall)


def _photos(shard: Path) -> Iterator[NDArray[np.uint8]]:
    with tarfile.open(shard) as tar:
        for member in tar:
            file = tar.extractfile(member) if member.name.endswith((".jpg", ".jpeg")) else None
            if file is not None:
                pixels: Any = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_COLOR)
                yield pixels[..., ::-1]
