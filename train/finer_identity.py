"""Let a regressor say finer identities: in more principal coefficients, of which the new ones begin with saying nothing.

    python -m train.finer_identity --checkpoint runs/shipped/regressor/last.pt --renders data/aligned/renders --out runs/finer
    python -m train.regressor --start-from runs/finer/last.pt --views 2 --stand-in ...

R says identity as principal coefficients of what sliders move (:class:`train.geometry.IdentitySpace`), the largest first. What
moves little skin is a matter of small coefficients, and of eyes and lips: few square millimetres, by which people are known.
The new coefficients are the principal ones of what the old ones leave open, so that nothing of those changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor
from torch.nn import functional

from game.rig import Rig
from train import checkpoint
from train.data import RenderShards
from train.geometry import FloatArray, IdentitySpace, identity_metric
from train.networks import PRESETS, Preset
from train.presets import named, restored
from train.soup import KINDS

SAYING = {f"{layer}.{kind}" for layer in ("parameters_head", "sigma_head", "likeness.layers.4") for kind in ("weight", "bias")}
"""Weights whose first rows say identity codes. Rows of 0 behind these: 0, with a standard deviation of 1."""
READING = "likeness.layers.0.weight"
"""Weights whose last columns read them."""


@dataclass(frozen=True)
class Options:
    """Options; each is a flag of the command line."""

    checkpoint: Path  # of train.regressor
    renders: str  # folder or URL of aligned render shards, whose identities the coefficients are fitted to
    out: Path  # folder where last.pt is written
    preset: str = "cpu"  # that says how many coefficients there are to be


def finer(state: dict[str, Any], identities: FloatArray, metric: FloatArray, codes: int) -> dict[str, Any]:
    """A checkpoint of the regressor with so many identity codes, that says what `state` says. `identities` (N, 244), `metric`
    (244, 244) of :func:`train.geometry.identity_metric`. ValueError where it has as many already."""
    preset = restored(Preset, state["description"]["preset"])
    before = preset.identity_codes
    if before >= codes:
        raise ValueError(f"the regressor has {before} identity codes already, {codes} are asked for")
    spaces, geometry = state["average"], state["geometry"]
    mean, basis, encoder = (
        values.double().numpy()
        for values in (spaces["spaces.identity_mean"], spaces["spaces.identity_basis"], geometry["encoder"])
    )
    unsaid = np.eye(len(mean)) - encoder @ basis
    rest = IdentitySpace.fit((identities - mean) @ unsaid, metric, codes - before)
    more = {"encoder": unsaid @ rest.encode, "basis": rest.basis, "variance": rest.variance, "residual": rest.residual}
    new = {name: torch.from_numpy(values.astype(np.float32)) for name, values in more.items()}

    def network(values: dict[str, Tensor]) -> dict[str, Tensor]:
        taken = dict(values)
        for name in SAYING & values.keys():
            first, others = values[name].split([before, len(values[name]) - before])
            taken[name] = torch.cat([first, first.new_zeros(codes - before, *first.shape[1:]), others])
        if READING in values:
            taken[READING] = functional.pad(values[READING], (0, codes - before))
        taken["spaces.identity_basis"] = torch.cat([values["spaces.identity_basis"], new["basis"]])
        taken["spaces.identity_residual"] = new["residual"]
        return taken

    description = {**state["description"], "preset": vars(replace(preset, identity_codes=codes))}
    return {
        **{kind: network(state[kind]) for kind in KINDS if kind in state},
        "description": description,
        "geometry": {
            "encoder": torch.cat([geometry["encoder"], new["encoder"]], 1),
            "identity_variance": torch.cat([geometry["identity_variance"], new["variance"]]),
        },
    }


def main(options: Options) -> Path:
    """Write the checkpoint; returns its path."""
    identities = RenderShards(options.renders).arrays["identity"]
    codes = named(PRESETS, options.preset).identity_codes
    state = finer(checkpoint.load(options.checkpoint), identities, identity_metric(Rig.load()), codes)
    path = options.out / checkpoint.LAST
    checkpoint.save(path, state)
    return path


if __name__ == "__main__":
    print(main(tyro.cli(Options, description=__doc__)))
