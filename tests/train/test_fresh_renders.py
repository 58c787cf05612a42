"""Renders that are drawn while a network learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from game.rig import Rig
from game.shard_writer import new_shard
from train import regressor
from train.data import Batches, BatchSize, PhotoShards, RenderShards
from train.fresh_renders import AGAIN, FreshRenders, wanted
from train.geometry import mirrored_landmarks
from train.segmenter_data import LabelledRenders, MaskedPhotos, SegmenterBatches


@pytest.fixture(scope="module")
def fresh() -> FreshRenders[RenderShards]:
    return FreshRenders(RenderShards, 2, 0, ())


@pytest.fixture
def options(shards: dict[str, Path], tmp_path: Path) -> regressor.Options:
    return regressor.Options(
        renders=str(shards["renders"]), photos=str(shards["photos"]), out=tmp_path / "run", photo_shards="people-*.tar",
        preset="tiny", steps=2, batch_renders=4, batch_photos=4, measured=4, warm_up=1, workers=1, log_every=1, fresh_renders=2,
    )  # fmt: skip


def test_they_are_what_shards_would_hold(fresh: FreshRenders[RenderShards], tmp_path: Path) -> None:
    found = fresh(3)
    with new_shard(tmp_path / "same.tar") as add:
        for number in (6, 7):
            add(str(number), fresh._sample(number))
    stored = RenderShards(tmp_path)
    for name in set(stored.arrays) - {"shard", "offset"}:
        np.testing.assert_array_equal(found.arrays[name], stored.arrays[name], name)
    for k in (0, 1):
        np.testing.assert_array_equal(found.picture(k), stored.picture(k))
    assert np.linalg.norm(found.mesh(np.arange(2)) - found.arrays["landmarks"], axis=-1).mean() < 6, "FaceMesh sees that face"


def test_every_turn_has_its_own(fresh: FreshRenders[RenderShards]) -> None:
    np.testing.assert_array_equal(fresh(0).arrays["identity"], fresh(0).arrays["identity"])
    other = FreshRenders(RenderShards, 2, 1, ())
    seen = np.concatenate([of(turn).arrays["identity"] for of in (fresh, other) for turn in (0, 1)])
    assert len(np.unique(seen, axis=0)) == 8


def test_a_face_that_is_not_found_is_drawn_again(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = FreshRenders(RenderShards, 1, 0, ())
    expected = fresh._sample(AGAIN)
    align, calls = fresh._aligner.align, []

    def blind_at_first(files: dict[str, bytes]) -> dict[str, bytes] | None:
        calls.append(files)
        return align(files) if len(calls) > 1 else None

    monkeypatch.setattr(fresh._aligner, "align", blind_at_first)
    assert fresh._sample(0)["json"] == expected["json"]


def test_they_take_places_of_stored_ones(shards: dict[str, Path], rig: Rig, fresh: FreshRenders[RenderShards]) -> None:
    renders, photos = RenderShards(shards["renders"]), PhotoShards(shards["photos"])
    batches = Batches(renders, photos, BatchSize(5, 4), 0, mirrored_landmarks(rig), change=False, fresh=fresh)
    batch = batches[7]
    assert len(batch["crop"]) == 9
    torch.testing.assert_close(batch["identity"][3:], torch.from_numpy(fresh(7).arrays["identity"]))
    assert np.isin(batch["identity"][:3].numpy(), renders.arrays["identity"]).all()


def test_the_segmenter_gets_their_parts(rig: Rig, shards: dict[str, Path], tmp_path: Path) -> None:
    fresh = FreshRenders(LabelledRenders, 2, 0, ())
    with new_shard(tmp_path / "some.tar") as add:
        add("0", fresh._sample(0))
    batches = SegmenterBatches(LabelledRenders(tmp_path), MaskedPhotos(shards["photos"]), BatchSize(3, 2), 0, fresh=fresh)
    batch = batches[4]
    assert batch["crop"].shape == (5, 256, 256, 3)
    assert all(len(parts.unique()) > 6 for parts in batch["parts"])
    assert torch.equal(batch["parts"], batches[4]["parts"])


def test_a_network_learns_from_them_in_worker_processes(options: regressor.Options) -> None:
    first = [float(v) for v in torch.load(regressor.train(options), weights_only=False)["average"].values() if v.numel() == 1]
    again = replace(options, out=options.out.with_name("again"), workers=0)
    assert first == [
        float(v) for v in torch.load(regressor.train(again), weights_only=False)["average"].values() if v.numel() == 1
    ]


def test_no_more_than_a_batch_has(options: regressor.Options) -> None:
    assert wanted(RenderShards, replace(options, fresh_renders=0)) is None
    with pytest.raises(ValueError, match=r"--fresh-renders 5 are among the --batch-renders 4"):
        wanted(RenderShards, replace(options, fresh_renders=5))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        wanted(RenderShards, replace(options, backgrounds=("nowhere.tar",)))
