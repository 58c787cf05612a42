"""What does each step of the encoder's training buy on photos? The same training with some losses switched off.

    python -m benchmarks.ablation_encoder --renders ALIGNED --photos ALIGNED --regressor R.pt --segmenter S.pt --imitator G.pt \\
        --dev-photos ALIGNED --styles benchmarks/labels/styles-lfw-dev.csv --out runs/ablation_encoder --steps 600

*Arms*: F1 on renders and shape alone; then one by one, each on top of the one before, the parts that the segmenter sees on
photos, the colours of eyes and lips that rules measure, what people told by eye, agreement with itself, F2 on pictures through
the imitator, and what another network makes of the labels; then that with pictures again with other weights of F2, the method's
lambda. All begin with the regressor's trunk, and last comes the method's own, VGG19's, which begins with nothing; or all begin as
the run of ``--start-from``, which is measured too, say one that saw renders alone: then an arm shows what its losses make of it
on photos. Finished arms are kept in ``--out``. Writes ``ablation_encoder.json``."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import tyro

from benchmarks import accuracy_styles
from benchmarks.arms import ArmOptions, command, compare, folder
from sdk.contract import style_name
from train import calibrate, checkpoint, encoder, encoder_network
from train.data import PhotoShards, RenderShards, Shards
from train.encoder import Weights
from train.encoder_data import Labels
from train.encoder_network import Encoder
from train.face_files import UNKNOWN

STEPS = (
    ("renders alone", ("styles", "shape", "visible")),
    ("+ parts on photos", ("parts",)),
    ("+ eyes and lips by rule", ("rules",)),
    ("+ told by eye", ("told",)),
    ("+ agreement", ("agreement",)),
    ("+ pictures", ("pixels",)),
    ("+ taught: all", ("taught",)),
)
"""Losses that each arm adds to those of the one before."""
LAMBDAS = (1.0, 16.0)
"""Weights of F2 besides its own."""
ALL = tuple(asdict(Weights()))
NARROW = "all, VGG19 from nothing"


@dataclass(frozen=True, kw_only=True)
class Options(ArmOptions):
    """Options; each is a flag of the command line."""

    regressor: Path  # checkpoint of train.regressor, with whose trunk arms begin
    dev_photos: str  # folder of aligned photos of other people, to measure on
    styles: Path  # table of the styles that people saw on those
    half: Literal["choosing", "reporting", ""] = "reporting"  # which half of it ("": both)
    steps: int = 600
    name: str = "ablation_encoder"  # of the JSON file


def arms() -> dict[str, dict[str, float]]:
    """Weights that differ from the usual ones, by the name of the arm."""
    found, losses = {}, set[str]()
    for name, more in STEPS:
        losses |= set(more)
        found[name] = {loss: 0.0 for loss in ALL if loss not in losses}
    return found | {f"+ pictures, lambda {value:g}": {"pixels": value, "taught": 0.0} for value in LAMBDAS}


def answers(network: Encoder, shards: Shards, chosen: Any) -> tuple[dict[str, Any], Any]:
    """Outputs of the encoder by the contract's names, and sliders (N, 244), on some pictures."""
    with torch.no_grad():
        said = calibrate.said_about(network, shards, chosen, torch.device("cpu"))
    slots = network.schema.style
    styles = {style_name(s.name): torch.cat([a.styles[s.name] for a in said]).softmax(1).numpy() for s in slots}
    return styles, torch.cat([a.identity for a in said]).clamp(-1, 1)


def measure(options: Options, path: Path, run: Path) -> dict[str, float]:
    """The network of a checkpoint on the yardstick; nothing is written into its folder."""
    network = encoder_network.rebuild(checkpoint.load(path))
    renders, photos = RenderShards(options.renders), PhotoShards(options.dev_photos)
    only = {"half": options.half} if options.half else {}
    told = Labels.read(photos, (options.styles,), (), network.schema, **only)
    of_photos, _ = answers(network, photos, seen := np.flatnonzero((told.style != UNKNOWN).any(1)))
    chosen = np.random.default_rng(0).permutation(np.flatnonzero(renders.held_out(1)))[: options.renders_measured]
    of_renders, identity = answers(network, renders, chosen)
    metric = encoder.surface_metric(renders.arrays["identity"])
    truth = torch.from_numpy(renders.arrays["identity"][chosen])
    found: dict[str, float] = {}
    for k, slot in enumerate(network.schema.style):
        if (told.style[seen, k] >= 0).any():
            on_photos = accuracy_styles.of_slot(slot, of_photos[style_name(slot.name)], np.ones(len(seen)), told.style[seen, k])
            found |= {f"{slot.name}, photos": on_photos["top-1"]}
            if slot.name == "hair":
                found["hair, photos, top-2"] = on_photos["top-2"]
    right = [
        (of_renders[style_name(slot.name)].argmax(1) == renders.arrays["style"][chosen, k]).mean()
        for k, slot in enumerate(network.schema.style)
    ]
    error = encoder.shape_error(identity, truth, metric).mean().sqrt()
    return {**found, "all slots, renders": float(np.mean(right)), "identity / base, renders": float(error)}


def trainings(options: Options) -> dict[str, list[str]]:
    """The command of every arm."""
    found = {
        name: command(options, "train.encoder", weights, folder(options, name), regressor=options.regressor)
        for name, weights in arms().items()
    }
    if options.start_from is None:
        found[NARROW] = command(replace(options, preset="narrow"), "train.encoder", {}, folder(options, NARROW))
    return found


def main(options: Options) -> dict[str, Any]:
    """Train and measure the arms that are not there yet; print, write."""
    return compare(options, options.name, trainings(options), partial(measure, options), ("torch",), half=options.half or "both")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
