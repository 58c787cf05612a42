"""The training loop: it learns, it resumes as if it had never stopped, and mirrored labels are mirrored pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from game.rig import Rig
from train import checkpoint, regressor
from train.data import Batches, BatchSize, PhotoShards, RenderShards, ShardError, drawn
from train.geometry import mirrored_landmarks
from train.losses import Weights


@pytest.fixture
def options(shards: dict[str, Path], tmp_path: Path) -> regressor.Options:
    """With its own trunk alone."""
    return regressor.Options(
        renders=shards["renders"], photos=shards["photos"], out=tmp_path / "run", photo_shards="people-*.tar",
        preset="tiny", steps=6, batch_renders=8, batch_photos=4, rebuilt=2, measured=4, warm_up=2, workers=0, log_every=1,
    )  # fmt: skip


@pytest.fixture
def method(options: regressor.Options, fixed_networks: dict[str, Path]) -> regressor.Options:
    """With the method's three fixed networks."""
    return replace(options, **fixed_networks)


def _batches(shards: dict[str, Path], rig: Rig, **arguments: object) -> Batches:
    renders, photos = RenderShards(shards["renders"]), PhotoShards(shards["photos"])
    return Batches(renders, photos, BatchSize(8, 4), 0, mirrored_landmarks(rig), **arguments)  # type: ignore[arg-type]


def test_a_batch_depends_on_its_number_alone(shards: dict[str, Path], rig: Rig) -> None:
    first, second = _batches(shards, rig)[5], _batches(shards, rig)[5]
    for name, value in first.items():
        assert torch.equal(value, second[name]), name
    assert not torch.equal(first["crop"], _batches(shards, rig)[6]["crop"])


def test_an_epoch_has_every_sample_once() -> None:
    seen = np.concatenate([drawn(32, 0, 1, turn, 8) for turn in range(4)])
    assert sorted(seen) == list(range(32))


def test_processes_share_one_plan(shards: dict[str, Path], rig: Rig) -> None:
    alone = _batches(shards, rig)
    second_of_two = _batches(shards, rig, rank=1, world=2)
    assert torch.equal(second_of_two[1]["crop"], alone[3]["crop"])


def test_photo_pairs_are_one_person(shards: dict[str, Path], rig: Rig) -> None:
    person = torch.cat([_batches(shards, rig)[step]["person"] for step in range(8)])
    assert torch.equal(person[0::2], person[1::2])


def test_mirrored_parameters_draw_mirrored_landmarks(shards: dict[str, Path], rig: Rig) -> None:
    batches = _batches(shards, rig)
    rng = np.random.default_rng(3)
    row = next(
        r
        for r in (batches.render(batches.renders, 0, rng) for _ in range(64))
        if r["pose"][1] != batches.renders.arrays["pose"][0, 1]
    )
    drawn = rig.landmarks(rig.vertices(row["identity"], row["expression"], row["pose"]))
    found = row["landmarks"] - row["landmarks"].mean(0)
    expected = (drawn - drawn.mean(0))[:, :2] * [1, -1]
    expected *= np.linalg.norm(found) / np.linalg.norm(expected)
    assert np.abs(found - expected).max() < 12  # px: perspective and the small random turn; unmirrored it is 60


def test_overfits_a_few_pictures(options: regressor.Options) -> None:
    training = regressor.training(replace(options, steps=40, batch_renders=12, learning_rate=3e-3))
    batches = training.task.batches(0, 1)
    batches.change = False  # type: ignore[attr-defined]
    history = [training.learn([batches[0]]) for _ in range(40)]
    for name, share in (("first_landmarks", 0.6), ("pose", 0.5), ("identity", 0.8), ("loss", 0.7)):
        assert history[-1][name] < share * history[0][name], name


def test_the_method_overfits_a_few_photos(method: regressor.Options) -> None:
    """Without a label: its losses alone, by the fixed networks."""
    names = ("content", "identity_cosine", "who", "parameters", "loop_identity", "loop_expression", "mouth")
    weights = Weights(**{name: 1.0 if name in names else 0.0 for name in vars(Weights())})
    training = regressor.training(replace(method, steps=40, batch_renders=2, rebuilt=4, learning_rate=3e-3, weights=weights))
    batches = training.task.batches(0, 1)
    batches.change = False  # type: ignore[attr-defined]
    fixed = {name: value.clone() for name, value in training.task.network.state_dict().items() if name.startswith("segmenter")}
    history = [training.learn([batches[0]]) for _ in range(40)]
    first, last = (torch.stack([sum(row[n] for n in names) for row in rows]).mean() for rows in (history[:3], history[-3:]))
    assert last < 0.9 * first
    assert all(torch.equal(value, training.task.network.state_dict()[name]) for name, value in fixed.items())
    assert training.task.sheet().shape == (384, 1024, 3)  # type: ignore[union-attr]


def test_what_was_trained_before_is_taken_over(options: regressor.Options, method: regressor.Options, tmp_path: Path) -> None:
    """New inputs begin with no weight: the network says what the other said."""
    first = regressor.train(replace(options, steps=2))
    before = checkpoint.rebuild(checkpoint.load(first))
    task = regressor.training(replace(method, out=tmp_path / "second", start_from=first)).task
    crops = torch.rand(2, 3, 256, 256)
    torch.testing.assert_close(task.network.eval()(crops).identity_code, before(crops).identity_code, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="differ in more"):
        checkpoint.take_over(task.network, {"sigma_head.bias": torch.zeros(1000)})


def test_rebuilding_needs_what_compares(options: regressor.Options, fixed_networks: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="--encoder says, and --segmenter and --recogniser compare"):
        replace(options, imitator=fixed_networks["imitator"])


def test_resumes_with_identical_weights(method: regressor.Options, tmp_path: Path) -> None:
    whole = checkpoint.load(regressor.train(replace(method, out=tmp_path / "whole")))
    part = replace(method, out=tmp_path / "parts")
    regressor.train(replace(part, stop_after=3))
    parts = checkpoint.load(regressor.train(part))
    for kind in ("network", "average"):
        for name, value in whole[kind].items():
            torch.testing.assert_close(parts[kind][name], value, rtol=0, atol=0, msg=name)


def test_a_folder_without_shards_is_named(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="there are no shards"):
        RenderShards(tmp_path)


def test_a_schedule_needs_an_end(options: regressor.Options) -> None:
    with pytest.raises(ValueError, match="--minutes or --steps"):
        replace(options, steps=0)
