"""Does a character look like its photo? A face recogniser that nothing here was trained with is asked.

    python -m benchmarks.likeness --photos DIR --judge FILE.onnx [--people 200]

For one photo each of many people, the character is drawn as photographed by the whole line, embedded client to
renderer, and compared with all photos. *Own photo first*: how often a character is more similar to its own photo than
to another person's (0.5 is chance), and how often its own is among the five most similar. The judge takes BGR crops of
112 x 112 pixels on the five points of ArcFace, (x - 127.5) / 128, and gives one embedding. It was made for photos, so
it is strict with drawn faces. Writes ``likeness.json``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime
import tyro
from tqdm import tqdm

from benchmarks import report
from game.preview import similarity
from game.renderer import Renderer
from game.scene import Scene
from sdk import FaceParamClient, FaceRejected
from sdk.image import decode
from sdk.output import character
from train.align_photos import read_samples

Array = npt.NDArray[Any]

ARCFACE = np.array([[38.29, 51.70], [73.53, 51.50], [56.03, 71.74], [41.55, 92.37], [70.73, 92.20]])
"""Right and left eye, nose and mouth corners of the person, in pixels of the judge's crop."""
FIVE = ((33, 133), (263, 362), (1,), (61,), (291,))
"""The same as FaceMesh numbers, averaged."""
TOP = 5


@dataclass(frozen=True)
class Options:
    """Options; each is a flag of the command line."""

    photos: Path  # tar of photos named PERSON_NNNN.jpg
    judge: Path  # ONNX file of the recogniser
    people: int = 200
    model_repository: Path | None = None
    name: str = "likeness"  # of the JSON file


class Judge:
    """The recogniser."""

    def __init__(self, path: Path) -> None:
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name

    def embed(self, image: Array, landmarks: Array) -> Array:
        """RGB picture and FaceMesh's landmarks (468, 2 or more) in its pixels -> (512,), of length 1."""
        points = np.array([landmarks[list(ids), :2].mean(0) for ids in FIVE])
        crop = cv2.warpAffine(image, similarity(points, ARCFACE), (112, 112), flags=cv2.INTER_AREA)
        values = (crop[..., ::-1].astype(np.float32) - 127.5) / 128
        embedding = self.session.run(None, {self.input: values.transpose(2, 0, 1)[None].copy()})[0].ravel()
        return np.asarray(embedding / np.linalg.norm(embedding))


def first_photos(path: Path, people: int) -> dict[str, bytes]:
    """The first photo of so many people, by name."""
    found: dict[str, bytes] = {}
    for key, files in sorted(read_samples(path)):
        found.setdefault(key.rpartition("_")[0], files["jpg"])
    chosen = np.random.default_rng(0).permutation(sorted(found))[:people]
    return {person: found[person] for person in chosen.tolist()}


def rank(characters: Array, photos: Array) -> dict[str, float]:
    """Embeddings (N, D) of both, row by row of one person."""
    alike = characters @ photos.T
    own = np.diag(alike)
    beaten = (own[:, None] > alike).sum(1) / (len(alike) - 1)
    place = (alike > own[:, None]).sum(1)
    return {
        "own photo before another's": float(beaten.mean()),
        f"own photo among the first {TOP}": float((place < TOP).mean()),
        "by chance": TOP / len(alike),
        "similarity to own photo": float(own.mean()),
        "similarity to others'": float((alike.sum() - own.sum()) / (alike.size - len(alike))),
    }


def main(options: Options) -> dict[str, float]:
    """Measure, print, write."""
    judge, renderer, scene = Judge(options.judge), Renderer(size=512), Scene.studio(512)
    of_photos, of_characters = [], []
    with FaceParamClient.embedded(options.model_repository) as client:
        for data in tqdm(first_photos(options.photos, options.people).values(), unit="photo"):
            try:
                params = client.infer(data)
            except FaceRejected:
                continue
            drawn = renderer.render(character(params), scene)
            of_photos.append(judge.embed(decode(data).pixels, params.face.landmarks))
            of_characters.append(judge.embed(drawn.image, drawn.landmarks))
    results = {"people": len(of_photos), **rank(np.array(of_characters), np.array(of_photos))}
    report.print_table("Likeness", ("measure", "value"), list(results.items()))
    print(f"\n{report.write(options.name, results, ('onnxruntime',))}")
    return results


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
