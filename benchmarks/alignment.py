"""Speed and accuracy of the `align` model, beside MediaPipe's own FaceMesh pipeline in the same run.

    python -m benchmarks.alignment [--mediapipe-python VENV/bin/python] [--photos DIR] [--count 150] [--repeats 40]

*Speed*: milliseconds per picture on 1 and 2 threads, for a portrait and for a small face, and which part of the graph takes them.
MediaPipe (``pip install mediapipe==0.10.21`` in an environment of its own) runs a smaller detector, one FaceMesh pass, and
makes no crop.

*Accuracy*, on the development photos (``--photos`` or the environment variable FACEPARAM_PHOTOS; left out without): distance
of the eyes from points set by hand, also with the portraits pasted small and large; how far landmarks and crop move when a
photo is mirrored, or turned, scaled and shifted; how many photos :mod:`sdk.quality` accepts, and how many without a face.
"""

from __future__ import annotations

import collections
import json
import os
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import tyro

from benchmarks import report
from sdk import contract
from sdk.letterbox import letterbox
from sdk.models import find_models
from sdk.quality import count_faces, measure, reasons
from train.alignment import LEFT_EYE, MOUTH, RIGHT_EYE

Array = npt.NDArray[Any]
Outputs = dict[str, Array]
SIZE = contract.CANVAS_SIZE
EYE_DISTANCES = (8, 12, 16, 24, 48, 100, 200, 280)
"""At which the portraits are pasted, in canvas pixels."""


@dataclass(frozen=True)
class Options:
    """Options; each is a flag of the command line."""

    photos: Path | None = None  # folder of the development shards
    mediapipe_python: str | None = None  # interpreter that has mediapipe==0.10.21
    count: int = 150  # news photos for the consistency measures
    repeats: int = 40  # runs per timing
    model_repository: Path | None = None


class Align:
    """The `align` model on ONNX Runtime."""

    def __init__(self, model_repository: Path | None, threads: int = 1, profile: Path | None = None) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        if profile:
            options.enable_profiling, options.profile_file_prefix = True, str(profile)
        path = find_models(model_repository).paths["align"]
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def __call__(self, canvas: Array) -> Outputs:
        outputs = self.session.run(None, {contract.CANVAS.name: canvas[None]})
        return {name: value[0] for name, value in zip(contract.ALIGN.output_names, outputs, strict=True)}


