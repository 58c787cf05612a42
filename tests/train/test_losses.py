"""Losses: zero where they should be, finite gradients everywhere, and the properties that their weights rely on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from game.rig import Rig
from sdk.schema import EXPRESSION
from train import losses
from train.data import Batches, BatchSize, PhotoShards, RenderShards, to_float
from train.geometry import Geometry, LandmarkRig, mirrored_landmarks
from train.networks import build


def test_all_losses_are_finite_and_so_are_their_gradients(shards: dict[str, Path], rig: Rig) -> None:
    torch.manual_seed(0)
    renders, photos = RenderShards(shards["renders"]), PhotoShards(shards["photos"])
    batch = Batches(renders, photos, BatchSize(4, 4), 0, mirrored_landmarks(rig))[0]
    network = build("tiny")
    geometry = Geometry(network)
    geometry.fit(network, rig, renders, photos)
    first, second = network(to_float(batch["crop"]), batch["mesh"]).split(4)
    metric, mirror = geometry.metric(network), losses.MirrorMap(torch.arange(23))
    found = losses.render_losses(network, first, batch, metric)
    extra = losses.photo_losses(network, second, batch, metric, LandmarkRig(rig), mirror)
    for name, value in (found | extra).items():
        assert value.isfinite(), name
        gradients = torch.autograd.grad(value, list(network.parameters()), retain_graph=True, allow_unused=True)
        assert all(g is None or g.isfinite().all() for g in gradients), name
    rebuilt = {"content", "identity_cosine", "who", "parameters", "loop_identity", "loop_expression", "mouth"}
    assert set(found | extra) | rebuilt == set(vars(losses.Weights()))


def test_photos_are_held_against_what_the_game_can_show(shards: dict[str, Path], rig: Rig) -> None:
    """Units below 0 are none: an answer of them brings no landmark nearer, whatever the rig would make of it."""
    renders, photos = RenderShards(shards["renders"]), PhotoShards(shards["photos"])
    batch = Batches(renders, photos, BatchSize(2, 4), 0, mirrored_landmarks(rig))[0]
    network = build("tiny")
    geometry = Geometry(network)
    geometry.fit(network, rig, renders, photos)
    metric, mirror = geometry.metric(network), losses.MirrorMap(torch.arange(23))
    with torch.no_grad():
        _, said = network(to_float(batch["crop"]), batch["mesh"]).split(2)

    def distance(expression: torch.Tensor) -> float:
        answer = said._replace(expression=expression)
        return float(losses.photo_losses(network, answer, batch, metric, LandmarkRig(rig), mirror)["photo_rig"])

    rest = torch.zeros(4, 23)
    assert distance(rest - 0.5) == distance(rest)
    assert distance(rest + 0.5) != distance(rest)


def test_concordance_punishes_shrinking() -> None:
    truth = torch.rand(200, 3)
    assert torch.allclose(losses.concordance(truth, truth), torch.ones(3), atol=1e-4)
    shrunk = 0.5 * (truth - truth.mean(0)) + truth.mean(0)
    assert (losses.concordance(shrunk, truth) < 0.9).all()
    assert losses.concordance(torch.zeros(50, 1), torch.zeros(50, 1)).item() == pytest.approx(1)  # a unit at rest


def test_same_person_rewards_pairs_and_stays_calm_when_all_are_alike() -> None:
    identity, person, spread = torch.randn(8, 244), torch.arange(8) // 2, torch.tensor(488.0)
    near = identity.clone()
    near[1::2] = near[0::2] + 0.1 * torch.randn(4, 244)
    assert losses.same_person(near, person, spread) < losses.same_person(identity, person, spread)
    alike = (1e-4 * identity).requires_grad_()
    losses.same_person(alike, person, spread).backward()
    assert alike.grad is not None and alike.grad.norm() < 1


def test_exclusive_units_cost_only_together() -> None:
    expression = torch.zeros(2, 23)
    expression[:, EXPRESSION.index("jaw_left")] = 0.8
    expression[1, EXPRESSION.index("jaw_right")] = 0.5
    assert losses.exclusive(expression[:1]) == 0
    assert losses.exclusive(expression[1:]) == pytest.approx(0.4)


def test_out_of_range_is_zero_inside() -> None:
    assert losses.out_of_range(torch.rand(4, 23)) == 0
    assert losses.out_of_range(torch.full((1, 23), 1.1)).item() == pytest.approx(0.23, rel=1e-4)


def test_a_pair_in_the_mirror_agrees_after_swapping() -> None:
    from game.character import mirrored_units

    expression, pose = torch.rand(1, 23), torch.randn(1, 2)
    units = torch.from_numpy(mirrored_units())
    said = (
        build("tiny")
        .eval()(torch.zeros(2, 3, 256, 256))
        ._replace(
            expression=torch.cat([expression, expression[:, units]]),
            pose=torch.cat([pose, pose * torch.tensor([1.0, -1.0])]),
        )
    )
    batch = {"photo": torch.tensor([7, 7]), "mirrored": torch.tensor([False, True])}
    assert losses.MirrorMap(units).disagreement(said, batch) == 0
    assert losses.MirrorMap(torch.arange(23)).disagreement(said, batch) > 0


def test_gaussian_nll_is_least_at_the_true_spread() -> None:
    torch.manual_seed(0)
    truth = 0.3 * torch.randn(4000, 1)
    values = [losses.gaussian_nll(truth, torch.zeros_like(truth), torch.full_like(truth, np.log(s))) for s in (0.2, 0.3, 0.45)]
    assert values[1] < values[0] and values[1] < values[2]
