"""The arms of the encoder's ablation: every loss is in one of the steps, and each arm's command is one that training takes."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import tyro

from benchmarks.ablation_encoder import ALL, LAMBDAS, NARROW, STEPS, Options, arms, trainings
from train import encoder
from train.encoder import Weights


def test_arms_switch_off_what_they_say() -> None:
    options = Options(
        renders="renders", photos="photos", regressor=Path("r"), segmenter=Path("s"), imitator=Path("g"), dev_photos="p",
        styles=Path("t"), out=Path("o"), steps=7, start_from=Path("b"),
    )  # fmt: skip
    found, defaults = arms(), asdict(Weights())
    assert sorted(loss for _, losses in STEPS for loss in losses) == sorted(ALL)
    assert found["+ pictures: all"] == {} and found["renders alone"]["told"] == 0
    assert len(found) == len(STEPS) + len(LAMBDAS)
    lines = trainings(options)
    assert list(lines) == [*found, NARROW]
    for name, flags in lines.items():
        parsed = tyro.cli(encoder.Options, args=flags[flags.index("train.encoder") + 1 :])
        assert parsed.steps == 7 and parsed.out.parent == Path("o")
        begun = (None, None, "narrow") if name == NARROW else (Path("b"), Path("r"), "cpu")
        assert (parsed.start_from, parsed.regressor, parsed.preset) == begun
        assert asdict(parsed.weights) == defaults | found.get(name, {}), name
