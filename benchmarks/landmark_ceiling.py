"""How well parameters could be told if landmarks were seen to within so many pixels.

    python -m benchmarks.landmark_ceiling --renders DIR

A linear map from the rig's exact landmarks plus noise to the parameters, fitted on training renders and measured on
the held-out ones of :mod:`benchmarks.accuracy`. It shows what the networks' landmark precision costs them; they may do
better than a line at the same precision, because they see shading too. Writes ``landmark_ceiling.json``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tyro

from benchmarks import report
from benchmarks.measures import icc, squared_mm
from game.rig import Rig
from train.data import RenderShards
from train.geometry import LandmarkSpace, front_vertices, identity_metric, regression

Array = npt.NDArray[Any]
NOISE = (0.0, 0.25, 0.5, 1.0, 2.0)
CODES = 250


@dataclass(frozen=True)
class Options:
    """Options; each is a flag of the command line."""

    renders: Path  # aligned renders
    hold_out: int = 1  # the last so many render shards
    sample: int = 20000  # renders to fit on
    name: str = "landmark_ceiling"  # of the JSON file


def measure(shards: RenderShards, fit: Array, test: Array) -> list[dict[str, float]]:
    """A row per amount of noise, in crop pixels per axis: mean ICC of action units, pitch and yaw error in degrees,
    and identity error against the base face's on the head and on its front."""
    rng, rig, arrays = np.random.default_rng(0), Rig.load(), shards.arrays
    metrics = {"head": identity_metric(rig), "front": identity_metric(rig, front_vertices(rig))}
    truth = {name: arrays[name] for name in ("identity", "expression", "pose")}
    sizes = np.cumsum([values.shape[1] for values in truth.values()])[:-1]
    everything = np.concatenate(list(truth.values()), 1)
    space = LandmarkSpace.fit(arrays["landmarks"][fit], CODES, 0.0, rng)

    def code(rows: Array, noise: float) -> Array:
        points = arrays["landmarks"][rows]
        flat = (points + noise * rng.standard_normal(points.shape)).reshape(len(rows), -1) - space.mean
        return np.asarray(flat @ space.basis.T / space.scale)

    rows = []
    for noise in NOISE:
        weights = regression(code(fit, noise), everything[fit]).numpy()
        answers = code(test, noise) @ weights[:-1] + weights[-1]
        identity, expression, pose = np.split(answers, sizes, 1)
        row = {"noise px": noise, "mean icc": float(icc(expression, truth["expression"][test]).mean())}
        row["pitch"], row["yaw"] = (float(v) for v in np.abs(pose - truth["pose"][test]).mean(0))
        error, base = identity - truth["identity"][test], truth["identity"][test]
        for name, metric in metrics.items():
            squared = [squared_mm(d, metric).mean() for d in (error, base)]
            row[f"identity share of base face, {name}"] = float(np.sqrt(squared[0] / squared[1]))
        rows.append(row)
    return rows


def main(options: Options) -> list[dict[str, float]]:
    """Measure, print, write."""
    shards = RenderShards(options.renders)
    held_out = shards.held_out(options.hold_out)
    fit = np.random.default_rng(1).permutation(np.flatnonzero(~held_out))[: options.sample]
    rows = measure(shards, fit, np.flatnonzero(held_out))
    report.print_table("From landmarks seen to within ...", tuple(rows[0]), [tuple(row.values()) for row in rows])
    print(f"\n{report.write(options.name, {'fitted on': len(fit), 'rows': rows}, ('numpy',))}")
    return rows


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