def samples(shard: Path) -> Iterator[tuple[str, Array, dict[str, Any]]]:
    """Key, (H, W, 3) uint8 RGB and fields of each sample of a shard."""
    files: dict[str, dict[str, bytes]] = collections.defaultdict(dict)
    with tarfile.open(shard) as tar:
        for member in tar:
            key, _, extension = member.name.partition(".")
            files[key][extension] = tar.extractfile(member).read()  # type: ignore[union-attr]
    for key, parts in files.items():
        image = cv2.imdecode(np.frombuffer(parts["jpg"], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        yield key, np.ascontiguousarray(image), json.loads(parts.get("json", b"{}"))


def speed(options: Options) -> dict[str, Any]:
    """Milliseconds per picture by threads, and by part of the graph on one thread.

    ``wall`` is what a user waits for on an idle machine; ``cpu``, summed over threads, holds on a busy one too.
    """
    from skimage.data import astronaut

    portrait = letterbox(astronaut())[0]
    shrink = np.array([[0.25, 0, 200], [0, 0.25, 150]])
    pictures = {"portrait": warped(portrait, np.array([[1.8, 0, -160], [0, 1.8, 0]])), "small face": warped(portrait, shrink)}
    results: dict[str, Any] = {}
    for threads in (1, 2):
        align = Align(options.model_repository, threads)
        cases = {name: lambda a=align, c=canvas: a(c) for name, canvas in pictures.items()}
        for name, times in interleaved(cases, options.repeats).items():
            results[f"{name}, {threads} threads"] = times
        if options.mediapipe_python:
            times = mediapipe_times(options.mediapipe_python, threads, options.repeats, pictures["portrait"])
            results[f"MediaPipe FaceMesh, portrait, {threads} cores"] = times
    results["parts"] = parts(options, pictures["portrait"])
    return results


def interleaved(cases: dict[str, Any], repeats: int) -> dict[str, dict[str, float]]:
    """Run the cases in turn; summary of each case's times."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for call in cases.values():
        call()
    for _ in range(repeats):
        for name, call in cases.items():
            start, cpu = time.perf_counter(), time.process_time()
            call()
            times[name].append((1e3 * (time.perf_counter() - start), 1e3 * (time.process_time() - cpu)))
    return {name: time_summary(*zip(*pairs, strict=True)) for name, pairs in times.items()}


def time_summary(wall: Sequence[float], cpu: Sequence[float]) -> dict[str, float]:
    """Least and median of wall and CPU milliseconds."""
    values = {"wall min": min(wall), "wall median": np.median(wall), "cpu min": min(cpu), "cpu median": np.median(cpu)}
    return {name: round(float(value), 3) for name, value in values.items()}


def mediapipe_times(python: str, cores: int, repeats: int, picture: Array) -> dict[str, float]:
    """MediaPipe's FaceMesh on the same picture, in a process pinned to so many cores."""
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "portrait.png"
        cv2.imwrite(str(photo), picture[..., ::-1])
        script = Path(__file__).parent / "mediapipe_face_mesh.py"
        command = [python, str(script), str(cores), str(repeats), str(photo)]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    times = json.loads(output.splitlines()[-1])["times"]
    return time_summary(times["face_mesh"], times["face_mesh_cpu"])


def parts(options: Options, canvas: Array) -> dict[str, float]:
    """Least milliseconds of each part of the graph, on one thread, by ONNX Runtime's profile."""
    modules = _modules_of_outputs(options.model_repository)
    with tempfile.TemporaryDirectory() as folder:
        align = Align(options.model_repository, profile=Path(folder) / "profile")
        for _ in range(options.repeats):
            align(canvas)
        events = json.loads(Path(align.session.end_profiling()).read_text())
    durations = collections.defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time") and event["args"]["op_name"] != "If":
            durations[event["name"].removesuffix("_kernel_time")].append(event["dur"] / 1e3)
    total: dict[str, float] = collections.defaultdict(float)
    for name, times in durations.items():
        total[_part(modules.get(name.removesuffix("_nchwc"), name))] += min(times)
    return {part: round(value, 3) for part, value in sorted(total.items(), key=lambda item: -item[1])}


def _modules_of_outputs(model_repository: Path | None) -> dict[str, str]:
    """Names of nodes by the name of their output, after which ONNX Runtime calls what it fuses."""
    graphs = [onnx.load(find_models(model_repository).paths["align"]).graph]
    names = {}
    for graph in graphs:  # grows while it is read
        for node in graph.node:
            names |= dict.fromkeys(node.output, node.name)
            graphs += [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    return names


def _part(node: str) -> str:
    first, *rest = node.split("/")
    if first == "mesh":
        return "mesh networks (2 passes)" if rest[0] == "network" else "mesh regions (2 warps)"
    known = {"pyramid": "pyramid", "detector": "detector", "warp": "crop", "fit": "transform"}
    return known.get(first, "other")


def features(outputs: Outputs) -> Array:
    """(5, 2) right eye, left eye, mouth, nose tip, chin in canvas pixels."""
    groups = (list(RIGHT_EYE), list(LEFT_EYE), list(MOUTH), [1], [152])
    crop = np.stack([outputs["landmarks"][group, :2].mean(0) for group in groups])
    return moved_back(crop, outputs["transform"])


def moved(points: Array, transform: Array) -> Array:
    """Points (N, 2) under a transform (2, 3)."""
    return points @ transform[:, :2].T + transform[:, 2]


def moved_back(points: Array, transform: Array) -> Array:
    """Points (N, 2) under the inverse of a transform (2, 3)."""
    return (points - transform[:, 2]) @ np.linalg.inv(transform[:, :2]).T


def warped(picture: Array, transform: Array, border: int = 0) -> Array:
    """The picture on a canvas under a transform (2, 3)."""
    scale = float(np.hypot(transform[0, 0], transform[1, 0]))
    if scale < 0.5:  # OpenCV's warp does not average
        height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
        small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        factors = np.array([picture.shape[1] / width, picture.shape[0] / height])
        picture, transform = small, np.column_stack([transform[:, :2] * factors, transform[:, 2]])
    shifted = transform.astype(float).copy()
    shifted[:, 2] += transform[:, :2] @ [0.5, 0.5] - 0.5  # OpenCV: the first pixel's centre is (0, 0)
    return cv2.warpAffine(picture, shifted, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderValue=(border,) * 3)


def eye_error(align: Align, shard: Path) -> dict[str, Any]:
    """Mean distance of the eyes from points set by hand, in eye distances, at the photo's own size and at set ones."""
    errors = collections.defaultdict(list)
    for _, image, fields in samples(shard):
        points = np.array(fields["points"])[:2]
        canvas, to_canvas = letterbox(image)
        cases = [("as it is", canvas, to_canvas)]
        for distance in EYE_DISTANCES:
            scale = distance / float(np.linalg.norm(points[1] - points[0]))
            place = np.column_stack([np.eye(2) * scale, np.array([320, 290]) - scale * points.mean(0)])
            cases.append((f"{distance} px", warped(image, place, border=128), place))
        for name, picture, transform in cases:
            outputs, expected = align(picture), moved(points, transform)
            error = np.linalg.norm(features(outputs)[:2] - expected, axis=1).mean() / np.linalg.norm(expected[1] - expected[0])
            errors[name].append(error if count_faces(outputs) and error < 0.25 else np.nan)
    return {
        name: {"found": float(np.isfinite(e).mean()), "eye error": round(float(np.nanmean(e)), 4)} for name, e in errors.items()
    }


def consistency(align: Align, shard: Path, count: int) -> dict[str, float]:
    """How far things move when photos are mirrored, or turned, scaled and shifted: medians over photos."""
    flip, move, crop = [], [], []
    rng = np.random.default_rng(0)
    images = [image for _, image, _ in samples(shard)]
    for image in images[:: max(1, len(images) // count)]:
        canvas = letterbox(image)[0]
        outputs = align(canvas)
        here = features(outputs)
        eyes = np.linalg.norm(here[1] - here[0])
        mirrored = features(align(np.ascontiguousarray(canvas[:, ::-1])))[[1, 0, 2, 3, 4]] * [-1, 1] + [SIZE, 0]
        flip.append(np.linalg.norm(mirrored - here, axis=1).mean() / eyes)
        angle, scale = np.radians(rng.uniform(-20, 20)), rng.uniform(0.7, 1.15)
        linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        transform = np.column_stack([linear, 320 - linear @ [320, 320] + rng.uniform(-40, 40, 2)])
        again = align(warped(canvas, transform))
        move.append(np.linalg.norm(features(again) - moved(here, transform), axis=1).mean() / eyes / scale)
        grid = np.array([[128, 128], [64, 64], [192, 192], [64, 192], [192, 64]], float)
        there = moved(moved(moved_back(grid, outputs["transform"]), transform), again["transform"])
        crop.append(np.linalg.norm(there - grid, axis=1).mean())
    names = ("mirrored, eye distances", "moved, eye distances", "crop moved, pixels")
    return {name: round(float(np.median(values)), 4) for name, values in zip(names, (flip, move, crop), strict=True)}


def acceptance(align: Align, pictures: list[Array]) -> dict[str, Any]:
    """Share of pictures that :mod:`sdk.quality` accepts, and how often it gave each reason against the others."""
    why: collections.Counter[str] = collections.Counter()
    accepted = 0
    for image in pictures:
        canvas, to_canvas = letterbox(image)
        found = reasons(measure(outputs := align(canvas), canvas, 1 / to_canvas[0, 0]))
        accepted += not found and count_faces(outputs) > 0
        why.update(reason.code for reason in found)
    return {"accepted": round(accepted / len(pictures), 4), "count": len(pictures), "reasons": dict(why)}


def negatives(shard: Path) -> list[Array]:
    """Pictures without a face: scikit-image's objects, animals and textures, and corners of the news photos."""
    from skimage import data

    names = ("brick", "grass", "gravel", "coins", "coffee", "chelsea", "page", "text", "clock", "moon", "rocket")
    pictures = [np.asarray(getattr(data, name)()) for name in names]
    pictures = [p if p.ndim == 3 else np.stack([p] * 3, -1) for p in pictures]
    corners = [image[:60, :60] for _, image, _ in samples(shard)][::5]
    return [np.ascontiguousarray(p[..., :3]) for p in pictures + corners]


def accuracy(options: Options, photos: Path) -> dict[str, Any]:
    """Everything that needs the development photos."""
    align = Align(options.model_repository, 2)
    shards = {"LFW dev": "lfw-dev.tar", "Canada dev": "canada-dev.tar", "FASSEG dev": "fasseg-v2-dev.tar"}
    accepted = {name: acceptance(align, [i for _, i, _ in samples(photos / shard)]) for name, shard in shards.items()}
    accepted["no face"] = acceptance(align, negatives(photos / shards["LFW dev"]))
    return {
        "eyes": eye_error(align, photos / shards["Canada dev"]),
        "consistency": consistency(align, photos / shards["LFW dev"], options.count),
        "accepted": accepted,
    }


def main(options: Options) -> None:
    """Measure, print the tables, write ``results/alignment.json``."""
    results: dict[str, Any] = {"speed": speed(options)}
    parts_of_graph = results["speed"]["parts"]
    columns = ("wall min", "wall median", "cpu min", "cpu median")
    rows = [[n, *(t[c] for c in columns)] for n, t in results["speed"].items() if n != "parts"]
    report.print_table("Milliseconds per picture", ("", *columns), rows)
    report.print_table("Parts, portrait, 1 thread (min ms)", ("", "ms"), [[n, t] for n, t in parts_of_graph.items()])
    photos = options.photos or (Path(os.environ["FACEPARAM_PHOTOS"]) if "FACEPARAM_PHOTOS" in os.environ else None)
    if photos:
        found = results["accuracy"] = accuracy(options, photos)
        rows = [[n, e["found"], e["eye error"]] for n, e in found["eyes"].items()]
        report.print_table("Eyes, Canada dev, by eye distance", ("", "found", "error / eye distance"), rows)
        report.print_table("Consistency, LFW dev (median)", ("", ""), [list(item) for item in found["consistency"].items()])
        rows = [[n, a["accepted"], a["count"], json.dumps(a["reasons"])] for n, a in found["accepted"].items()]
        report.print_table("Accepted", ("", "share", "of", "reasons against"), rows)
    print(f"\nwrote {report.write('alignment', results, ('onnxruntime', 'opencv-python-headless'))}")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
