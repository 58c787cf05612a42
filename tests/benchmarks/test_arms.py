"""What the ablations share: an arm is trained and measured once."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.arms import BEGINNING, ArmOptions, compare, folder, measured
from train.checkpoint import LAST


def test_an_arm_is_trained_and_measured_once(tmp_path: Path) -> None:
    options = ArmOptions(
        renders="r", photos="p", segmenter=Path("s"), imitator=Path("g"), out=tmp_path, start_from=tmp_path / "begun.pt"
    )
    run = folder(options, "+ told, by: eye")
    assert run == tmp_path / "with_told_by_eye"
    trained = [sys.executable, "-c", f"open({str(run / 'trained')!r}, 'a').write('once')"]
    seen = []

    def measure(checkpoint: Path, place: Path) -> dict[str, float]:
        seen.append((checkpoint, place))
        return {"hair": 0.5}

    for _ in range(2):
        assert measured(options, "+ told, by: eye", trained, measure) == {"hair": 0.5}
    assert (run / "trained").read_text() == "once" and seen == [(run / LAST, run)]
    measured(options, "the beginning", None, measure)
    assert seen[1:] == [(tmp_path / "begun.pt", folder(options, "the beginning"))]


def test_arms_begin_with_a_run_that_is_measured_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    options = ArmOptions(renders="r", photos="p", segmenter=Path("s"), imitator=Path("g"), out=tmp_path, arms=["two"])
    commands = {name: [sys.executable, "-c", ""] for name in ("one", "two")}

    def arms(options: ArmOptions) -> list[str]:
        return list(compare(options, "arms", commands, lambda checkpoint, run: {"hair": 0.5}, ())["arms"])

    assert arms(options) == ["two"]
    assert arms(replace(options, arms=[])) == ["one", "two"]
    assert arms(replace(options, start_from=tmp_path / "begun.pt")) == [BEGINNING, "two"]
