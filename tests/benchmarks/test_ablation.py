"""The arms of the ablation: every loss is in one of its groups, and each arm's command is one that the training takes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import tyro

from benchmarks.ablation import ALL, Options, arms, command
from train import regressor
from train.losses import Weights


def test_arms_switch_off_what_they_say() -> None:
    options = Options(
        renders="renders", photos="photos", segmenter=Path("s"), recogniser=Path("f"), imitator=Path("g"),
        encoder=Path("e"), dev_photos=Path("p"), judge=Path("j"), out=Path("o"), steps=7, start_from=Path("b"),
    )  # fmt: skip
    found = arms()
    assert set(found["the method alone"]) < set(found["+ landmarks"]) < set(found["+ supervision"]) < set(found["all"])
    defaults = asdict(Weights())
    for name, losses in found.items():
        flags = command(options, losses, Path("o") / "arm")
        parsed = tyro.cli(regressor.Options, args=flags[flags.index("train.regressor") + 1 :])
        assert parsed.steps == 7 and parsed.imitator == Path("g") and parsed.start_from == Path("b")
        for weight, value in asdict(parsed.weights).items():
            assert value == (defaults[weight] if weight in losses else 0), (name, weight)
    assert set(ALL) == set(defaults) and all(defaults[name] > 0 for name in ALL)
