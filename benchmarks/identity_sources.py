"""Whose identity should a player's face get: the regressor's, the encoder's, or both by how sure each is?

    python -m benchmarks.identity_sources --renders ALIGNED --photos ALIGNED --out runs/identities
    python -m benchmarks.likeness ... --made encoder=runs/identities/encoder.jsonl both=runs/identities/both.jsonl

Both networks say the 244 sliders. *Both* is their mean, slider by slider, weighed with the inverse variance: the regressor's is
what it says about each face, the encoder's, which says none, its mean squared error on one half of the held-out renders. On the
other half all three are measured against the truth, as a share of the base face's error. Writes ``identity_sources.json``, and
faces of the first photo of each person for :mod:`benchmarks.likeness`, which measures what counts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tyro
from tqdm import tqdm

from benchmarks import report
from benchmarks.accuracy import Networks
from benchmarks.measures import rmse_mm
from game.rig import Rig
from sdk.contract import sigma_name
from train.data import PhotoShards, RenderShards, Shards
from train.face_files import UNKNOWN, MadeFace
from train.geometry import front_vertices, identity_metric

Array = npt.NDArray[Any]

LEAST = 1e-6
"""Variance of a slider that is said to have none."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options; each is a flag of the command line."""

    renders: Path  # aligned renders
    photos: Path  # aligned photos named PERSON_NNNN
    out: Path  # folder for faces
    hold_out: int = 1  # the last so many render shards, which training leaves out
    model_repository: Path | None = None
    threads: int = 0  # of ONNX Runtime (0: its own choice)


def fused(regressor: Array, sigma: Array, encoder: Array, variance: Array) -> Array:
    """Identities (N, 244) of two networks by inverse variance: the regressor's standard deviations (N, 244), the encoder's
    variances (244,)."""
    own, other = (1 / np.maximum(values, LEAST) for values in (np.square(sigma), variance))
    return ((own * regressor + other * encoder) / (own + other)).astype(np.float32)


def said(networks: Networks, shards: Shards, chosen: Array) -> tuple[dict[str, Array], Array]:
    """Outputs of the regressor, and the encoder's identities, on some pictures."""

    def run(model: str) -> dict[str, Array]:
        pictures = ((shards.picture(int(i)), shards.mesh(int(i))) for i in tqdm(chosen, unit="picture", desc=model))
        return networks.run(pictures, model)

    return run("regressor"), run("encoder")["identity"]


def main(options: Options) -> dict[str, Any]:
    """Measure, print, write."""
    networks = Networks(options.model_repository, options.threads)
    renders, photos, rig = RenderShards(options.renders), PhotoShards(options.photos), Rig.load()
    chosen = np.flatnonzero(renders.held_out(options.hold_out))
    regressor, encoder = said(networks, renders, chosen)
    truth, choosing = renders.arrays["identity"][chosen], np.arange(len(chosen)) % 2 == 0
    variance = np.square(encoder - truth)[choosing].mean(0)
    sigma = sigma_name("identity")
    answers = {
        "regressor": regressor["identity"],
        "encoder": encoder,
        "both": fused(regressor["identity"], regressor[sigma], encoder, variance),
    }
    metrics = {"head": identity_metric(rig), "front": identity_metric(rig, front_vertices(rig))}

    def share(values: Array, metric: Array) -> float:
        return rmse_mm((values - truth)[~choosing], metric) / rmse_mm(truth[~choosing], metric)

    found = {name: {place: share(values, metric) for place, metric in metrics.items()} for name, values in answers.items()}
    regressor, encoder = said(networks, photos, photos.firsts)
    unknown = np.full(len(networks.schema.style), UNKNOWN)
    options.out.mkdir(parents=True, exist_ok=True)
    for name, identities in (
        ("encoder", encoder), ("both", fused(regressor["identity"], regressor[sigma], encoder, variance)),
    ):  # fmt: skip
        with (options.out / f"{name}.jsonl").open("w", encoding="utf-8") as lines:
            for key, *values in zip(
                photos.arrays["key"][photos.firsts], identities, regressor["expression"], regressor["pose"], strict=True
            ):
                lines.write(MadeFace(str(key), *values, unknown).line() + "\n")
    rows = [(name, *values.values()) for name, values in found.items()]
    report.print_table("Identity on renders, share of the base face's error", ("identity", *metrics), rows)
    print(f"\n{report.write('identity_sources', {'renders': int((~choosing).sum()), 'share': found}, ('onnxruntime',))}")
    return found


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
