"""What does each loss of the regressor buy? The same short training with some losses switched off, each on the yardstick.

    python -m benchmarks.ablation --renders ALIGNED --photos ALIGNED --segmenter S.pt --recogniser F.pt --imitator G.pt \\
        --encoder E.pt --dev-photos lfw-dev.tar --judge JUDGE.onnx --out runs/ablation --steps 400 --devices 2 --threads 1

*Arms* are trained with the losses of CN112200236A alone ([0165]), with landmarks of photos, with supervision on renders, with
all; then with all but one. All begin alike: from nothing, or as the run of ``--start-from``, which is measured too; then an arm
shows what its losses make of those weights. Each arm is exported and goes through :mod:`benchmarks.accuracy` and
:mod:`benchmarks.likeness`, on fewer faces. Numbers of short trainings are far from those of the shipped weights; their
differences are the point. Finished arms are kept in ``--out``. Writes ``ablation.json``."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from tqdm import tqdm

from benchmarks import accuracy, likeness, report
from benchmarks.accuracy_photos import of_photos
from export import build_engines
from sdk import FaceParamClient
from sdk.models import find_models
from train.checkpoint import LAST
from train.data import RenderShards
from train.losses import Weights

METHOD = ("content", "identity_cosine", "parameters", "loop_identity", "loop_expression", "mouth")
LANDMARKS = ("photo_first", "photo_landmarks", "photo_rig", "photo_bounds")
SUPERVISION = ("first_landmarks", "landmarks", "expression", "agreement", "pose", "gaze", "identity", "uncertainty")
ALL = tuple(asdict(Weights()))
ALONE = ("who", "photo_prior", "photo_quiet", "photo_same", "photo_mirror", *METHOD)
"""Losses that are left out one at a time."""
BEGINNING = "the beginning"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options; each is a flag of the command line."""

    renders: str  # folder of aligned renders
    photos: str  # folder of aligned photos to train on
    segmenter: Path
    recogniser: Path
    imitator: Path
    encoder: Path
    dev_photos: Path  # tar of photos of other people, to measure on
    judge: Path  # ONNX file of the recogniser that likeness is measured by
    out: Path  # folder of the arms' runs
    start_from: Path | None = None  # checkpoint of train.regressor that all arms begin with
    steps: int = 400
    devices: int = 1
    threads: int = 0
    precision: str = "auto"
    preset: str = "cpu"
    arms: list[str] = field(default_factory=list)  # some arms only
    renders_measured: int = 500
    people: int = 200
    name: str = "ablation"  # of the JSON file


def arms() -> dict[str, tuple[str, ...]]:
    """Losses by the name of the arm that trains with them."""
    groups = {
        "the method alone": METHOD,
        "+ landmarks": METHOD + LANDMARKS,
        "+ supervision": METHOD + LANDMARKS + SUPERVISION,
        "all": ALL,
    }
    return groups | {f"all but {name}": tuple(n for n in ALL if n != name) for name in ALONE}


def command(options: Options, losses: tuple[str, ...], out: Path) -> list[str]:
    """The command line of an arm's training."""
    off = [part for name in ALL if name not in losses for part in (f"--weights.{name.replace('_', '-')}", "0")]
    given = {
        "renders": options.renders, "photos": options.photos, "segmenter": options.segmenter, "recogniser": options.recogniser,
        "imitator": options.imitator, "encoder": options.encoder, "out": out, "steps": options.steps,
        "devices": options.devices, "threads": options.threads, "precision": options.precision, "preset": options.preset,
        "average": 0.99,
    }  # fmt: skip
    flags = [part for name, value in given.items() for part in (f"--{name}", str(value))]
    begin = ["--start-from", str(options.start_from)] if options.start_from else []
    return [sys.executable, "-W", "ignore", "-m", "train.regressor", *flags, *begin, *off]


def measure(options: Options, checkpoint: Path, run: Path) -> dict[str, float]:
    """The network of a checkpoint on the yardstick."""
    models = run / "models"
    shutil.copytree(find_models().root, models, dirs_exist_ok=True)
    build_engines.build(build_engines.Options(regressor=checkpoint, model_repository=models, backend="onnxruntime"))
    shards = RenderShards(options.renders)
    chosen = np.random.default_rng(0).permutation(np.flatnonzero(shards.held_out(1)))[: options.renders_measured]
    renders = accuracy.of_renders(accuracy.Networks(models, 0), shards, chosen)
    with FaceParamClient.embedded(models) as client:
        photos = of_photos(client, options.dev_photos, 10**9, 0)
    alike = likeness.Options(photos=options.dev_photos, judge=options.judge, people=options.people, model_repository=models)
    views = likeness.measure(alike, compared=False)["views"]
    return {
        "units ICC": renders["mean icc"],
        "pose deg": renders["pose mae"]["mean"],
        "identity / base": renders["identity share of base face"],
        "photo NME": photos["landmarks"]["by eye distance"],
        "same person": photos["same or other person"]["cosine"]["accuracy"],
        "first of 100, photographed": views["as photographed"]["faceparam"]["first"],
        "first of 100, neutral": views["neutral"]["faceparam"]["first"],
        "first ten, photographed": views["as photographed"]["faceparam"]["among the first 10"],
        "first ten, neutral": views["neutral"]["faceparam"]["among the first 10"],
    }


def arm(options: Options, name: str, losses: tuple[str, ...]) -> dict[str, float]:
    """Train and measure, once; what was measured is kept."""
    run = options.out / name.replace(" ", "_").replace("+", "with")
    found = run / "measured.json"
    if not found.is_file():
        run.mkdir(parents=True, exist_ok=True)
        checkpoint = options.start_from if name == BEGINNING else None
        if checkpoint is None:
            subprocess.run(command(options, losses, run), check=True)
        found.write_text(json.dumps(measure(options, checkpoint or run / LAST, run)))
    return dict(json.loads(found.read_text()))


def main(options: Options) -> dict[str, Any]:
    """Train and measure the arms that are not there yet; print, write."""
    chosen = {BEGINNING: ()} if options.start_from else {}
    chosen |= {name: losses for name, losses in arms().items() if not options.arms or name in options.arms}
    found = {name: arm(options, name, losses) for name, losses in tqdm(chosen.items(), unit="arm")}
    results = {"steps": options.steps, "arms": found}
    rows = [(name, *values.values()) for name, values in found.items()]
    report.print_table(f"After {options.steps} steps", ("losses", *next(iter(found.values()))), rows)
    print(f"\n{report.write(options.name, results, ('torch', 'onnxruntime'))}")
    return results


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
