"""The photos' part of :mod:`benchmarks.accuracy`: photos pass through the embedded client."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.measures import Drawn, PortraitPoints, eye_distance, laid_over, squared_mm
from game.character import identity_mirror_signs, mirrored_units
from game.rig import Rig
from sdk import FaceParamClient, FaceParams
from sdk.image import decode
from sdk.photo_input import PhotoInput
from sdk.schema import EXPRESSION, Schema
from train.geometry import identity_metric
from train.shard_files import read_samples
from train.verification import pairs, told_apart

Array = npt.NDArray[Any]

CROPPED = 0.06
"""Share of a photo that is cut off at two sides to see whether the answer changes."""


def solve(client: FaceParamClient, photos: Sequence[PhotoInput], progress: bool = True) -> list[FaceParams | None]:
    """The answer for each photo, None where it is rejected."""
    answers: list[FaceParams | None] = [None] * len(photos)
    for outcome in client.infer_many(photos, concurrency=2, progress=progress):
        answers[outcome.index] = outcome.params
    return answers


def of_photos(client: FaceParamClient, shard: Path, sample: int, stable: int, seed: int = 0) -> dict[str, Any]:
    """All numbers of a tar of photos named PERSON_NNNN.jpg: `sample` at most, of which `stable` are changed and asked again."""
    samples = [(key, files["jpg"]) for key, files in read_samples(shard)]
    order = np.sort(np.random.default_rng(seed).permutation(len(samples))[:sample])
    answers = solve(client, [samples[k][1] for k in order])
    solved = [(samples[k], answer) for k, answer in zip(order, answers, strict=True) if answer is not None]
    person = np.array([key.rpartition("/")[2].rpartition("_")[0] for (key, _), _ in solved])
    params = [answer for _, answer in solved]
    expression = np.array([answer.expression.array for answer in params])
    some = np.random.default_rng(seed).permutation(len(solved))[:stable]
    return {
        "count": len(params),
        "rejected": len(order) - len(params),
        "landmarks": landmark_errors(params),
        "same or other person": identity_agreement(np.array([answer.identity.array for answer in params]), person, seed),
        "identity spread (sliders)": float(np.std([answer.identity.array for answer in params], 0).mean()),
        "expression mean": {n: round(float(v), 3) for n, v in zip(EXPRESSION, expression.mean(0), strict=True)},
        "stability": stability(client, [solved[k][0][1] for k in some], [params[k] for k in some], seed) if stable else {},
        "style shares": shares(params, client.schema),
    }


def of_portraits(client: FaceParamClient, shard: Path) -> dict[str, Any]:
    """All numbers of a tar of portraits at rest, KEY.jpg with ``points`` (pixels) in KEY.json."""
    samples = [files for _, files in read_samples(shard)]
    answers = solve(client, [files["jpg"] for files in samples])
    solved = [(answer, np.array(json.loads(files["json"])["points"])) for answer, files in zip(answers, samples, strict=True)
              if answer is not None]  # fmt: skip
    landmarks = [answer.face.landmarks[:, :2].astype(float) for answer, _ in solved]
    points = PortraitPoints(np.array([p for _, p in solved]), np.array(landmarks))
    drawn = Drawn()
    of_mesh, of_rig, of_base = [], [], []
    for (answer, set_by_hand), mesh in zip(solved, landmarks, strict=True):
        truth, eyes = set_by_hand[points.kept], eye_distance(mesh)
        arrays = [answer.identity.array, answer.expression.array]
        rig, base = (drawn.landmarks(*values, answer.pose.array) for values in (arrays, [np.zeros_like(a) for a in arrays]))
        for errors, said in ((of_mesh, points.of(mesh)), (of_rig, points.of(rig)), (of_base, points.of(base))):
            errors.append(np.linalg.norm(laid_over(said, truth) - truth, axis=1).mean() / eyes)
    expression = np.array([answer.expression.array for answer, _ in solved]).mean(0)
    return {
        "count": len(solved),
        "rejected": len(samples) - len(solved),
        "points": len(points.kept),
        "points by the rig": float(np.mean(of_rig)),
        "points by FaceMesh": float(np.mean(of_mesh)),
        "points by the base face": float(np.mean(of_base)),
        "expression at rest": {n: round(float(v), 3) for n, v in zip(EXPRESSION, expression, strict=True)},
        "largest unit at rest": float(expression.max()),
    }


def landmark_errors(answers: Iterable[FaceParams]) -> dict[str, float]:
    """Mean distance of the rig's landmarks, drawn and laid over FaceMesh's, by the eye distance of each photo."""
    drawn, own, base = Drawn(), [], []
    for answer in answers:
        target = answer.face.landmarks[:, :2].astype(float)
        identity, expression, pose = (p.array for p in (answer.identity, answer.expression, answer.pose))
        for errors, values in ((own, (identity, expression)), (base, (np.zeros_like(identity), np.zeros_like(expression)))):
            points = laid_over(drawn.landmarks(*values, pose), target)
            errors.append(np.linalg.norm(points - target, axis=1).mean() / eye_distance(target))
    return {
        "by eye distance": float(np.mean(own)),
        "median": float(np.median(own)),
        "base face in the predicted pose": float(np.mean(base)),
    }


def identity_agreement(identity: Array, person: Array, seed: int = 0) -> dict[str, Any]:
    """How well pairs of one person are told from pairs of two (seeded), by several distances of identity sliders (N, 244)."""
    chosen, same = pairs(person, 3000, seed)
    first, second = identity[chosen[:, 0]], identity[chosen[:, 1]]
    centre = identity.mean(0)
    unit_first, unit_second = ((v - centre) / np.linalg.norm(v - centre, axis=1, keepdims=True) for v in (first, second))
    scores = {
        "sliders": -np.linalg.norm(first - second, axis=1),
        "cosine": (unit_first * unit_second).sum(1),
        "millimetres": -squared_mm(first - second, identity_metric(Rig.load())),
    }
    return {"pairs": len(chosen), **{name: told_apart(score, same) for name, score in scores.items()}}


def stability(client: FaceParamClient, photos: Sequence[PhotoInput], first: Sequence[FaceParams], seed: int) -> dict[str, Any]:
    """Mean change of the answer when a photo is mirrored (and the answer mirrored back), recompressed, halved in size, or cut at
    two sides."""
    rng = np.random.default_rng([seed, 3])

    def cropped(image: Array) -> Array:
        height, width = image.shape[:2]
        y, x = (int(side * CROPPED * rng.random()) for side in (height, width))
        return image[y : y + int(height * (1 - CROPPED)), x : x + int(width * (1 - CROPPED))]

    def recompressed(image: Array) -> Array:
        data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 50])[1]
        return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]

    changes: dict[str, Callable[[Array], Array]] = {
        "mirrored": lambda image: image[:, ::-1],
        "recompressed": recompressed,
        "halved": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
        "cropped": cropped,
    }
    metric = identity_metric(Rig.load())
    results = {}
    for name, change in changes.items():
        answers = solve(client, [np.ascontiguousarray(change(decode(photo).pixels)) for photo in photos], progress=False)
        both = [(a, b) for a, b in zip(first, answers, strict=True) if b is not None]
        before, after = (_arrays(side) for side in zip(*both, strict=True))
        if name == "mirrored":
            after = [after[0] * identity_mirror_signs(), after[1][:, mirrored_units()], after[2] * [1, -1]]
        results[name] = {
            "expression": float(np.abs(before[1] - after[1]).mean()),
            "pose degrees": float(np.abs(before[2] - after[2]).mean()),
            "identity mm": float(np.sqrt(squared_mm(before[0] - after[0], metric)).mean()),
            "rejected": len(photos) - len(both),
        }
    return results


def _arrays(answers: Iterable[FaceParams]) -> list[Array]:
    """Identity, expression and pose of answers, (N, values) each."""
    return [np.array(rows) for rows in zip(*((a.identity.array, a.expression.array, a.pose.array) for a in answers), strict=True)]


def shares(answers: Sequence[FaceParams], schema: Schema) -> dict[str, dict[str, float]]:
    """How often each option is the answer: a slot that always answers one option has learnt nothing about photos."""
    chosen = {slot.name: np.array([answer.style[slot.name].index for answer in answers]) for slot in schema.style}
    return {
        slot.name: {option: round(float((chosen[slot.name] == k).mean()), 3) for k, option in enumerate(slot.options)}
        for slot in schema.style
    }
