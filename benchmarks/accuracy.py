"""How accurate the shipped networks are, on held-out renders and on photos of people they never saw.

    python -m benchmarks.accuracy --renders DIR --photos DIR [--photo-shards "lfw-dev*.tar"] [--sample 1500]

Folders hold aligned shards of :mod:`train.align_photos`. It runs the ONNX files of the model repository and writes
``benchmarks/results/accuracy.json``. Renders: action units by ICC(3,1), pose in degrees, identity in millimetres on
the head's vertices, and on those that a portrait shows, against always answering the base face, styles by top-1, and
whether the stated uncertainty is true. Photos: distance of the predicted rig's landmarks from FaceMesh's, whether
identity tells people apart, and how little mirroring, recompressing and resizing change the answer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnxruntime
import tyro

from benchmarks import report
from game.camera import Camera
from game.character import identity_mirror_signs, mirrored_units
from game.rig import Rig
from sdk import contract
from sdk.models import find_models
from sdk.schema import EXPRESSION, Schema
from train.data import PhotoShards, RenderShards, Shards
from train.geometry import front_vertices, identity_metric

Array = npt.NDArray[Any]
Outputs = dict[str, Array]

PAIRS = 3000
BATCH = 32


@dataclass(frozen=True)
class Options:
    """Options; each is a flag of the command line."""

    renders: Path | None = None  # aligned renders
    photos: Path | None = None  # aligned photos
    photo_shards: str = "lfw-dev*.tar"
    hold_out: int = 1  # the last so many render shards, which training leaves out
    sample: int = 1500  # at most so many renders, and so many photos for landmarks and stability
    model_repository: Path | None = None
    threads: int = 0  # of ONNX Runtime (0: its own choice)
    name: str = "accuracy"  # of the JSON file


class Networks:
    """`regressor` and `encoder` in ONNX Runtime."""

    def __init__(self, model_repository: Path | None, threads: int) -> None:
        files = find_models(model_repository)
        self.schema = files.schema
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        self.sessions = {
            name: onnxruntime.InferenceSession(str(files.paths[name]), settings, providers=["CPUExecutionProvider"])
            for name in ("regressor", "encoder")
        }

    def run(self, crops: Iterator[Array], *models: str) -> Outputs:
        """Outputs of some models, by name, on crops (256, 256, 3) uint8; of a name that two share, the first
        model's."""
        rows: dict[str, list[Array]] = {}
        owner: dict[str, str] = {}
        batch: list[Array] = []

        def flush() -> None:
            pictures = np.stack(batch).transpose(0, 3, 1, 2).astype(np.float32) / 255
            for model in models:
                session = self.sessions[model]
                names = [output.name for output in session.get_outputs()]
                for name, value in zip(names, session.run(None, {contract.CROP.name: pictures}), strict=True):
                    if owner.setdefault(name, model) == model:
                        rows.setdefault(name, []).append(value)
            batch.clear()

        for crop in crops:
            batch.append(crop)
            if len(batch) == BATCH:
                flush()
        if batch:
            flush()
        return {name: np.concatenate(values) for name, values in rows.items()}


def icc(said: Array, truth: Array) -> Array:
    """ICC(3,1), two raters, per column of (N, K): (between - within) / (between + within) mean squares."""
    mean = (said + truth) / 2
    between = 2 * mean.var(0, ddof=1)
    difference = said - truth
    within = (difference - difference.mean(0)).var(0, ddof=1) / 2
    return (between - within) / (between + within)


def squared_mm(difference: Array, metric: Array) -> Array:
    """(B,) mean squared displacement in mm^2 under slider differences (B, 244), by :func:`identity_metric`."""
    d = difference.astype(np.float64)
    return np.asarray(np.einsum("bi,ij,bj->b", d, metric, d))


