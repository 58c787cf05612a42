"""How accurate the shipped networks are, on held-out renders and on photos of people they never saw.

    python -m benchmarks.accuracy --renders ALIGNED --photos lfw-dev.tar [--portraits canada-dev.tar] \\
        [--styles styles-lfw-dev.csv [--styles-again styles-lfw-dev-again.csv]] \\
        [--segmenter CHECKPOINT [--photos-labelled fasseg-v2-dev.tar]] [--sample 1500]

``--renders`` is a folder of aligned shards (:mod:`train.align_photos`), of which the last was left out of training. Photos go
through the embedded client as a player's photo does. Writes ``accuracy.json``; confusion matrices of styles are in it.

Renders: action units by ICC(3,1) and mean error, pose in degrees, identity in millimetres on the head's vertices after the
rig, against always answering the base face, styles by top-1, and whether the stated uncertainty is true. Photos: distance of
the predicted rig's landmarks from FaceMesh's, and from points that people set on portraits; action units of those portraits,
which are all at rest; whether identity tells people apart; how little mirroring, recompressing, resizing and cropping change
the answer; styles beside what people saw on them, by top-1 and top-2, and whether the probabilities are true
(:mod:`benchmarks.accuracy_styles`). Segmenter: intersection over union of the parts on both (:mod:`train.segmenter`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnxruntime
import tyro
from tqdm import tqdm

from benchmarks import accuracy_styles, report
from benchmarks.accuracy_photos import of_photos, of_portraits
from benchmarks.measures import calibration, icc, rmse_mm
from game.rig import Rig
from sdk import FaceParamClient, contract
from sdk.models import find_models
from sdk.schema import EXPRESSION
from train import checkpoint
from train.bisenet import rebuild
from train.data import RenderShards, spaced
from train.geometry import MM_PER_DM, face_vertices, front_vertices, identity_metric
from train.segmenter import photos_iou, renders_iou
from train.segmenter_data import LabelledPhotos, LabelledRenders

Array = npt.NDArray[Any]
Outputs = dict[str, Array]

BATCH = 32
WITH_EXPRESSION = 300
"""Renders on which identity and expression are measured together: each goes through the rig."""


@dataclass(frozen=True)
class Options:
    """Options; each is a flag of the command line."""

    renders: Path | None = None  # aligned renders
    photos: Path | None = None  # tar of photos named PERSON_NNNN.jpg
    portraits: Path | None = None  # tar of portraits at rest, with points set by hand
    styles: Path | None = None  # table of styles that people saw on the photos (benchmarks/labels)
    half: Literal["choosing", "reporting", ""] = "reporting"  # which half of it ("": both)
    styles_again: Path | None = None  # a second table by the same eyes: how far can one agree with the first?
    pictures: Path | None = None  # folder for confusion matrices of styles as pictures
    segmenter: Path | None = None  # checkpoint of train.segmenter
    photos_labelled: Path | None = None  # tar of portraits with painted parts, for the segmenter
    hold_out: int = 1  # the last so many render shards, which training leaves out
    sample: int = 1500  # at most so many renders, and so many photos
    segmented: int = 500  # at most so many renders for the segmenter
    stable: int = 150  # photos that are changed to see whether the answer stays
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

    def run(self, seen: Iterator[tuple[Array, Array]], *models: str) -> Outputs:
        """Outputs of some models, by name, on crops (256, 256, 3) uint8 with FaceMesh's landmarks (468, 2) each; of a name
        that two share, the first model's."""
        rows: dict[str, list[Array]] = {}
        owner: dict[str, str] = {}
        batch: list[tuple[Array, Array]] = []

        def flush() -> None:
            crops, landmarks = (np.stack(values) for values in zip(*batch, strict=True))
            inputs = {
                contract.CROP.name: crops.transpose(0, 3, 1, 2).astype(np.float32) / 255,
                contract.MESH.name: np.pad(landmarks, ((0, 0), (0, 0), (0, 1))),  # nothing reads z
            }
            for model in models:
                session = self.sessions[model]
                names = [output.name for output in session.get_outputs()]
                taken = {one.name: inputs[one.name] for one in session.get_inputs()}
                for name, value in zip(names, session.run(None, taken), strict=True):
                    if owner.setdefault(name, model) == model:
                        rows.setdefault(name, []).append(value)
            batch.clear()

        for one in seen:
            batch.append(one)
            if len(batch) == BATCH:
                flush()
        if batch:
            flush()
        return {name: np.concatenate(values) for name, values in rows.items()}


