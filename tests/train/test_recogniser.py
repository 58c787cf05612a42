"""The recogniser: the published structure, embeddings of length 1 with gradients to the picture, and a training that learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from train import checkpoint, light_cnn, recogniser
from train.data import PhotoShards, RenderShards
from train.dlib_resnet import CHIP, CORNER, DlibResNet, WeightsMissing, chips, load_teacher
from train.identities import Identities, IdentityBatches, held_out_people
from train.light_cnn import LightCNN, MaxFeatureMap
from train.verification import pairs, verification


def untrained_teacher(path: Path | None = None) -> DlibResNet:
    """A teacher with weights at random: what it says is of the picture, too."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return DlibResNet().eval().requires_grad_(False)


@pytest.fixture
def options(shards: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> recogniser.Options:
    monkeypatch.setattr(recogniser, "load_teacher", untrained_teacher)
    return recogniser.Options(
        photos=shards["photos"], renders=shards["renders"], out=tmp_path / "run", photo_shards="people-*.tar",
        hold_out_people=0.4, preset="tiny", steps=6, batch_photos=8, batch_renders=4, warm_up=2, workers=0,
    )  # fmt: skip


def test_the_large_one_is_the_published_network() -> None:
    network = light_cnn.build("gpu")
    assert sum(isinstance(module, nn.Conv2d) for module in network.modules()) == 29
    # The first version's 12,573,280, whose last layer is an MFM of twice the outputs.
    assert sum(p.numel() for p in network.parameters()) == 12_573_280 - (128 * 8 * 8 + 1) * 256 == 10_475_872
    widths = [module.convolution.out_channels for module in network.modules() if isinstance(module, MaxFeatureMap)]
    assert widths[0] == 96 and widths[-1] == 256


def test_presets_differ_in_size_only() -> None:
    names = {preset: [name for name, _ in light_cnn.build(preset).named_parameters()] for preset in light_cnn.PRESETS}
    assert names["tiny"] == names["cpu"] == names["gpu"]
    with pytest.raises(ValueError, match="'huge' is unknown; there are tiny, cpu, gpu"):
        light_cnn.build("huge")


def test_of_two_maps_the_larger_is_kept() -> None:
    layer = MaxFeatureMap(3, 5, 3)
    picture = torch.randn(2, 3, 8, 8)
    both = layer.convolution(picture)
    assert layer(picture).shape == (2, 5, 8, 8)
    assert torch.equal(layer(picture), both.unflatten(1, (2, 5)).amax(1))


def test_embeddings_have_length_1_and_do_not_depend_on_the_batch() -> None:
    network = light_cnn.build("tiny").eval()
    crops = torch.rand(3, 3, 256, 256)
    embeddings = network(crops)
    assert embeddings.shape == (3, light_cnn.EMBEDDING)
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(3))
    torch.testing.assert_close(embeddings[1:2], network(crops[1:2]), rtol=1e-4, atol=1e-5)


def test_gradients_reach_the_face_and_nothing_else() -> None:
    crop = torch.rand(1, 3, 256, 256, requires_grad=True)
    (light_cnn.build("tiny")(crop) @ torch.randn(light_cnn.EMBEDDING)).sum().backward()
    assert crop.grad is not None
    left, top, side = light_cnn.REGION
    face = crop.grad[:, :, top : top + side, left : left + side]
    assert (face != 0).float().mean() > 0.9
    assert (face != 0).sum() == (crop.grad != 0).sum()


def test_a_batch_depends_on_its_number_alone(options: recogniser.Options) -> None:
    task = recogniser.RecogniserTask(options)
    first, second = task.batches(0, 1)[5], task.batches(0, 1)[5]
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert not torch.equal(first["crop"], task.batches(0, 1)[6]["crop"])
    assert torch.equal(task.batches(1, 2)[1]["crop"], task.batches(0, 1)[3]["crop"])


def test_neighbours_are_one_identity_and_partners_of_one_kind(options: recogniser.Options) -> None:
    photos = PhotoShards(options.photos, options.photo_shards)
    batches = IdentityBatches(Identities(photos), Identities(RenderShards(options.renders)), (8, 4), 0.5, 0)
    batch = batches[0]
    assert batch["crop"].shape == (12, 256, 256, 3) and batch["crop"].dtype == torch.uint8
    assert torch.equal(batch["identity"][0::2], batch["identity"][1::2])
    assert sorted(batch["partner"].tolist()[:8]) == list(range(8)) and sorted(batch["partner"].tolist()[8:]) == [8, 9, 10, 11]
    shares = torch.cat([batches[number]["share"] for number in range(20)])
    assert shares.min() >= 0.5 and shares.max() == 1 and 0.4 < (shares == 1).float().mean() < 0.6


