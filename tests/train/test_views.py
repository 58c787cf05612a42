"""Kept views: what they hold, that they are found again, and that last layers learn from them and nothing else does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from game.rig import Rig
from train import checkpoint, encoder, regressor, stand_in
from train.data import Batches, BatchSize, PhotoShards, RenderShards
from train.geometry import mirrored_landmarks
from train.networks import Sight
from train.self_supervision import Parameters
from train.views import kept_views, sight_in


@pytest.fixture
def options(shards: dict[str, Path], fixed_networks: dict[str, Path], tmp_path: Path) -> regressor.Options:
    """Of a regressor that goes on from one that has learnt two steps."""
    first = regressor.Options(
        renders=shards["renders"], photos=shards["photos"], out=tmp_path / "first", photo_shards="people-*.tar", preset="tiny",
        steps=2, batch_renders=8, batch_photos=8, rebuilt=2, measured=4, warm_up=2, workers=0, log_every=1, **fixed_networks,
    )  # fmt: skip
    return replace(first, start_from=regressor.train(first), out=tmp_path / "views", views=2)


def test_views_are_what_the_network_sees(shards: dict[str, Path], rig: Rig, tmp_path: Path) -> None:
    renders, photos = RenderShards(shards["renders"]), PhotoShards(shards["photos"])
    plain = Batches(renders, photos, BatchSize(8, 4), 0, mirrored_landmarks(rig))
    looked: list[int] = []

    def look(crops: torch.Tensor, mesh: torch.Tensor) -> Sight:
        looked.append(len(crops))
        return Sight(crops.mean((2, 3)), mesh.flatten(1), mesh[:, 0], crops[:, :, 0, 0])

    views = kept_views(plain, look, [torch.nn.Linear(1, 1)], 4, tmp_path)
    assert sum(looked) == len(renders) + 4 * len(photos)
    rng = np.random.default_rng(0)
    for index, mirror in ((3, False), (5, True)):
        row = views.photo(index, rng, mirror)
        assert row["photo"] == index and row["mirrored"] == mirror and row["person"] == photos.person_number[index]
        np.testing.assert_allclose(row["sight/landmark_code"].reshape(468, 2), row["photo_landmarks"], atol=0.1)
    np.testing.assert_allclose(np.abs(views.render(7)["identity"]).sum(), np.abs(renders.arrays["identity"][7]).sum(), rtol=1e-5)
    plain.views = views
    batch = plain[1]
    assert {name: len(value) for name, value in sight_in(batch).items()} == dict.fromkeys(Sight._fields, 12)
    assert "crop" not in batch and len(batch["pose"]) == 8 and len(batch["photo"]) == 4


def test_last_layers_learn_alone_and_find_their_views_again(options: regressor.Options) -> None:
    path = regressor.train(options)
    before, after = checkpoint.load(str(options.start_from))["average"], checkpoint.load(path)["network"]
    learnt = {name.partition(".")[0] for name, value in after.items() if not torch.equal(value, before[name])}
    assert learnt == {"parameters_head", "likeness", "sigma_head"}
    kept = sorted(options.out.glob("views-of-*.npz"))
    written = [one.stat().st_mtime_ns for one in kept]
    assert len(kept) == 2
    regressor.train(replace(options, steps=4))  # goes on
    assert checkpoint.load(path)["step"] == 4
    assert [one.stat().st_mtime_ns for one in sorted(options.out.glob("views-of-*.npz"))] == written


def test_a_network_with_its_own_trunk_alone_has_views_too(options: regressor.Options) -> None:
    alone = replace(options, segmenter=None, recogniser=None, imitator=None, encoder=None)
    begun = regressor.train(replace(alone, start_from=None, views=0, out=options.out / "alone"))
    assert regressor.train(replace(alone, start_from=begun)).is_file()


def test_a_view_says_what_its_picture_says(options: regressor.Options) -> None:
    training = regressor.training(options)
    network = training.task.network.eval()
    crops, mesh = torch.rand(2, 3, 256, 256), 256 * torch.rand(2, 468, 2)
    with torch.no_grad():
        seen = network.sight(crops, mesh, network.look(crops).features())
        torch.testing.assert_close(network.answer(seen).identity_code, network(crops, mesh).identity_code)


def test_last_layers_of_the_regressor_overfit(options: regressor.Options) -> None:
    training = regressor.training(replace(options, steps=40, learning_rate=1e-2))
    batch = training.task.batches(0, 1)[0]
    history = [training.learn([batch]) for _ in range(40)]
    for name, share in (("pose", 0.7), ("identity_cosine", 0.95), ("who", 0.95), ("loss", 0.9)):
        assert history[-1][name] < share * history[0][name], name


def test_last_layers_of_the_encoder_learn_alone(shards: dict[str, Path], fixed_networks: dict[str, Path], tmp_path: Path) -> None:
    first = encoder.Options(
        renders=shards["renders"], photos=shards["photos"], out=tmp_path / "first", photo_shards="people-*.tar", preset="tiny",
        steps=2, batch_renders=8, batch_photos=4, measured=4, warm_up=2, workers=0, log_every=1, styles=(),
        weights=encoder.Weights(taught=0.0), imitator=fixed_networks["imitator"],
    )  # fmt: skip
    begun = encoder.train(first)
    path = encoder.train(replace(first, start_from=begun, out=tmp_path / "views", views=2))
    before, after = checkpoint.load(begun)["average"], checkpoint.load(path)["network"]
    still = ("trunk.", "residuals.", "parts.")
    assert all(torch.equal(value, before[name]) for name, value in after.items() if name.startswith(still))
    assert not torch.equal(after["discrete.weight"], before["discrete.weight"])


def test_last_layers_learn_through_a_stand_in(options: regressor.Options, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, value in (
        (regressor, "FIRST_FACES", 12), (regressor, "FIRST_LESSONS", 20), (stand_in, "LESSON", 32), (stand_in, "MEMORY", 24),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)
    training = regressor.training(replace(options, stand_in=True, learning_rate=1e-2))
    batch = training.task.batches(0, 1)[0]
    history = [training.learn([batch]) for _ in range(20)]
    assert history[-1]["loss"] < 0.9 * history[0]["loss"]
    assert history[-1]["stand_in"] < history[0]["stand_in"]
    rehearsal = training.task.rehearsal
    assert rehearsal.count == 12 + 20 * options.rebuilt and len(rehearsal.said) == 24  # the oldest are forgotten


def test_what_pleases_the_stand_in_pleases_the_critic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faces that are moved to what is asked for, by what the stand-in says of them alone, are what was asked for."""
    monkeypatch.setattr(stand_in, "LESSON", 64)
    generator = torch.Generator().manual_seed(0)
    seen, wanted = torch.randn(244, 3, generator=generator), torch.tensor([0.5, -0.5, 0.0])

    def faces() -> tuple[Parameters, torch.Tensor]:
        identity = 0.1 * torch.randn(32, 244, generator=generator)
        return Parameters(identity, torch.zeros(32, 23), torch.zeros(32, 2)), torch.zeros(32, 4)

    def critic(values: Parameters, style: torch.Tensor) -> torch.Tensor:
        return torch.tanh(values.identity @ seen)

    rehearsal = stand_in.Rehearsal(critic, 0)
    rehearsal.begin(iter(faces, None), 256, 200)
    values, style = faces()
    identity = values.identity.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([identity], 0.01)
    for _ in range(60):
        rehearsal.remember(values._replace(identity=identity.detach()), style)
        rehearsal.learn()
        optimiser.zero_grad()
        (rehearsal(values._replace(identity=identity), style) - wanted).square().mean().backward()
        optimiser.step()
    before, after = ((critic(values._replace(identity=x), style) - wanted).square().mean() for x in (values.identity, identity))
    assert after < 0.3 * before


def test_faces_are_tried_beside_the_answers() -> None:
    code = torch.randn(4000, 6)
    code[:, 5] = 0  # what R never says
    moved = stand_in.beside(code, torch.Generator().manual_seed(0)) - code
    assert 0.3 < float((moved == 0).all(1).float().mean()) < 0.5  # two of BESIDE
    assert 0.5 < float(moved[:, :5].norm(dim=1).max() / 5**0.5) < 2.0
    assert 0.5 < float(moved[:, 5].abs().max() / stand_in.LEAST) < 3.0


def test_options_that_do_not_go_together_are_refused(options: regressor.Options) -> None:
    for other, message in (
        ({"views": 3}, "even"),
        ({"start_from": None}, "--start-from"),
        ({"fresh_renders": 2}, "--fresh"),
        ({"views": 0, "stand_in": True}, "--stand-in"),
        ({"imitator": None, "stand_in": True}, "--stand-in"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(options, **other)