def of_renders(networks: Networks, shards: RenderShards, chosen: Array) -> dict[str, Any]:
    """All numbers of held-out renders."""
    seen = ((shards.picture(int(i)), shards.mesh(int(i))) for i in tqdm(chosen, unit="render"))
    said = networks.run(seen, "regressor", "encoder")
    truth = {name: shards.arrays[name][chosen] for name in ("identity", "expression", "pose", "style")}
    agreement = icc(said["expression"], truth["expression"])
    error = np.abs(said["expression"] - truth["expression"]).mean(0)
    pose_error = np.abs(said["pose"] - truth["pose"]).mean(0)
    rig = Rig.load()
    head, front = identity_metric(rig), identity_metric(rig, front_vertices(rig))

    def distance(identity: Array, metric: Array = head) -> float:
        return rmse_mm(identity - truth["identity"], metric)

    base_face = np.zeros_like(truth["identity"])
    base = distance(base_face)
    with_expression, base_with_expression = _with_expression(rig, said, truth)
    return {
        "count": len(chosen),
        "icc": {name: round(float(v), 3) for name, v in zip(EXPRESSION, agreement, strict=True)},
        "mean icc": float(agreement.mean()),
        "worst icc": float(agreement.min()),
        "expression mae": {name: round(float(v), 3) for name, v in zip(EXPRESSION, error, strict=True)},
        "pose mae": {"pitch": float(pose_error[0]), "yaw": float(pose_error[1]), "mean": float(pose_error.mean())},
        "identity rmse mm": distance(said["identity"]),
        "base face rmse mm": base,
        "identity share of base face": distance(said["identity"]) / base,
        "identity share of base face, front": distance(said["identity"], front) / distance(base_face, front),
        "mean face share of base face": distance(np.broadcast_to(truth["identity"].mean(0), truth["identity"].shape)) / base,
        "with expression rmse mm": with_expression,
        "with expression share of base face": with_expression / base_with_expression,
        "styles": accuracy_styles.of_renders(said, truth["style"], networks.schema),
        "uncertainty": calibration(
            said, {name: said[contract.sigma_name(name)] for name in ("identity", "expression", "pose")}, truth
        ),
    }


def _with_expression(rig: Rig, said: Outputs, truth: Outputs) -> tuple[float, float]:
    """RMSE in mm on the head's vertices of identity and expression together, looking ahead: of what was said, and of the base
    face at rest."""
    vertices, ahead = face_vertices(rig), np.zeros(2, np.float32)
    squares = np.zeros(2)
    count = min(WITH_EXPRESSION, len(truth["identity"]))
    for k in range(count):
        true, answer = (rig.vertices(values["identity"][k], values["expression"][k], ahead)[vertices] for values in (truth, said))
        squares += [np.square(MM_PER_DM * (face - true)).sum(1).mean() for face in (answer, rig.base[vertices])]
    return tuple(np.sqrt(squares / count).tolist())


def of_segmenter(options: Options) -> dict[str, Any]:
    """Intersection over union of the parts on held-out renders and on painted photos."""
    assert options.segmenter is not None
    network = rebuild(checkpoint.load(options.segmenter))
    found: dict[str, float] = {}
    if options.renders:
        renders = LabelledRenders(options.renders)
        renders = renders.part(renders.held_out(options.hold_out))
        found |= renders_iou(network, renders, spaced(len(renders), options.segmented))
    if options.photos_labelled:
        found |= photos_iou(network, LabelledPhotos(options.photos_labelled))
    return {name: round(value, 4) for name, value in found.items()}


