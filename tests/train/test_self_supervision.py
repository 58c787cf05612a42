"""The method's losses: each is least where it should be, and leads the parameters there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from sdk.schema import EXPRESSION, REFERENCE
from train import bisenet, checkpoint, encoder_network, imitator_network, recogniser
from train.face_parts import MOUTH, REBUILT
from train.imitator_network import one_hot
from train.networks import FaceNet, build
from train.self_supervision import (
    Parameters,
    SelfSupervision,
    content_loss,
    identity_loss,
    parameter_distance,
    parameter_loss,
    parameters,
    settled,
    who_loss,
)


@pytest.fixture(scope="module")
def network(fixed_networks: dict[str, Path]) -> FaceNet:
    torch.manual_seed(0)
    segmenter = bisenet.rebuild(checkpoint.load(fixed_networks["segmenter"]))
    network = build("tiny", segmenter, recogniser.load(fixed_networks["recogniser"]))
    network.spaces.identity_basis.normal_(std=0.1)
    return network


@pytest.fixture
def supervision(fixed_networks: dict[str, Path]) -> SelfSupervision:
    imitator = imitator_network.rebuild(checkpoint.load(fixed_networks["imitator"]))
    return SelfSupervision(imitator, encoder_network.rebuild(checkpoint.load(fixed_networks["encoder"])), 256)


def _styles(count: int) -> torch.Tensor:
    return one_hot(torch.zeros(count, len(REFERENCE.style), dtype=torch.long))


def test_the_pictures_are_those_of_0087(supervision: SelfSupervision) -> None:
    """Second: identity and expression; third: base identity; fourth: base expression, ahead; each shows only what it should."""
    first = Parameters(0.5 * torch.randn(1, 244).clamp(-1, 1), torch.rand(1, 23), torch.tensor([[8.0, 20.0]]))
    other_identity = first._replace(identity=-first.identity)
    other_expression = first._replace(expression=1 - first.expression, pose=-first.pose)
    a, b, c = (supervision.rebuild(values, _styles(1)) for values in (first, other_identity, other_expression))
    assert a.second.shape == (1, 3, 256, 256)
    assert not torch.equal(a.second, b.second) and not torch.equal(a.second, c.second)
    assert torch.equal(a.third, b.third) and not torch.equal(a.third, c.third)
    assert torch.equal(a.fourth, c.fourth) and not torch.equal(a.fourth, b.fourth)
    assert torch.equal(a.base, b.base) and torch.equal(a.base, c.base)


def test_every_loss_reaches_the_regressor(network: FaceNet, supervision: SelfSupervision) -> None:
    crops = torch.rand(6, 3, 256, 256)
    network.train()
    with torch.no_grad():
        seen = network.look(crops)
    mesh = 256 * torch.rand(6, 468, 2)
    said = network(crops, mesh, seen).split(3)[0]
    statistics = {name: value.clone() for name, value in network.state_dict().items() if "running" in name}
    losses = supervision.losses(network, network, said, crops, mesh, seen, torch.tensor([0, 0, 1, 1, 2, 2]))
    assert network.training  # the loop looks as it is served, and leaves the network as it was
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in statistics.items())
    learning = [p for p in network.parameters() if p.requires_grad]
    for name, value in losses.items():
        assert value.isfinite() and value > 0, name
        gradients = torch.autograd.grad(value, learning, retain_graph=True, allow_unused=True)
        assert any(g is not None and g.any() for g in gradients), name
        assert all(g is None or g.isfinite().all() for g in gradients), name
    assert supervision.photo_middle.any() and supervision.drawn_middle.any()


def test_content_is_compared_where_its_parts_are(network: FaceNet) -> None:
    picture = torch.rand(2, 3, 256, 256)
    with torch.no_grad():
        said, other = network.segmenter(picture), network.segmenter(picture.flip(3))
    assert content_loss(said, said) == 0 and content_loss(said, other) > 0
    surely = said._replace(logits=torch.full_like(said.logits, -30.0).index_fill_(1, torch.tensor([0]), 30.0))
    assert content_loss(surely, surely._replace(features=other.features), MOUTH) < 1e-3  # there is no mouth to be compared
    assert set(MOUTH) < set(REBUILT)


def test_identity_is_one_minus_the_cosine() -> None:
    photo = functional.normalize(torch.randn(4, 8), dim=1)
    assert identity_loss(photo, photo) == pytest.approx(0, abs=1e-5)
    assert identity_loss(-photo, photo) == pytest.approx(2, abs=1e-5)


def test_middles_follow_what_they_see(supervision: SelfSupervision) -> None:
    first, second = torch.randn(3, 256), torch.randn(3, 256)
    supervision._moved(supervision.photo_middle, first)
    assert torch.equal(supervision.photo_middle, first.mean(0))  # the first is believed at once
    supervision._moved(supervision.photo_middle, second)
    torch.testing.assert_close(supervision.photo_middle, 0.95 * first.mean(0) + 0.05 * second.mean(0))


def test_who_one_is_is_told_from_others_but_not_from_oneself() -> None:
    photos = torch.eye(6)
    person = torch.tensor([0, 0, 1, 2, 3, 4])
    own, right, wrong = torch.tensor([0, 1]), photos[:2], photos[2:4]
    assert who_loss(right, own, photos, person) < 0.01 < 5 < who_loss(wrong, own, photos, person)
    swapped = photos[[1, 0]]  # two photos of one person: neither is a wrong answer for the other
    assert who_loss(swapped, own, photos, person) < who_loss(wrong, own, photos, person)


def test_what_cancels_is_not_counted_twice() -> None:
    """(.5, .9) and (0, .4) of jaw to the left and right are the same face, [0103]."""
    left, right = EXPRESSION.index("jaw_left"), EXPRESSION.index("jaw_right")
    both = torch.zeros(2, 23)
    both[0, left], both[0, right], both[1, right] = 0.5, 0.9, 0.4
    assert torch.allclose(settled(both)[0], settled(both)[1])
    zeros = Parameters(torch.zeros(2, 244), both, torch.zeros(2, 2))
    assert parameter_loss(zeros) == pytest.approx(0.4**2 / 23, rel=1e-4)


def test_parameters_stay_within_the_game(network: FaceNet) -> None:
    said = network.eval()(torch.rand(2, 3, 256, 256))
    values = parameters(network, said._replace(expression=9 * said.expression, pose=99 + said.pose))
    assert values.identity.abs().max() <= 1 and values.expression.min() >= 0 and values.expression.max() <= 1
    assert values.pose.tolist() == [[20, 40]] * 2
    assert parameter_distance(values, values) == 0
