"""Does a character look like its photo? A face recogniser that nothing here was trained with is asked.

    python -m benchmarks.likeness --photos lfw-dev.tar --judge FILE.onnx [--people 400] [--sheet runs/likeness.png] \
        [--made fit=runs/fit.jsonl]

One photo each of many people goes through the whole line: embedded client, parameters, the real renderer. Each character is
drawn twice, as photographed and neutral (front, at rest), and the judge compares the picture with photos: *similarity*, the
cosine to its own photo; *identification*, how often, of its own photo and those of so many other people (seeded foils), its own
is the most similar, or among the first ten. Beside it, in the same run, what one gets for nothing: the base face, another
person's parameters, the parameters averaged over all people, and the person's styles on the base face.

``--made`` adds faces that something else has made for the same photos, by :mod:`train.fit` for one, as a file of
:mod:`train.face_files`. All methods are then measured on the people in these files, still among the photos of all. Beside
likeness stands what a face takes in seconds, and how far its landmarks are from the photo's.

The judge takes BGR crops of 112 x 112 pixels on the five points of ArcFace, (x - 127.5) / 128, and gives one embedding. It was
made for photos, so it is strict with drawn faces. Writes ``likeness.json``, and a sheet for eyes: photo, as photographed,
neutral, of 24 people."""

from __future__ import annotations

import collections
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime
import tyro
from tqdm import tqdm

from benchmarks import report
from benchmarks.accuracy_photos import solve
from benchmarks.measures import Drawn, eye_distance, laid_over
from game.character import Character
from game.preview import frame_photo, similarity
from game.renderer import Renderer, Rendering
from game.scene import Scene
from sdk import FaceParamClient
from sdk.image import decode
from sdk.output import character
from train.face_files import MadeFace, read_faces
from train.shard_files import read_samples

Array = npt.NDArray[Any]

ARCFACE = np.array([[38.29, 51.70], [73.53, 51.50], [56.03, 71.74], [41.55, 92.37], [70.73, 92.20]])
"""Right and left eye, nose and mouth corners of the person, in pixels of the judge's crop."""
FIVE = ((33, 133), (263, 362), (1,), (61,), (291,))
"""The same as FaceMesh numbers, averaged."""
FIRST = (1, 10)
"""Identified: the own photo is the most similar, or among so many."""
SIZE = 512
SHEET_PEOPLE, SHEET_COLUMNS, SHEET_SIZE = 24, 4, 192


@dataclass(frozen=True)
class Options:
    """Options; each is a flag of the command line."""

    photos: Path  # tar of photos named PERSON_NNNN.jpg
    judge: Path  # ONNX file of the recogniser
    people: int = 400  # at most so many
    foils: int = 100  # other people's photos that a character's own is to be found among
    seed: int = 0  # of who is taken, and of the foils
    sheet: Path | None = None  # PNG to write for eyes
    made: tuple[str, ...] = ()  # NAME=FILE: faces that something else has made for these photos, JSON lines
    model_repository: Path | None = None
    name: str = "likeness"  # of the JSON file


@dataclass(frozen=True)
class Subject:
    """One person: the key of the photo, its pixels (H, W, 3), FaceMesh's points in it (468, 3), the character that was solved
    from it, and in how many seconds."""

    key: str
    photo: Array
    landmarks: Array
    character: Character
    seconds: float


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


def first_photos(path: Path, people: int, seed: int = 0) -> dict[str, bytes]:
    """The first photo of so many people, by key."""
    found: dict[str, tuple[str, bytes]] = {}
    for key, files in sorted(read_samples(path)):
        found.setdefault(key.rpartition("_")[0], (key, files["jpg"]))
    chosen = np.random.default_rng(seed).permutation(sorted(found))[:people]
    return dict(found[person] for person in chosen.tolist())


def solved(options: Options) -> list[Subject]:
    """The people whose photos are accepted."""
    photos = first_photos(options.photos, options.people, options.seed)
    with FaceParamClient.embedded(options.model_repository) as client:
        answers = solve(client, list(photos.values()))
    return [
        Subject(key, decode(photo).pixels, params.face.landmarks, character(params), params.timings["total"] / 1000)
        for (key, photo), params in zip(photos.items(), answers, strict=True)
        if params is not None
    ]