def _print(results: dict[str, Any]) -> None:
    rows: list[tuple[str, float, str]] = []
    if "renders" in results:
        r = results["renders"]
        rows += [
            ("action units, mean ICC(3,1)", r["mean icc"], ">= 0.80"),
            ("action units, worst ICC(3,1)", r["worst icc"], ">= 0.50"),
            ("pitch, mean error in degrees", r["pose mae"]["pitch"], "<= 1.0"),
            ("yaw, mean error in degrees", r["pose mae"]["yaw"], "<= 1.0"),
            ("identity error / base face's", r["identity share of base face"], "<= 0.60"),
            ("the same, of what a portrait shows", r["identity share of base face, front"], ""),
            ("the same, with expression", r["with expression share of base face"], ""),
            ("identity error in mm", r["identity rmse mm"], ""),
            *((f"{slot} on renders, top-1", found["top-1"], ">= 0.95") for slot, found in r["styles"].items()),
        ]
    if "segmenter" in results:
        s = results["segmenter"]
        rows += [(f"parts on {kind}, mIoU", s[kind], wanted) for kind, wanted in _PARTS if kind in s]
    if "photos" in results:
        p = results["photos"]
        rows += [
            ("photo landmarks / eye distance", p["landmarks"]["by eye distance"], "<= 0.026"),
            *(
                (f"same or other person by {name}, accuracy", found["accuracy"], ">= 0.85")
                for name, found in p["same or other person"].items()
                if name != "pairs"
            ),
        ]
    if "portraits" in results:
        p = results["portraits"]
        rows += [
            ("portraits' points / eye distance", p["points by the rig"], ""),
            ("the same by FaceMesh itself", p["points by FaceMesh"], ""),
            ("largest mean action unit at rest", p["largest unit at rest"], "<= 0.1"),
        ]
    if "styles" in results:
        rows += [
            (f"{slot} on photos, {top}", results["styles"][slot][top], wanted)
            for slot, top, wanted in _STYLES
            if slot in results["styles"]
        ]
        slots = {slot: found for slot, found in results["styles"].items() if isinstance(found, dict)}
        for slot, found in slots.items():
            if distance := found.get("colour distance"):
                steps = distance["median Lab"] / distance["palette step"]
                rows.append((f"{slot} on photos, median Lab distance in palette steps", steps, "<= 1"))
    for slot, found in results.get("styles told again", {}).items():
        rows.append((f"{slot} on photos, the same eyes again", found["same"], ""))
    report.print_table("Accuracy", ("measure", "value", "wanted"), rows)
    if "styles" in results:
        names = ("top-1", "top-2", "always the commonest", "calibration error")
        report.print_table("Styles on photos", ("slot", *names), [(s, *(found[n] for n in names)) for s, found in slots.items()])
    if "renders" in results:
        units = [(n, results["renders"]["icc"][n], results["renders"]["expression mae"][n]) for n in EXPRESSION]
        report.print_table("Action units on renders", ("unit", "ICC(3,1)", "mean error"), units)
    if "segmenter" in results:
        each = [(name, value) for name, value in results["segmenter"].items() if " " in name]
        report.print_table("Intersection over union of the parts", ("part", "IoU"), each)


_PARTS = (("renders", ">= 0.85"), ("photos", ">= 0.70"))
_STYLES = (
    ("hair", "top-1", ">= 0.55"), ("hair", "top-2", ">= 0.80"), ("brow", "top-1", ">= 0.60"), ("beard", "top-1", ">= 0.80"),
    ("skin", "top-1", ""), ("hair_colour", "top-1", ""),
)  # fmt: skip


def main(options: Options) -> dict[str, Any]:
    """Measure what there is data for."""
    results: dict[str, Any] = {}
    if options.renders:
        shards = RenderShards(options.renders)
        held_out = np.flatnonzero(shards.held_out(options.hold_out))
        chosen = np.random.default_rng(0).permutation(held_out)[: options.sample]
        results["renders"] = of_renders(Networks(options.model_repository, options.threads), shards, chosen)
    if options.segmenter:
        results["segmenter"] = of_segmenter(options)
    with FaceParamClient.embedded(options.model_repository) as client:
        if options.photos:
            results["photos"] = of_photos(client, options.photos, options.sample, options.stable)
        if options.portraits:
            results["portraits"] = of_portraits(client, options.portraits)
        if options.photos and options.styles:
            results["styles"] = accuracy_styles.of_styles(client, options.photos, options.styles, options.half)
            if options.styles_again:
                results["styles told again"] = accuracy_styles.told_again(options.styles, options.styles_again)
        if options.pictures:
            found = {"renders": results.get("renders", {}).get("styles", {}), "photos": results.get("styles", {})}
            for kind, slots in found.items():
                accuracy_styles.write_pictures(options.pictures, kind, slots, client.schema)
    _print(results)
    print(f"\n{report.write(options.name, results, ('onnxruntime', 'opencv-python-headless'))}")
    return results


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
