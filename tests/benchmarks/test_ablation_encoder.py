"""The arms of the encoder's ablation: every loss is in one of the steps, and each arm's command is one that training takes."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import tyro

from benchmarks.ablation_encoder import ALL, LAMBDAS, NARROW, STEPS, Options, arms, trainings
from train import encoder
from train.encoder import Weights

OPTIONS = Options(
    renders="renders", photos="photos", regressor=Path("r"), segmenter=Path("s"), imitator=Path("g"), dev_photos="p",
    styles=Path("t"), out=Path("o"), steps=7,
)  # fmt: skip


def parsed(flags: list[str]) -> encoder.Options:
    return tyro.cli(encoder.Options, args=flags[flags.index("train.encoder") + 1 :])


def test_arms_switch_off_what_they_say() -> None:
    found, defaults = arms(), asdict(Weights())
    assert sorted(loss for _, losses in STEPS for loss in losses) == sorted(ALL)
    assert found["+ taught: all"] == {} and found["renders alone"]["told"] == 0
    assert len(found) == len(STEPS) + len(LAMBDAS)
    lines = trainings(OPTIONS)
    assert list(lines) == [*found, NARROW]
    for name, flags in lines.items():
        run = parsed(flags)
        assert run.steps == 7 and run.out.parent == Path("o")
        begun = (None, "narrow") if name == NARROW else (Path("r"), "cpu")
        assert (run.start_from, run.regressor, run.preset) == (None, *begun)
        assert asdict(run.weights) == defaults | found.get(name, {}), name


def test_arms_begin_with_another_run() -> None:
    lines = trainings(replace(OPTIONS, start_from=Path("b")))
    assert list(lines) == list(arms())
    assert all(parsed(flags).start_from == Path("b") for flags in lines.values())
