"""The face network: shapes, the fixed spaces, uncertainty that does not disturb the means."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from game.rig import Rig
from train import bisenet, checkpoint, light_cnn
from train.geometry import (
    IdentitySpace,
    LandmarkRig,
    LandmarkSpace,
    face_vertices,
    fit_similarity,
    front_vertices,
    identity_metric,
)
from train.networks import LARGEST_CODE, FaceNet, build, describe, read_at


@pytest.fixture(scope="module")
def network() -> FaceNet:
    torch.manual_seed(0)
    return build("tiny")


def test_shapes(network: FaceNet) -> None:
    said = network.eval()(torch.rand(3, 3, 256, 256))
    preset = network.preset
    assert said.landmark_code.shape == said.first_code.shape == (3, preset.landmark_codes)
    assert said.identity_code.shape == (3, preset.identity_codes)
    assert said.expression.shape == (3, 23)
    assert said.pose.shape == said.gaze.shape == (3, 2)
    assert said.log_sigma.shape == (3, preset.identity_codes + 25)
    assert network.spaces.landmarks(said.landmark_code).shape == (3, 468, 2)
    assert network.spaces.identity(said.identity_code).shape == (3, 244)


def test_a_batch_says_what_its_members_say(network: FaceNet) -> None:
    crops = torch.rand(3, 3, 256, 256)
    together, alone = network.eval()(crops), network(crops[1:2])
    torch.testing.assert_close(together.expression[1:2], alone.expression, rtol=1e-4, atol=1e-4)


def test_splitting_predictions_keeps_everything(network: FaceNet) -> None:
    said = network.eval()(torch.rand(5, 3, 256, 256))
    first, second = said.split(2)
    for whole, a, b in zip(said, first, second, strict=True):
        assert torch.equal(whole, torch.cat([a, b]))


def test_uncertainty_does_not_shape_features(network: FaceNet) -> None:
    network.train().zero_grad()
    network(torch.rand(4, 3, 256, 256)).log_sigma.sum().backward()
    with_gradient = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is not None and p.grad.any()}
    assert with_gradient == {"sigma_head"}


def test_features_are_read_where_points_are() -> None:
    rows, columns = torch.meshgrid(*[torch.arange(64) * 4.0 + 2] * 2, indexing="ij")  # cell centres in crop pixels
    features = torch.stack([columns, rows]).expand(2, -1, -1, -1)
    points = torch.rand(2, 5, 2) * 240 + 8
    torch.testing.assert_close(read_at(features, points), points.flatten(1), rtol=0, atol=1e-3)


def test_unknown_preset_is_named() -> None:
    with pytest.raises(ValueError, match="'huge' is unknown; there are tiny, cpu, gpu"):
        build("huge")


@pytest.mark.parametrize("fixed", [True, False])
def test_a_checkpoint_rebuilds_the_network(fixed: bool) -> None:
    network = build("tiny", *([bisenet.build("tiny"), light_cnn.build("tiny")] if fixed else []))
    state = {"description": describe(network), "average": network.state_dict()}
    crops = torch.rand(2, 3, 256, 256)
    rebuilt = checkpoint.rebuild(state)
    assert torch.equal(rebuilt(crops).pose, network.eval()(crops).pose)


def test_identity_space_keeps_what_shows(rig: Rig) -> None:
    identities = rig.phenotype_identity
    metric = identity_metric(rig)
    space = IdentitySpace.fit(identities, metric, 72)
    code = (identities - space.mean) @ space.encode
    assert np.allclose(code.std(0), 1, atol=0.05)
    left = identities - (space.mean + code @ space.basis)
    shown = np.sqrt(np.einsum("bi,ij,bj->b", left, metric, left).mean())
    spread = identities - space.mean
    assert shown < 0.05 * np.sqrt(np.einsum("bi,ij,bj->b", spread, metric, spread).mean())


def test_landmark_space_knows_the_directions_of_jitter() -> None:
    rng = np.random.default_rng(0)
    landmarks = 128 + 40 * rng.normal(size=(1, 468, 2)) + rng.normal(size=(200, 468, 1)) * rng.normal(size=(1, 468, 2))
    network = build("tiny")
    LandmarkSpace.fit(landmarks, network.preset.landmark_codes, 2.0, rng).install(network.spaces)
    moved = torch.tensor(landmarks.mean(0, keepdims=True) + np.array([3.0, -2.0])).float()
    again = network.spaces.landmarks(network.spaces.landmark_code(moved))
    assert (again - moved).norm(dim=2).mean() < 0.5


def test_landmark_rig_draws_what_the_camera_sees(rig: Rig) -> None:
    from game.camera import Camera

    rng = np.random.default_rng(1)
    identity, expression = rng.normal(0, 0.2, 244).astype(np.float32), rng.random(23).astype(np.float32) * 0.4
    pose = np.array([8.0, -20.0], np.float32)
    seen = Camera.portrait().project(rig.landmarks(rig.vertices(identity, expression, pose)))[:, :2]
    drawn = LandmarkRig(rig)(*(torch.from_numpy(v)[None] for v in (identity, expression, pose / 30)))
    fitted = fit_similarity(drawn, torch.from_numpy(seen)[None])
    assert (fitted[0] - torch.from_numpy(seen)).norm(dim=1).max() < 0.02


def test_similarity_fit_recovers_a_similarity() -> None:
    points = torch.randn(2, 30, 2)
    turn = torch.tensor([[0.8, -0.6], [0.6, 0.8]]) * 2.5
    target = points @ turn.T + torch.tensor([7.0, -3.0])
    torch.testing.assert_close(fit_similarity(points, target), target, rtol=1e-4, atol=1e-4)


def test_landmarks_begin_where_facemesh_sees_them_as_far_as_it_is_trusted(network: FaceNet) -> None:
    crops, code = torch.rand(2, 3, 256, 256), torch.randn(2, network.preset.landmark_codes)
    network.spaces.landmark_basis.copy_(torch.linalg.qr(torch.randn(936, len(network.spaces.landmark_basis)))[0].T)
    alone = network.eval()(crops).landmark_code

    def said(mesh_code: torch.Tensor, trust: float) -> torch.Tensor:
        network.trust.bias.data.fill_(trust)
        return network(crops, network.spaces.landmarks(mesh_code)).landmark_code

    torch.testing.assert_close(said(code, 20.0), code, rtol=0, atol=0.2)
    torch.testing.assert_close(said(code, -20.0), alone, rtol=0, atol=0.2)
    torch.testing.assert_close(said(code, 0.0), (code + alone) / 2, rtol=0, atol=0.2)
    assert said(100 * code, 20.0).abs().max() < LARGEST_CODE + 0.2  # a lost face is far from all faces


def test_fixed_networks_stay_as_they_are_and_count() -> None:
    torch.manual_seed(0)
    whole = build("tiny", bisenet.build("tiny"), light_cnn.build("tiny"))
    whole.train()
    assert not whole.segmenter.training and not whole.recogniser.training
    assert not any(p.requires_grad for part in (whole.segmenter, whole.recogniser) for p in part.parameters())
    whole.eval()
    crops = torch.rand(2, 3, 256, 256)
    seen, before = whole.look(crops), whole(crops)
    torch.testing.assert_close(whole(crops, seen=seen).pose, before.pose)
    with torch.no_grad():  # new inputs begin with no weight
        whole.trunk.join[1].weight.normal_()
        whole.likeness.layers[-1].weight.normal_()
    after = whole(crops, seen=seen)
    assert not torch.allclose(after.pose, before.pose) and not torch.allclose(after.identity_code, before.identity_code)
    other = whole(crops, seen=seen._replace(identity=seen.identity.flip(0)))
    assert not torch.allclose(other.identity_code, after.identity_code) and torch.equal(other.pose, after.pose)


def test_a_portrait_shows_the_front_of_the_head(rig: Rig) -> None:
    front = front_vertices(rig)
    assert set(front) < set(face_vertices(rig))
    nose, crown = rig.base[:, 2].argmax(), rig.base[:, 1].argmax()
    assert nose in front and crown not in front
    assert identity_metric(rig, front).shape == (244, 244)