def of_renders(networks: Networks, shards: RenderShards, chosen: Array) -> dict[str, Any]:
    """All numbers of held-out renders."""
    said = networks.run((shards.picture(int(i)) for i in chosen), "regressor", "encoder")
    truth = {name: shards.arrays[name][chosen] for name in ("identity", "expression", "pose", "style")}
    agreement = icc(said["expression"], truth["expression"])
    error = np.abs(said["expression"] - truth["expression"]).mean(0)
    pose_error = np.abs(said["pose"] - truth["pose"]).mean(0)
    rig = Rig.load()
    head, front = identity_metric(rig), identity_metric(rig, front_vertices(rig))

    def distance(identity: Array, metric: Array = head) -> float:
        return float(np.sqrt(squared_mm(identity - truth["identity"], metric).mean()))

    base_face = np.zeros_like(truth["identity"])
    base = distance(base_face)
    results: dict[str, Any] = {
        "count": len(chosen),
        "icc": {name: round(float(v), 3) for name, v in zip(EXPRESSION, agreement, strict=True)},
        "mean icc": float(agreement.mean()),
        "expression mae": {name: round(float(v), 3) for name, v in zip(EXPRESSION, error, strict=True)},
        "pose mae": {"pitch": float(pose_error[0]), "yaw": float(pose_error[1])},
        "identity rmse mm": distance(said["identity"]),
        "base face rmse mm": base,
        "identity share of base face": distance(said["identity"]) / base,
        "identity share of base face, front": distance(said["identity"], front) / distance(base_face, front),
        "mean face share of base face": distance(np.broadcast_to(truth["identity"].mean(0), truth["identity"].shape)) / base,
        "style top-1": {},
        "confusion": {},
        "uncertainty": _calibration(said, truth),
    }
    for k, slot in enumerate(networks.schema.style):
        answer = said[contract.style_name(slot.name)].argmax(1)
        results["style top-1"][slot.name] = float((answer == truth["style"][:, k]).mean())
        confusion = np.zeros((len(slot.options),) * 2, int)
        np.add.at(confusion, (truth["style"][:, k], answer), 1)
        results["confusion"][slot.name] = confusion.tolist()
    return results


def _calibration(said: Outputs, truth: Outputs) -> dict[str, Any]:
    """Per output: spread of error / sigma (1 is true), share within one sigma (.68), and rank correlation of sigma
    and error."""
    results = {}
    for name in ("identity", "expression", "pose"):
        error, sigma = np.abs(said[name] - truth[name]), np.maximum(said[contract.sigma_name(name)], 1e-6)
        ranks = [np.argsort(np.argsort(values.ravel())) for values in (error, sigma)]
        results[name] = {
            "spread": float(np.sqrt(np.median((error / sigma) ** 2) / 0.455)),
            "within one sigma": float((error < sigma).mean()),
            "rank correlation": float(np.corrcoef(ranks)[0, 1]),
        }
    return results


class Drawn:
    """Predicted parameters as landmarks, laid over a photo's by the best similarity."""

    def __init__(self) -> None:
        self.rig, self.camera = Rig.load(), Camera.portrait()

    def landmarks(self, identity: Array, expression: Array, pose: Array, target: Array) -> Array:
        """(468, 2) crop px."""
        points = self.rig.landmarks(self.rig.vertices(identity, expression, pose))
        z = self.camera.project(points)[:, 0] + 1j * self.camera.project(points)[:, 1]
        goal = target[:, 0] + 1j * target[:, 1]
        a, b = z - z.mean(), goal - goal.mean()
        fitted = a * (np.vdot(a, b) / np.vdot(a, a)) + goal.mean()
        return np.stack([fitted.real, fitted.imag], 1)