def made_elsewhere(options: Options, subjects: Sequence[Subject]) -> dict[str, dict[str, MadeFace]]:
    """By method the faces of these people's photos, by key. ValueError where ``--made`` names no file, or one of other photos."""
    keys = {Path(subject.key).name: subject.key for subject in subjects}
    methods = {}
    for given in options.made:
        name, _, path = given.partition("=")
        if not path:
            raise ValueError(f"--made {given}: should be NAME=FILE")
        faces = {Path(face.photo).name.removesuffix(".jpg"): face for face in read_faces(Path(path))}
        methods[name] = {keys[photo]: face for photo, face in faces.items() if photo in keys}
        if not methods[name]:
            raise ValueError(f"--made {given}: none of its faces is of these people's first photos")
    return methods


def drawn_as(face: MadeFace, own: Character) -> Character:
    """A face that something else has made; slots that it leaves open are as those of `own`."""
    return Character(face.identity, face.expression, face.pose, {**own.style, **face.options()})


def baselines(own: Sequence[Character], seed: int) -> dict[str, list[Character]]:
    """For each method its identity and styles for each person, in that person's expression and pose."""
    order = np.random.default_rng(seed).permutation(len(own))
    another = np.empty(len(own), int)
    another[order] = np.roll(order, 1)  # nobody is their own
    base = np.zeros_like(own[0].identity)
    mean = np.mean([face.identity for face in own], 0, dtype=np.float64).astype(np.float32)
    common = {slot: collections.Counter(face.style[slot] for face in own).most_common(1)[0][0] for slot in own[0].style}
    return {
        "base face": [replace(face, identity=base, style={}) for face in own],
        "another person's parameters": [
            replace(face, identity=own[other].identity, style=own[other].style) for face, other in zip(own, another, strict=True)
        ],
        "average parameters": [replace(face, identity=mean, style=common) for face in own],
        "own styles on the base face": [replace(face, identity=base) for face in own],
    }


def at_rest(face: Character) -> Character:
    """Neutral and looking ahead."""
    return replace(face, expression=np.zeros_like(face.expression), pose=np.zeros_like(face.pose))


class Drawing:
    """Characters as the judge and the sheet see them, each drawn once."""

    def __init__(self, judge: Judge) -> None:
        self.judge, self.renderer, self.scene = judge, Renderer(size=SIZE), Scene.studio(SIZE)
        self._known: dict[bytes, Array] = {}

    def render(self, face: Character) -> Rendering:
        return self.renderer.render(face, self.scene)

    def embedding(self, face: Character) -> Array:
        """(512,) by the judge."""
        key = b"".join((face.identity.tobytes(), face.expression.tobytes(), face.pose.tobytes(), repr(face.style).encode()))
        if key not in self._known:
            drawn = self.render(face)
            self._known[key] = self.judge.embed(drawn.image, drawn.landmarks)
        return self._known[key]


def identification(characters: Array, photos: Array, foils: int, seed: int = 0, people: Array | None = None) -> dict[str, float]:
    """Embeddings (M, D) of characters and (N, D) of photos; `people` (M,): whose the characters are, by the row of their photo
    (None: row by row). Every character looks for its own photo among those of `foils` other people (of all others where there
    are fewer), seeded by the person and the same for every method."""
    people = np.arange(len(photos)) if people is None else people
    foils = min(foils, len(photos) - 1)
    alike = characters @ photos.T
    own = alike[np.arange(len(people)), people]
    places = np.empty(len(people))
    for row, person in enumerate(people):
        rng = np.random.default_rng([seed, 1, person])
        others = rng.choice(np.delete(np.arange(len(photos)), person), foils, replace=False)
        # Where several are exactly as similar, the own photo stands in their middle: saying the same of all is chance.
        places[row] = (alike[row, others] > own[row]).sum() + (alike[row, others] == own[row]).sum() / 2
    others = (alike.sum() - own.sum()) / max(alike.size - len(alike), 1)
    return {
        "similarity": float(own.mean()),
        "to others": float(others),
        **{f"among the first {n}" if n > 1 else "first": float((places < n).mean()) for n in FIRST},
        "own before another": float(1 - places.mean() / foils),
    }


