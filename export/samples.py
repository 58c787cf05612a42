"""Pictures to check and to warm up the networks with: real photos and renders of the reference game, as they are served."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from export.half_safety import Inputs, run_onnx
from game.character import Character
from game.renderer import Renderer
from game.sampling import sample_character
from game.scene import Scene
from game.scene_sampling import sample_scene
from sdk import contract
from sdk.letterbox import letterbox
from sdk.schema import REFERENCE, Schema

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


def inputs(align: Path, pictures: Canvases, schema: Schema = REFERENCE) -> dict[str, Inputs]:
    """What every network takes for these canvases, by an `align` file on ONNX Runtime."""
    known = {contract.CANVAS.name: pictures}
    known |= dict(zip(contract.ALIGN.output_names, run_onnx(str(align), known), strict=True))
    return {name: {tensor: known[tensor] for tensor in model.input_names} for name, model in contract.models(schema).items()}


def write_warm_up(model_repository: Path, align: Path) -> list[Path]:
    """The inputs that Triton runs once before it says ready: those of the base face."""
    canvas, _ = letterbox(Renderer().render(Character.base(), Scene.studio()).image)
    written = []
    for model, tensors in inputs(align, canvas[None]).items():
        for name, values in tensors.items():
            path = model_repository / model / "warmup" / f"{name}.raw"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(values.tobytes())
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
