"""The mean of checkpoints is a checkpoint whose weights are the mean."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from train import checkpoint
from train.networks import build, describe
from train.soup import KINDS, Options, average


def _run(path: Path, seed: int, preset: str = "tiny") -> Path:
    torch.manual_seed(seed)
    network = build(preset)
    values = network.state_dict()
    checkpoint.save(path, {"description": describe(network), "network": values, "average": values, "step": seed})
    return path


def test_weights_lie_between(tmp_path: Path) -> None:
    first, second = _run(tmp_path / "a.pt", 1), _run(tmp_path / "b.pt", 2)
    path = average(Options((first, second), tmp_path / "soup", (1.0, 3.0)))
    a, b, both = (checkpoint.load(p) for p in (first, second, path))
    for name, value in both["average"].items():
        expected = 0.25 * a["average"][name] + 0.75 * b["average"][name] if value.is_floating_point() else b["average"][name]
        torch.testing.assert_close(value, expected)
    assert both["step"] == 2
    checkpoint.rebuild(both)(torch.rand(1, 3, 256, 256))


def test_what_cannot_be_averaged_is_said(tmp_path: Path) -> None:
    first, other = _run(tmp_path / "a.pt", 1), tmp_path / "other.pt"
    checkpoint.save(other, {"network": {"x": torch.zeros(1)}, "average": {"x": torch.zeros(1)}})
    with pytest.raises(ValueError, match="different networks"):
        average(Options((first, other), tmp_path))
    with pytest.raises(ValueError, match="two or more"):
        average(Options((first,), tmp_path))
    with pytest.raises(ValueError, match="as many shares"):
        average(Options((first, first), tmp_path, (1.0,)))


def test_restored_checkpoints_have_an_average_alone(tmp_path: Path) -> None:
    first, second = _run(tmp_path / "a.pt", 1), _run(tmp_path / "b.pt", 2)
    restored = {name: value for name, value in checkpoint.load(first).items() if name in ("average", "description")}
    checkpoint.save(tmp_path / "r.pt", restored)
    found = [checkpoint.load(average(Options((path, second), tmp_path / "soup"))) for path in (first, tmp_path / "r.pt")]
    for kind in KINDS:
        assert all(torch.equal(value, found[1][kind][name]) for name, value in found[0][kind].items())