def landmark_errors(said: Outputs, target: Array) -> dict[str, float]:
    """Mean landmark distance of the drawn rig as a share of the crop's eye distance, and of the photo's own."""
    drawn = Drawn()
    distance, base = np.zeros(len(target)), np.zeros(len(target))
    eyes = np.zeros(len(target))
    for k, goal in enumerate(target):
        pose = said["pose"][k]
        points = drawn.landmarks(said["identity"][k], said["expression"][k], pose, goal)
        flat = drawn.landmarks(np.zeros_like(said["identity"][k]), np.zeros_like(said["expression"][k]), pose, goal)
        distance[k], base[k] = (np.linalg.norm(p - goal, axis=1).mean() for p in (points, flat))
        eyes[k] = np.linalg.norm(goal[[33, 133, 159, 145]].mean(0) - goal[[263, 362, 386, 374]].mean(0))
    return {
        "count": len(target),
        "by crop eye distance": float(distance.mean() / contract.CROP_EYE_DISTANCE),
        "by own eye distance": float((distance / eyes).mean()),
        "median by crop eye distance": float(np.median(distance) / contract.CROP_EYE_DISTANCE),
        "base face in the predicted pose": float(base.mean() / contract.CROP_EYE_DISTANCE),
    }


def auc(positive: Array, negative: Array) -> float:
    """Probability that a positive scores above a negative (ties count half)."""
    scores = np.concatenate([positive, negative])
    order = np.argsort(np.argsort(scores, kind="stable"), kind="stable") + 1.0
    return float((order[: len(positive)].sum() - len(positive) * (len(positive) + 1) / 2) / len(positive) / len(negative))


def identity_agreement(identity: Array, person: Array) -> dict[str, float]:
    """AUC of the same person's pairs against different people's (seeded), by several distances of the identity
    sliders."""
    rng = np.random.default_rng(0)
    same = np.array([(i, j) for p in np.unique(person) for i, j in _pairs(np.flatnonzero(person == p))])
    same = same[rng.permutation(len(same))[:PAIRS]]
    other = rng.integers(0, len(person), (4 * PAIRS, 2))
    other = other[person[other[:, 0]] != person[other[:, 1]]][:PAIRS]
    metric = identity_metric(Rig.load())
    centred = identity - identity.mean(0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)

    scores = {
        "sliders": lambda p: -np.linalg.norm(identity[p[:, 0]] - identity[p[:, 1]], axis=1),
        "cosine": lambda p: (unit[p[:, 0]] * unit[p[:, 1]]).sum(1),
        "millimetres": lambda p: -squared_mm(identity[p[:, 0]] - identity[p[:, 1]], metric),
    }
    return {"pairs": len(same) + len(other)} | {name: auc(score(same), score(other)) for name, score in scores.items()}


def _pairs(members: Array) -> Iterator[tuple[int, int]]:
    for a, first in enumerate(members):
        for second in members[a + 1 :]:
            yield int(first), int(second)


