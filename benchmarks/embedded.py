"""Speed of the embedded client, beside eager torch and MediaPipe's own FaceMesh pipeline, in one run on one machine.

``python -m benchmarks.embedded [--mediapipe-python VENV/bin/python] [--models DIR] [--repeats N] [PHOTO...]``

Milliseconds (median, 95th percentile) per stage and end to end, on 1 and 2 cores, each measured in a fresh process that
is pinned to its cores; ``cpu`` is the processor time of a photo, all threads together, which other programs on the machine
disturb least; start-up time; peak memory. The photos are the public-domain portrait of scikit-image at 512
pixels and as a 12-megapixel phone picture, and whatever is named. Torch and MediaPipe are left out, with a word, where
they are not installed; MediaPipe pins an old NumPy and wants an environment of its own:
``python -m venv VENV && VENV/bin/pip install mediapipe==0.10.21``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import report

HERE = Path(__file__).parent
CORES = (1, 2)
STAGES = ("decode", "letterbox", "align", "quality", "regressor", "encoder", "face_mesh", "total", "cpu")


def main() -> None:
    """Measure, print the tables, write ``results/embedded.json``."""
    options = _parse()
    with tempfile.TemporaryDirectory() as folder:
        photos = {
            "portrait, 512 x 512": _portrait(Path(folder)),
            "phone photo, 4032 x 3024": _phone_photo(Path(folder)),
        }
        photos |= {path.name: path for path in options.photos}
        results = {str(cores): {name: _measure(cores, path, options) for name, path in photos.items()} for cores in CORES}
    _print(results)
    path = report.write("embedded", results, ("onnxruntime", "opencv-python-headless", "torch"))
    print(f"\nwrote {path}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.embedded", description=__doc__.partition("\n")[0])
    parser.add_argument("photos", nargs="*", type=Path, metavar="PHOTO", help="more photos, each with one face")
    parser.add_argument("--repeats", type=int, default=30, help="runs per photo (default: 30)")
    parser.add_argument("--models", default="", metavar="DIR", help="model repository (default: the repository's)")
    parser.add_argument("--mediapipe-python", metavar="PYTHON", help="interpreter that has mediapipe==0.10.21")
    return parser.parse_args()


def _measure(cores: int, photo: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One photo on `cores` cores: ours, torch's and MediaPipe's times, in turn."""
    repeats = str(options.repeats)
    ours = _child([sys.executable, "-m", "benchmarks.embedded_run", str(cores), repeats, options.models, str(photo)])
    torch = _child([sys.executable, "-m", "benchmarks.embedded_torch", str(cores), repeats, str(photo)], optional=True)
    results = {"embedded": ours, "torch eager": torch, "mediapipe": None}
    if options.mediapipe_python:
        script = str(HERE / "mediapipe_face_mesh.py")
        results["mediapipe"] = _child([options.mediapipe_python, script, str(cores), repeats, str(photo)])
    for result in filter(None, results.values()):
        result["times"] = {stage: report.summary(times) for stage, times in result["times"].items()}
    return results


def _child(command: list[str], optional: bool = False) -> dict[str, Any] | None:
    """The JSON object that a child process prints; None where an optional one lacks a package."""
    done = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parent)
    if done.returncode == 0:
        result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return result
    if optional and "ModuleNotFoundError" in done.stderr:
        print(f"left out: {' '.join(command[1:3])}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")


def _portrait(folder: Path) -> Path:
    import cv2
    import skimage.data

    path = folder / "portrait.jpg"
    cv2.imwrite(str(path), skimage.data.astronaut()[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    return path


def _phone_photo(folder: Path) -> Path:
    """The portrait enlarged to 12 megapixels with a sensor's noise: as many pixels and bytes as a phone's photo."""
    import cv2
    import skimage.data

    picture = cv2.resize(skimage.data.astronaut()[:384, ..., ::-1], (4032, 3024), interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(0).normal(0, 4, picture.shape).astype(np.int16)
    path = folder / "phone.jpg"
    cv2.imwrite(str(path), np.clip(picture + noise, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 90])
    return path


def _print(results: dict[str, dict[str, Any]]) -> None:
    for photo in results[str(CORES[0])]:
        runs = {cores: results[str(cores)][photo] for cores in CORES}
        header = ["ms, median (95th percentile)"]
        columns: list[dict[str, Any]] = []
        for cores, run in runs.items():
            for name, result in run.items():
                if result is not None:
                    header.append(f"{name}, {cores} core{'s' * (cores > 1)}")
                    columns.append(result["times"])
        rows = [[stage, *(_times(column.get(stage)) for column in columns)] for stage in STAGES]
        report.print_table(photo, header, rows)
    rows = [[photo, int(cores), *_summary(run)] for cores, photos in results.items() for photo, run in photos.items()]
    header = ("ms a photo", "networks, ms", "torch / networks", "align / FaceMesh", "all / FaceMesh", "start-up, ms", "peak, MB")
    report.print_table("Summary (FaceMesh: MediaPipe's pipeline with decoding)", ("photo", "cores", *header), rows)


def _summary(run: dict[str, Any]) -> list[float | None]:
    """Our times, those of torch and MediaPipe as ratios, start-up and memory."""
    ours, torch, mediapipe = (run[name] for name in ("embedded", "torch eager", "mediapipe"))
    median = {stage: times["median"] for stage, times in ours["times"].items()}
    networks = median["align"] + median["regressor"] + median["encoder"]
    ratios = [torch and torch["times"]["total"]["median"] / networks, None, None]
    if mediapipe:
        ratios[1] = median["align"] / mediapipe["times"]["face_mesh"]["median"]
        ratios[2] = median["total"] / mediapipe["times"]["total"]["median"]
    return [median["total"], networks, *ratios, ours["start_up_ms"]["total"], ours["peak_mb"]]


def _times(summary: dict[str, float] | None) -> str:
    return f"{summary['median']:.2f} ({summary['p95']:.2f})" if summary else ""


if __name__ == "__main__":
    main()