def sheet(subjects: Sequence[Subject], drawing: Drawing, seed: int) -> Array:
    """Photo, as photographed and neutral, of some people, side by side."""
    chosen = np.random.default_rng([seed, 2]).permutation(len(subjects))[:SHEET_PEOPLE]
    cells = []
    for number in chosen:
        subject = subjects[number]
        drawn = [drawing.render(subject.character), drawing.render(at_rest(subject.character))]
        framed = frame_photo(subject.photo, similarity(subject.landmarks, drawn[0].landmarks), drawing.scene.background)
        panels = [framed, *(rendering.image for rendering in drawn)]
        cells.append(np.hstack([cv2.resize(p, (SHEET_SIZE,) * 2, interpolation=cv2.INTER_AREA) for p in panels]))
    cells += [np.full_like(cells[0], 255)] * (-len(cells) % SHEET_COLUMNS)
    framed = [np.pad(cell, ((4, 4), (4, 4), (0, 0)), constant_values=255) for cell in cells]
    return np.vstack([np.hstack(framed[k : k + SHEET_COLUMNS]) for k in range(0, len(framed), SHEET_COLUMNS)])


def landmark_error(faces: Sequence[Character], subjects: Sequence[Subject]) -> float:
    """Mean distance of the landmarks of characters, drawn and laid over their photos', by the eye distance."""
    drawn, errors = Drawn(), []
    for face, subject in zip(faces, subjects, strict=True):
        target = subject.landmarks[:, :2].astype(float)
        points = laid_over(drawn.landmarks(face.identity, face.expression, face.pose), target)
        errors.append(np.linalg.norm(points - target, axis=1).mean() / eye_distance(target))
    return float(np.mean(errors))


def measure(options: Options, compared: bool = True) -> dict[str, Any]:
    """All numbers, those of the baselines if `compared`; writes the sheet where one is asked for."""
    subjects, drawing = solved(options), Drawing(Judge(options.judge))
    photos = np.array([drawing.judge.embed(subject.photo, subject.landmarks) for subject in subjects])
    own = [subject.character for subject in subjects]
    made = made_elsewhere(options, subjects)
    chosen = [k for k, subject in enumerate(subjects) if all(subject.key in faces for faces in made.values())]
    methods = {"faceparam": own, **(baselines(own, options.seed) if compared else {})}
    methods = {name: [faces[k] for k in chosen] for name, faces in methods.items()}
    seconds = {"faceparam": float(np.mean([subject.seconds for subject in subjects]))}
    for name, by_key in made.items():
        methods[name] = [drawn_as(by_key[subjects[k].key], own[k]) for k in chosen]
        if np.isfinite(took := np.mean([by_key[subjects[k].key].seconds for k in chosen])):  # not all files of faces say it
            seconds[name] = float(took)
    results: dict[str, Any] = {"people": len(chosen), "foils": min(options.foils, len(subjects) - 1), "views": {}}
    results["seconds a face"] = seconds
    results["landmarks by eye distance"] = {
        name: landmark_error(methods[name], [subjects[k] for k in chosen]) for name in ("faceparam", *made)
    }
    with tqdm(total=2 * len(chosen) * len(methods), unit="character") as bar:
        for view in ("as photographed", "neutral"):
            results["views"][view] = {}
            for name, faces in methods.items():
                embeddings = []
                for face in faces:
                    embeddings.append(drawing.embedding(face if view == "as photographed" else at_rest(face)))
                    bar.update()
                people = np.array(chosen)
                found = identification(np.array(embeddings), photos, options.foils, options.seed, people)
                results["views"][view][name] = found
    if options.sheet:
        options.sheet.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(options.sheet), sheet(subjects, drawing, options.seed)[..., ::-1])
    return results


def main(options: Options) -> dict[str, Any]:
    """Measure, print, write."""
    results = measure(options)
    for view, rows in results["views"].items():
        table = [(name, *found.values()) for name, found in rows.items()]
        report.print_table(f"Likeness, {view}", ("parameters", *next(iter(rows.values()))), table)
    seconds = results["seconds a face"]
    cost = [(name, seconds.get(name, ""), error) for name, error in results["landmarks by eye distance"].items()]
    report.print_table("What it takes", ("parameters", "seconds a face", "landmarks / eye distance"), cost)
    if options.sheet:
        print(f"\na sheet for eyes: {options.sheet}")
    print(f"\n{report.write(options.name, results, ('onnxruntime',))}")
    return results


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
