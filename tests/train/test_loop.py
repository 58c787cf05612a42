"""The training loop: processes and accumulation change nothing, a killed run goes on with the same losses, and it stops."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.train.line_task import LineTask
from train import checkpoint
from train.loop import Loop, LoopOptions, averaged

ROOT = Path(__file__).parents[2]


@pytest.fixture
def options(tmp_path: Path) -> LoopOptions:
    return LoopOptions(out=tmp_path / "run", steps=12, warm_up=1, workers=0, learning_rate=0.05)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return checkpoint.load(folder / checkpoint.LAST)["network"]


def test_two_processes_learn_what_one_does_from_twice_the_batches(tmp_path: Path) -> None:
    script = str(Path(__file__).parent / "line_task.py")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    commands = {
        "one": [sys.executable, script, str(tmp_path / "one"), "1", "2"],
        "two": [*torchrun, script, str(tmp_path / "two"), "2", "1"],
    }
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    for command in commands.values():
        for _ in range(3):
            ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
            if "EADDRINUSE" not in ended.stderr:  # torchrun finds a free port, which another program may take before it does
                break
        assert ended.returncode == 0, ended.stderr[-8000:]
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=1e-5, atol=1e-7)
    assert json.loads((tmp_path / "two/run.json").read_text())[0]["machine"]["processes"] == 2


def test_a_run_begins_with_what_another_made_and_goes_on_with_its_own(options: LoopOptions, tmp_path: Path) -> None:
    Loop(options, lambda resumed: LineTask()).run()
    made = checkpoint.load(options.out / checkpoint.LAST)["average"]
    second = replace(options, out=tmp_path / "second", start_from=options.out / checkpoint.LAST)
    loop = Loop(second, lambda resumed: LineTask())
    assert loop.step == 0
    for values in (loop.task.network.state_dict(), loop.average.values):
        for name, value in made.items():
            torch.testing.assert_close(values[name], value, rtol=0, atol=0)
    loop.run()
    resumed = Loop(second, lambda resumed: LineTask()).task.network.state_dict()
    assert all(torch.equal(value, resumed[name]) for name, value in weights(second.out).items())
    assert not torch.equal(resumed["weight"], made["weight"])


def test_a_killed_run_goes_on_with_the_same_losses(options: LoopOptions, tmp_path: Path) -> None:
    whole = Loop(replace(options, out=tmp_path / "whole"), lambda resumed: LineTask())
    whole.run()
    losses: list[float] = []
    for stop_after in (5, 3, 0):
        part = Loop(replace(options, stop_after=stop_after), lambda resumed: LineTask())
        part.run()
        losses += part.task.seen  # type: ignore[attr-defined]
    assert losses == whole.task.seen  # type: ignore[attr-defined]
    for name, value in weights(tmp_path / "whole").items():
        torch.testing.assert_close(weights(options.out)[name], value, rtol=0, atol=0)
    assert len(json.loads((options.out / "run.json").read_text())) == 3


def test_it_learns_and_says_what_it_ran(options: LoopOptions) -> None:
    loop = Loop(replace(options, steps=400, average=0.9, learning_rate=0.2, weight_decay=0.0), lambda resumed: LineTask())
    loop.run()
    assert loop.task.seen[-1] < 1e-3 * loop.task.seen[0]  # type: ignore[attr-defined]
    (record,) = json.loads((options.out / "run.json").read_text())
    assert record["options"]["steps"] == 400 and record["versions"]["torch"] and record["machine"]["cores"]
    with averaged(loop.task.network, loop.average):
        assert not loop.task.network.training
        torch.testing.assert_close(loop.task.network.weight, torch.tensor([[1.0, -2.0, 3.0]]), atol=0.1, rtol=0)


def test_it_stops_when_nothing_gets_better_and_keeps_the_best(options: LoopOptions) -> None:
    task = LineTask([0.1, 0.5, 0.4, 0.3, 0.9])
    loop = Loop(replace(options, steps=100, evaluate_every=2, patience=2), lambda resumed: task)
    loop.run()
    assert loop.step == 8
    assert checkpoint.load(options.out / checkpoint.BEST)["step"] == 4


@pytest.mark.parametrize(("change", "message"), [({"steps": 0}, "--minutes or --steps"), ({"patience": 2}, "--evaluate-every")])
def test_options_that_cannot_be(options: LoopOptions, change: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(options, **change)  # type: ignore[arg-type]
