"""Emphasised identities: the same network, further from the mean of people."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from train import checkpoint, emphasis, light_cnn
from train.data import PhotoShards
from train.networks import FaceNet, build, describe


@pytest.fixture
def network() -> FaceNet:
    torch.manual_seed(0)
    network = build("tiny", recogniser=light_cnn.build("tiny")).eval()
    assert network.likeness is not None
    for values in network.likeness.parameters():
        torch.nn.init.normal_(values, std=0.2)
    return network


@torch.no_grad()
def test_codes_and_their_deviations_move_and_nothing_else(network: FaceNet) -> None:
    crops, mesh = torch.rand(4, 3, 256, 256), 256 * torch.rand(4, 468, 2)
    middle, before = torch.randn(network.preset.identity_codes), network(crops, mesh)
    emphasised = copy.deepcopy(network)
    emphasis.emphasise(emphasised, middle, 1.5)
    after = emphasised(crops, mesh)
    torch.testing.assert_close(after.identity_code, middle + 1.5 * (before.identity_code - middle), atol=1e-4, rtol=1e-4)
    codes = len(middle)
    sigma = before.log_sigma.exp()
    torch.testing.assert_close(after.log_sigma.exp()[:, :codes], 1.5 * sigma[:, :codes])
    torch.testing.assert_close(after.log_sigma.exp()[:, codes:], sigma[:, codes:])
    for name in ("expression", "pose", "gaze", "landmark_code"):
        torch.testing.assert_close(getattr(after, name), getattr(before, name))


@torch.no_grad()
def test_a_checkpoint_keeps_its_mean_and_says_more(network: FaceNet, shards: dict[str, Path], tmp_path: Path) -> None:
    values = network.state_dict()
    state = {"description": describe(network), "network": values, "average": values, "step": 3}
    checkpoint.save(tmp_path / "r.pt", state)
    options = emphasis.Options(tmp_path / "r.pt", str(shards["photos"]), tmp_path / "out", 1.3, "people-*.tar")
    found = checkpoint.load(emphasis.main(options))
    photos = PhotoShards(shards["photos"], "people-*.tar")
    crops, mesh = photos.inputs(photos.firsts)
    before, after = (checkpoint.rebuild(s)(crops, mesh).identity_code for s in (state, found))
    torch.testing.assert_close(after.mean(0), before.mean(0), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(after.std(0), 1.3 * before.std(0), atol=1e-4, rtol=1e-3)
    assert found["step"] == 3 and found["network"].keys() == values.keys()


def test_a_factor_that_turns_people_around_is_refused() -> None:
    with pytest.raises(ValueError, match="--by -1"):
        emphasis.Options(Path("r.pt"), "photos", Path("out"), by=-1)
