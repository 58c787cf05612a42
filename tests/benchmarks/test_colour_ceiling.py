"""What colours at landmarks alone tell."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks import colour_ceiling
from benchmarks.accuracy_styles import palette_distances, palette_step
from benchmarks.colour_ceiling import SLOTS, measure, taught
from sdk.schema import REFERENCE
from train.encoder_network import colour_points


class Pictures:
    """Characters of one colour all over: the option number of their lips is what it shows."""

    schema = REFERENCE

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(0)
        style = np.stack([rng.integers(len(slot.options), size=count) for slot in REFERENCE.style], 1)
        self.arrays = {"style": style, "landmarks": np.full((count, 468, 2), 100, np.float32)}
        lip = style[:, [slot.name for slot in REFERENCE.style].index("lip")]
        self.tone = torch.from_numpy((lip + 1) / 10).float()

    def __len__(self) -> int:
        return len(self.tone)

    def inputs(self, chosen: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return self.tone[chosen].view(-1, 1, 1, 1).expand(-1, 3, 256, 256), torch.full((len(chosen), 468, 2), 90.0)


def test_what_colours_show_is_told_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(colour_ceiling, "BATCH", 16)
    rows = measure(Pictures(240), np.arange(240) >= 200)  # type: ignore[arg-type]
    assert [(row["landmarks"], row["renders"]) for row in rows] == [
        ("FaceMesh", 50),
        ("FaceMesh", 200),
        ("exact", 50),
        ("exact", 200),
    ]
    for row in rows[1::2]:
        assert row["lip, top-1"] > 0.8 and row["skin, top-1"] < 0.5
        assert all(row[f"{name}, within a step"] >= row[f"{name}, top-1"] for name in SLOTS)


def test_a_step_reaches_the_neighbour() -> None:
    for name in SLOTS:
        apart = palette_distances(REFERENCE.slot(name))
        assert ((apart <= palette_step(REFERENCE.slot(name))).sum(1) >= 1).all()
        assert (apart[apart > 0] <= palette_step(REFERENCE.slot(name))).any()


def test_it_is_repeated_exactly() -> None:
    seen, style = torch.randn(64, 3 * colour_points(torch.zeros(1, 468, 2)).shape[1]), torch.zeros(64, 1, dtype=torch.long)
    first, second = (taught(seen, style, [3])(seen) for _ in range(2))
    assert torch.equal(first, second)
