"""What does each loss of the regressor buy? The same short training with some losses switched off, each on the yardstick.

    python -m benchmarks.ablation --renders ALIGNED --photos ALIGNED --segmenter S.pt --recogniser F.pt --imitator G.pt \\
        --encoder E.pt --dev-photos lfw-dev.tar --judge JUDGE.onnx --out runs/ablation --steps 400 --devices 2 --threads 1

*Arms* are trained with the losses of CN112200236A alone ([0165]), with landmarks of photos, with supervision on renders, with
all; then with all but one. All begin alike: from nothing, or as the run of ``--start-from``, which is measured too; then an arm
shows what its losses make of those weights. Each arm is exported and goes through :mod:`benchmarks.accuracy` and
:mod:`benchmarks.likeness`, on fewer faces. Numbers of short trainings are far from those of the shipped weights; their
differences are the point. Finished arms are kept in ``--out``. Writes ``ablation.json``."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks import accuracy, likeness
from benchmarks.accuracy_photos import of_photos
from benchmarks.arms import ArmOptions, compare, folder
from benchmarks.arms import command as training_command
from export import build_engines
from sdk import FaceParamClient
from sdk.models import find_models
from train.data import RenderShards
from train.losses import Weights

METHOD = ("content", "identity_cosine", "parameters", "loop_identity", "loop_expression", "mouth")
LANDMARKS = ("photo_first", "photo_landmarks", "photo_rig", "photo_bounds")
SUPERVISION = ("first_landmarks", "landmarks", "expression", "agreement", "pose", "gaze", "identity", "uncertainty")
ALL = tuple(asdict(Weights()))
ALONE = ("who", "photo_prior", "photo_quiet", "photo_same", "photo_mirror", *METHOD)
"""Losses that are left out one at a time."""


@dataclass(frozen=True, kw_only=True)
class Options(ArmOptions):
    """Options; each is a flag of the command line."""

    recogniser: Path
    encoder: Path
    dev_photos: Path  # tar of photos of other people, to measure on
    judge: Path  # ONNX file of the recogniser that likeness is measured by
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
    """The command line of the training with some losses alone."""
    off = {name: 0 for name in ALL if name not in losses}
    more = {"recogniser": options.recogniser, "encoder": options.encoder}
    return training_command(options, "train.regressor", off, out, **more)


def measure(options: Options, checkpoint: Path, run: Path) -> dict[str, float]:
    """The network of a checkpoint on the yardstick."""
    models = run / "models"
    shutil.copytree(find_models().root, models, dirs_exist_ok=True)
    build_engines.export(build_engines.Options(regressor=checkpoint, model_repository=models))
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


def main(options: Options) -> dict[str, Any]:
    """Train and measure the arms that are not there yet; print, write."""
    commands = {name: command(options, losses, folder(options, name)) for name, losses in arms().items()}
    return compare(options, options.name, commands, partial(measure, options), ("torch", "onnxruntime"))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
