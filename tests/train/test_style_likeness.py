"""In which styles faces are like their photos, told by a stand-in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sdk.schema import REFERENCE
from tests.train.small_regressor import small_regressor
from train import stand_in, style_likeness
from train.data import PhotoShards
from train.face_files import UNKNOWN
from train.imitator_network import one_hot
from train.style_likeness import StyleLikeness, liked_styles

SIZES = [len(slot.options) for slot in REFERENCE.style]
HAIR, SKIN = 0, [slot.name for slot in REFERENCE.style].index("skin")


class Paint(nn.Module):
    """An imitator whose pictures have one colour, which hair and skin make."""

    def __init__(self) -> None:
        super().__init__()
        colours = torch.zeros(sum(SIZES), 3)
        for slot in (HAIR, SKIN):
            first = sum(SIZES[:slot])
            colours[first : first + SIZES[slot]] = torch.rand(SIZES[slot], 3, generator=torch.Generator().manual_seed(slot))
        self.colours = nn.Parameter(colours)

    def forward(self, identity: Tensor, expression: Tensor, pose: Tensor, style: Tensor) -> Tensor:
        return (style @ self.colours)[:, :, None, None].expand(-1, -1, 8, 8)


class Colour(nn.Module):
    """A critic who knows people by their colour."""

    def forward(self, crop: Tensor) -> Tensor:
        return crop.mean((2, 3))


@pytest.fixture
def photos(shards: dict[str, Path]) -> PhotoShards:
    return PhotoShards(shards["photos"], "people-*.tar")


@pytest.fixture(autouse=True)
def few_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("DRAWN", 4000), ("LESSONS", 800)):
        monkeypatch.setattr(style_likeness, name, value)
    monkeypatch.setattr(stand_in, "WIDTH", 64)


def test_it_says_what_drawing_would_say(photos: PhotoShards) -> None:
    torch.manual_seed(0)
    imitator, guess = Paint(), torch.stack([torch.randint(size, (len(photos),)) for size in SIZES], 1)
    likeness = StyleLikeness(photos, guess, small_regressor(), imitator, Colour())
    table = likeness.table(guess)
    likeness.rehearsal = lambda values, style: Colour()(imitator(*values, style))  # type: ignore[assignment]
    drawn = likeness.table(guess)
    assert (table <= 0).all()
    for slot in (HAIR, SKIN):
        columns = slice(sum(SIZES[:slot]), sum(SIZES[: slot + 1]))
        assert float((table[:, columns] - drawn[:, columns]).std() / drawn[:, columns].std()) < 0.1
        best = drawn[:, columns].max(1).values - drawn[:, columns].gather(1, table[:, columns].argmax(1, keepdim=True))[:, 0]
        assert float(best.mean()) < 0.1 * float(drawn[:, columns].std()), "the best by the stand-in is about the best"
    nothing = slice(sum(SIZES[:1]), sum(SIZES[:2]))  # brows are not painted
    assert float(table[:, nothing].std(1).mean()) < 0.2 * float(table[:, :SIZES[0]].std(1).mean())  # fmt: skip


def test_what_is_taught_is_weighed(photos: PhotoShards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style_likeness, "LESSONS", 50)
    told = np.full((len(photos), len(SIZES)), UNKNOWN)
    told[:4, HAIR] = 2
    taught = np.zeros((len(photos), sum(SIZES)), np.float32)
    taught[:, : SIZES[0]] = 1 / SIZES[0]
    evidence = one_hot(torch.zeros(len(photos), len(SIZES), dtype=torch.long)).numpy()
    networks = small_regressor(), Paint(), Colour()

    def liked(weight: float) -> np.ndarray:
        return liked_styles(taught, told, evidence, photos, networks, weight, tmp_path)

    np.testing.assert_allclose(liked(0.0), taught, atol=1e-6)
    weighed = liked(4.0)
    assert not weighed[:, SIZES[0] :].any(), "nobody taught anything but hair"
    np.testing.assert_allclose(weighed.sum(1), 1, rtol=1e-5)
    assert weighed.max(1).mean() > 1.3 / SIZES[0]
    monkeypatch.setattr(style_likeness, "StyleLikeness", lambda *arguments: pytest.fail("it was there already"))
    np.testing.assert_array_equal(liked(4.0), weighed)
