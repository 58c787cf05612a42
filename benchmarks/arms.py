"""What the ablations share: trainings that differ in the weights of their losses, each trained and measured once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks import report
from train.checkpoint import LAST


@dataclass(frozen=True, kw_only=True)
class ArmOptions:
    """Options of every ablation; each is a flag of the command line."""

    renders: str  # folder of aligned renders
    photos: str  # folder of aligned photos to train on
    segmenter: Path
    imitator: Path
    out: Path  # folder of the arms' runs
    start_from: Path | None = None  # checkpoint of the same training that all arms begin with
    steps: int = 400
    devices: int = 1
    threads: int = 0
    precision: str = "auto"
    preset: str = "cpu"
    arms: list[str] = field(default_factory=list)  # some arms only
    renders_measured: int = 500


BEGINNING = "the beginning"
"""Name of the arm that is not trained, but is what the others begin with."""
TRAINED_WITH = ("renders", "photos", "segmenter", "imitator", "steps", "devices", "threads", "precision", "preset")
"""Options that go on to the training."""


def command(options: ArmOptions, module: str, weights: Mapping[str, float], out: Path, **more: object) -> list[str]:
    """The command line of an arm's training: `weights` that differ from the usual ones, `more` options."""
    given = {name: getattr(options, name) for name in TRAINED_WITH} | {"out": out, "average": 0.99} | more
    if options.start_from:
        given["start-from"] = options.start_from
    given |= {f"weights.{name.replace('_', '-')}": value for name, value in weights.items()}
    return [sys.executable, "-W", "ignore", "-m", module, *(part for n, v in given.items() for part in (f"--{n}", str(v)))]


def folder(options: ArmOptions, name: str) -> Path:
    """Where an arm's run lies."""
    return options.out / name.replace(" ", "_").replace("+", "with").replace(",", "").replace(":", "")


def measured(
    options: ArmOptions, name: str, training: list[str] | None, measure: Callable[[Path, Path], dict[str, float]]
) -> dict[str, float]:
    """Train an arm by a command and `measure` its checkpoint, in its folder, once; what was measured is kept. Without a command
    it is the run that all begin with."""
    run = folder(options, name)
    found = run / "measured.json"
    if not found.is_file():
        run.mkdir(parents=True, exist_ok=True)
        checkpoint = run / LAST
        if training:
            subprocess.run(training, check=True)
        elif options.start_from:
            checkpoint = options.start_from
        found.write_text(json.dumps(measure(checkpoint, run)))
    return dict(json.loads(found.read_text()))


def compare(
    options: ArmOptions,
    name: str,
    commands: Mapping[str, list[str]],
    measure: Callable[[Path, Path], dict[str, float]],
    packages: tuple[str, ...],
    **more: object,
) -> dict[str, Any]:
    """Train and measure the arms that are asked for and not there yet, `commands` by name, and what they begin with; print, write
    ``NAME.json`` with `more` in it."""
    arms: dict[str, list[str] | None] = {BEGINNING: None} if options.start_from else {}
    arms |= {arm: training for arm, training in commands.items() if not options.arms or arm in options.arms}
    found = {arm: measured(options, arm, training, measure) for arm, training in tqdm(arms.items(), unit="arm")}
    results = {"steps": options.steps, **more, "arms": found}
    rows = [(arm, *values.values()) for arm, values in found.items()]
    report.print_table(f"After {options.steps} steps", ("losses", *next(iter(found.values()))), rows)
    print(f"\n{report.write(name, results, packages)}")
    return results