def test_who_is_blended_is_nobody(options: recogniser.Options) -> None:
    """No identity is learnt from a picture of two; the teacher is asked about what is seen."""
    task = recogniser.RecogniserTask(options)
    task.to(torch.device("cpu"))
    batch = task.batches(0, 1)[0]
    asked: list[torch.Tensor] = []
    task.teacher.register_forward_hook(lambda module, given, said: asked.append(given[0]))
    batch["share"][:] = 0.75
    losses = task.losses(task.network, batch)
    assert losses["identity"] == 0 and losses["teacher"] > 0
    crops = batch["crop"].permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(asked[0], 0.75 * crops + 0.25 * crops[batch["partner"]])


def test_people_who_are_held_out_are_not_trained_on(options: recogniser.Options) -> None:
    task = recogniser.RecogniserTask(options)
    held_out = set(task.held_out["photos"].arrays["person"].tolist())
    assert len(held_out) == 2 and not held_out & set(task.photos.shards.arrays["person"].tolist())
    again = PhotoShards(options.photos, options.photo_shards)
    assert set(again.arrays["person"][held_out_people(again, 0.4)].tolist()) == held_out


def test_overfits_a_few_identities(options: recogniser.Options) -> None:
    options = replace(options, steps=40, learning_rate=3e-3, warm_up=5)
    loop = recogniser.training(options)
    batch = loop.task.batches(0, 1)[0]
    history = [loop.learn([batch]) for _ in range(40)]
    for name in ("teacher", "relation", "identity", "loss"):
        assert history[-1][name] < 0.6 * history[0][name], name


def test_resumes_with_identical_weights_and_gives_the_recogniser(options: recogniser.Options, tmp_path: Path) -> None:
    whole = recogniser.train(replace(options, out=tmp_path / "whole"))
    recogniser.train(replace(options, stop_after=3))
    parts = recogniser.train(options)
    for name, value in checkpoint.load(whole)["network"].items():
        torch.testing.assert_close(checkpoint.load(parts)["network"][name], value, rtol=0, atol=0, msg=name)
    network = recogniser.load(whole)
    assert isinstance(network, LightCNN) and not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_another_run_has_other_people(options: recogniser.Options, tmp_path: Path) -> None:
    first = checkpoint.load(recogniser.train(options))["average"]
    less = replace(options, out=tmp_path / "second", start_from=options.out / checkpoint.LAST, hold_out_people=0.6)
    network = recogniser.training(less).task.network
    assert len(network.people) < len(first["people"])
    for name, value in network.recogniser.state_dict().items():
        assert torch.equal(value, first[f"recogniser.{name}"]), name


def test_verification_tells_one_from_two() -> None:
    rng = np.random.default_rng(0)
    identity = np.repeat(np.arange(50), 4)
    middles, noise = rng.normal(size=(50, 16)), rng.normal(size=(200, 16))

    def measured(spread: float) -> dict[str, float]:
        points = middles[identity] + spread * noise
        return verification(points / np.linalg.norm(points, axis=1, keepdims=True), identity, 200)

    clear, nothing = measured(0.05), measured(100.0)
    assert clear["accuracy"] > 0.99 and clear["auc"] > 0.999 and clear["same"] > 0.9
    assert abs(nothing["accuracy"] - 0.5) < 0.12 and abs(nothing["auc"] - 0.5) < 0.12
    chosen, same = pairs(identity, 200)
    assert same.sum() == 200 == (~same).sum()
    assert np.isnan(verification(middles, np.arange(50))["accuracy"])  # nobody has two pictures
    assert np.array_equal(identity[chosen[:, 0]] == identity[chosen[:, 1]], same)


def test_the_teacher_takes_chips_out_of_crops() -> None:
    teacher, crops = DlibResNet(), torch.rand(2, 3, 256, 256) * 255
    assert teacher(chips(crops)).shape == (2, 128)
    assert sum(isinstance(module, nn.Conv2d) for module in teacher.modules()) == 29
    assert (*CORNER, CHIP) == light_cnn.REGION


def test_a_teacher_without_weights_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"there is no .*model\.dat"):
        load_teacher(tmp_path / "model.dat")