def stability(networks: Networks, shards: Shards, chosen: Array) -> dict[str, dict[str, float]]:
    """Mean change of the answer when the crop is mirrored (and the answer mirrored back), recompressed, or halved in
    size."""

    def compressed(crop: Array) -> Array:
        return cv2.imdecode(cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_COLOR)

    def halved(crop: Array) -> Array:
        half = cv2.resize(crop, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        return cv2.resize(half, crop.shape[:2], interpolation=cv2.INTER_LINEAR)

    changes = {"mirrored": lambda crop: crop[:, ::-1], "recompressed": compressed, "halved": halved}
    first = networks.run((shards.picture(int(i)) for i in chosen), "regressor")
    metric = identity_metric(Rig.load())
    results = {}
    for name, change in changes.items():
        second = networks.run((np.ascontiguousarray(change(shards.picture(int(i)))) for i in chosen), "regressor")
        if name == "mirrored":
            second["identity"] = second["identity"] * identity_mirror_signs()
            second["expression"] = second["expression"][:, mirrored_units()]
            second["pose"] = second["pose"] * [1, -1]
        results[name] = {
            "expression": float(np.abs(first["expression"] - second["expression"]).mean()),
            "pose degrees": float(np.abs(first["pose"] - second["pose"]).mean()),
            "identity mm": float(np.sqrt(squared_mm(first["identity"] - second["identity"], metric)).mean()),
        }
    return results


def of_photos(networks: Networks, shards: PhotoShards, sample: int) -> dict[str, Any]:
    """All numbers of photos."""
    said = networks.run((shards.picture(i) for i in range(len(shards))), "regressor", "encoder")
    chosen = np.random.default_rng(0).permutation(len(shards))[:sample]
    return {
        "count": len(shards),
        "landmarks": landmark_errors({k: v[chosen] for k, v in said.items()}, shards.arrays["landmarks"][chosen]),
        "identity auc": identity_agreement(said["identity"], shards.person_number),
        "identity spread (sliders)": float(said["identity"].std(0).mean()),
        "expression mean": {n: round(float(v), 3) for n, v in zip(EXPRESSION, said["expression"].mean(0), strict=True)},
        "stability": stability(networks, shards, chosen[:200]),
        "style shares": _shares(said, networks.schema),
    }


def _shares(said: Outputs, schema: Schema) -> dict[str, dict[str, float]]:
    """How often each option is the answer: a slot that always answers one option has learnt nothing about photos."""
    shares = {}
    for slot in schema.style:
        answers = said[contract.style_name(slot.name)].argmax(1)
        shares[slot.name] = {option: round(float((answers == k).mean()), 3) for k, option in enumerate(slot.options)}
    return shares


def _print(results: dict[str, Any]) -> None:
    rows: list[tuple[str, float, str]] = []
    if "renders" in results:
        r = results["renders"]
        rows += [
            ("action units, mean ICC(3,1)", r["mean icc"], ">= 0.65"),
            ("pitch, mean error in degrees", r["pose mae"]["pitch"], "<= 1.5"),
            ("yaw, mean error in degrees", r["pose mae"]["yaw"], "<= 1.5"),
            ("identity error / base face's", r["identity share of base face"], "<= 0.70"),
            ("the same, of what a portrait shows", r["identity share of base face, front"], ""),
            ("identity error in mm", r["identity rmse mm"], ""),
            *((f"{slot}, top-1", value, _TARGETS.get(slot, "")) for slot, value in r["style top-1"].items()),
        ]
    if "photos" in results:
        p = results["photos"]
        rows += [
            ("photo landmarks / eye distance", p["landmarks"]["by crop eye distance"], "<= 0.035"),
            ("photo landmarks / own eye distance", p["landmarks"]["by own eye distance"], ""),
            *((f"same or other person, AUC by {k}", v, ">= 0.85") for k, v in p["identity auc"].items() if k != "pairs"),
        ]
    report.print_table("Accuracy", ("measure", "value", "wanted"), rows)
    if "renders" in results:
        units = [(n, results["renders"]["icc"][n], results["renders"]["expression mae"][n]) for n in EXPRESSION]
        report.print_table("Action units on renders", ("unit", "ICC(3,1)", "mean error"), units)


_TARGETS = {"hair": ">= 0.95", "beard": ">= 0.95", "brow": ">= 0.90"}


def main(options: Options) -> dict[str, Any]:
    """Measure what there are folders for."""
    networks = Networks(options.model_repository, options.threads)
    results: dict[str, Any] = {}
    if options.renders:
        shards = RenderShards(options.renders)
        held_out = np.flatnonzero(shards.held_out(options.hold_out))
        chosen = np.random.default_rng(0).permutation(held_out)[: options.sample]
        results["renders"] = of_renders(networks, shards, chosen)
    if options.photos:
        results["photos"] = of_photos(networks, PhotoShards(options.photos, options.photo_shards), options.sample)
    _print(results)
    print(f"\n{report.write(options.name, results, ('onnxruntime', 'opencv-python-headless'))}")
    return results


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
