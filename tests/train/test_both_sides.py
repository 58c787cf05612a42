"""The regressor as it is served."""

from __future__ import annotations

import pytest
import torch

from game.character import identity_mirror_signs, mirrored_units
from game.rig import Rig
from tests.train.small_regressor import small_regressor
from train import bisenet, light_cnn
from train.both_sides import Answer, BothSides
from train.geometry import mirrored_landmarks
from train.networks import POSE_UNIT, FaceNet, build


@pytest.fixture(scope="module")
def network() -> FaceNet:
    torch.manual_seed(0)
    return small_regressor()


@pytest.fixture(scope="module")
def faces() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(3, 3, 256, 256, generator=generator), 256 * torch.rand(3, 468, 2, generator=generator)


def in_the_mirror(crop: torch.Tensor, mesh: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    turned = mesh[:, torch.from_numpy(mirrored_landmarks(Rig.load()))].clone()
    turned[..., 0] = 256 - turned[..., 0]
    return crop.flip(3), turned


@torch.no_grad()
def test_of_a_mirror_image_it_says_the_mirrored_face(network: FaceNet, faces: tuple[torch.Tensor, torch.Tensor]) -> None:
    served = BothSides(network)
    said, mirrored = served(*faces), served(*in_the_mirror(*faces))
    units = torch.from_numpy(mirrored_units())
    expected = Answer(
        said.identity * torch.from_numpy(identity_mirror_signs()),
        said.expression[:, units],
        said.pose * torch.tensor([1, -1]),
        said.identity_sigma,
        said.expression_sigma[:, units],
        said.pose_sigma,
    )
    for mine, other in zip(mirrored, expected, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-4)
    assert (said.pose[:, 1].abs() > 0.01).all(), "a face that is its own mirror image would show nothing"


@torch.no_grad()
def test_it_says_the_mean_of_both_sides(network: FaceNet, faces: tuple[torch.Tensor, torch.Tensor]) -> None:
    said, own, other = BothSides(network)(*faces), network(*faces), network(*in_the_mirror(*faces))
    pose = POSE_UNIT * (own.pose + other.pose * torch.tensor([1, -1])) / 2
    torch.testing.assert_close(said.pose, pose, atol=1e-4, rtol=1e-4)
    assert (own.pose - other.pose).abs().max() > 1e-3


@torch.no_grad()
def test_the_fixed_networks_look_at_the_crop_alone(faces: tuple[torch.Tensor, torch.Tensor]) -> None:
    network = build("tiny", bisenet.build("tiny"), light_cnn.build("tiny")).eval()
    looked: list[int] = []
    for fixed in (network.segmenter, network.recogniser):
        assert fixed is not None
        fixed.register_forward_pre_hook(lambda _, inputs: looked.append(len(inputs[0])))
    BothSides(network)(*faces)
    assert looked == [3, 3]
    features = network.look(faces[0]).features()
    both = features.both_sides()
    for grid, of_both in zip(features.weighted, both.weighted, strict=True):
        torch.testing.assert_close(of_both[:3], grid)
        torch.testing.assert_close(of_both[3:], grid.flip(3))
    assert both.f_gb is not None and both.identity is not None and len(both.f_gb) == len(both.identity) == 6
