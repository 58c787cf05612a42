"""Finer identities: the same network with more identity codes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from game.rig import Rig
from train import checkpoint, finer_identity, light_cnn, networks
from train.data import RenderShards
from train.geometry import Geometry, IdentitySpace, Metric, identity_metric
from train.networks import PRESETS, FaceNet, build, describe

FEW, MORE = PRESETS["tiny"].identity_codes, 20


@pytest.fixture(scope="module")
def identities(shards: dict[str, Path]) -> np.ndarray:
    return RenderShards(shards["renders"]).arrays["identity"]


@pytest.fixture
def state(identities: np.ndarray) -> dict[str, Any]:
    torch.manual_seed(0)
    network = build("tiny", recogniser=light_cnn.build("tiny")).eval()
    assert network.likeness is not None
    for values in network.likeness.parameters():
        torch.nn.init.normal_(values, std=0.2)
    geometry = Geometry(network)
    space = IdentitySpace.fit(identities, identity_metric(Rig.load()), FEW)
    space.install(network.spaces)
    geometry.encoder.copy_(torch.from_numpy(space.encode.astype(np.float32)))
    geometry.identity_variance.copy_(torch.from_numpy(space.variance.astype(np.float32)))
    return {"description": describe(network), "average": network.state_dict(), "geometry": geometry.state_dict()}


@torch.no_grad()
def test_it_says_the_same_in_more_codes(state: dict[str, Any], identities: np.ndarray) -> None:
    found = finer_identity.finer(state, identities, identity_metric(Rig.load()), MORE)
    few, more = checkpoint.rebuild(state), checkpoint.rebuild(found)
    crops, mesh = torch.rand(4, 3, 256, 256), 256 * torch.rand(4, 468, 2)
    before, after = few(crops, mesh), more(crops, mesh)
    assert after.identity_code.shape == (4, MORE) and not after.identity_code[:, FEW:].any()
    torch.testing.assert_close(more.spaces.identity(after.identity_code), few.spaces.identity(before.identity_code))
    for name in ("expression", "pose", "gaze", "landmark_code"):
        torch.testing.assert_close(getattr(after, name), getattr(before, name))
    known, rest = after.log_sigma[:, :FEW], after.log_sigma[:, FEW:MORE]
    torch.testing.assert_close(known, before.log_sigma[:, :FEW])
    assert not rest.any(), "of new codes nothing is known: a standard deviation of 1"
    torch.testing.assert_close(after.log_sigma[:, MORE:], before.log_sigma[:, FEW:])


def test_more_codes_say_more(state: dict[str, Any], identities: np.ndarray) -> None:
    metric = identity_metric(Rig.load())
    found = finer_identity.finer(state, identities, metric, MORE)
    left = []
    for one in (state, found):
        network = checkpoint.rebuild(one)
        geometry = Geometry(network)
        geometry.load_state_dict(one["geometry"])
        truth = torch.from_numpy(identities)
        code = Metric.encode(geometry.metric(network), truth, network.spaces)
        error = (network.spaces.identity(code) - truth).double()
        left.append(float(((error @ torch.from_numpy(metric)) * error).sum(1).mean()))
        torch.testing.assert_close(code.std(0, correction=0), torch.ones(code.shape[1]), rtol=0.05, atol=0.05)
    assert left[1] < 0.8 * left[0]


def test_training_goes_on_from_it(
    state: dict[str, Any], shards: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(networks.PRESETS, "tiny", dataclasses.replace(PRESETS["tiny"], identity_codes=MORE))
    checkpoint.save(tmp_path / "few.pt", state)
    options = finer_identity.Options(tmp_path / "few.pt", str(shards["renders"]), tmp_path / "finer", "tiny")
    found = checkpoint.load(finer_identity.main(options))
    network: FaceNet = build("tiny", recogniser=light_cnn.build("tiny"))
    assert checkpoint.take_over(network, found["average"]) == []
    Geometry(network).load_state_dict(found["geometry"])


def test_as_many_codes_are_refused(state: dict[str, Any], identities: np.ndarray) -> None:
    with pytest.raises(ValueError, match=f"has {FEW} identity codes already, {FEW} are asked for"):
        finer_identity.finer(state, identities, identity_metric(Rig.load()), FEW)
