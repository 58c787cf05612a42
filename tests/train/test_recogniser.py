"""The recogniser: the published structure, embeddings of length 1 with gradients to the picture, and a training that learns."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from train import checkpoint, light_cnn, recogniser
from train.data import PhotoShards, RenderShards, ShardError
from train.dlib_resnet import CHIP, CORNER, DlibResNet, WeightsMissing, chips, load_teacher
from train.identities import Identities, IdentityBatches, held_out_people, identity_numbers
from train.light_cnn import LightCNN, MaxFeatureMap
from train.teacher_embeddings import labels_path, read_embeddings
from train.verification import pairs, verification


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other take seconds per step on a machine that is busy."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def labelled(shards: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Copies of the drawn shards, with a teacher that makes up one direction per identity."""
    folder = tmp_path_factory.mktemp("labelled")
    for name, source in shards.items():
        shutil.copytree(source, folder / name)
    kinds = (PhotoShards(folder / "photos"), RenderShards(folder / "renders"))
    for kind in kinds:
        directions = np.random.default_rng(0).normal(size=(len(kind), 128)).astype(np.float32)
        embeddings = directions[identity_numbers(kind)]
        for number, path in enumerate(kind.paths):
            here = kind.arrays["shard"] == number
            np.savez(labels_path(path), key=kind.arrays["key"][here], embedding=embeddings[here])
    return {name: folder / name for name in shards}


@pytest.fixture
def options(labelled: dict[str, Path], tmp_path: Path) -> recogniser.Options:
    return recogniser.Options(
        photos=labelled["photos"], renders=labelled["renders"], out=tmp_path / "run", photo_shards="people-*.tar",
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


def test_neighbours_are_one_identity_and_bring_the_teachers_word(options: recogniser.Options) -> None:
    photos = PhotoShards(options.photos, options.photo_shards)
    batches = IdentityBatches(Identities(photos), Identities(RenderShards(options.renders)), (8, 4), 0)
    batch = batches[0]
    assert batch["crop"].shape == (12, 256, 256, 3) and batch["crop"].dtype == torch.uint8
    assert torch.equal(batch["identity"][0::2], batch["identity"][1::2])
    torch.testing.assert_close(batch["target"][0::2], batch["target"][1::2])  # one direction per identity here
    torch.testing.assert_close(batch["target"].norm(dim=1), torch.ones(12))


def test_people_who_are_held_out_are_not_trained_on(options: recogniser.Options) -> None:
    task = recogniser.RecogniserTask(options)
    held_out = set(task.held_out["photos"].shards.arrays["person"].tolist())
    assert len(held_out) == 2 and not held_out & set(task.photos.shards.arrays["person"].tolist())
    again = PhotoShards(options.photos, options.photo_shards)
    assert set(again.arrays["person"][held_out_people(again, 0.4)].tolist()) == held_out


def test_a_teacher_who_was_not_asked_is_a_clear_error(shards: dict[str, Path], options: recogniser.Options) -> None:
    with pytest.raises(ShardError, match=r"people-train-00.tar has no embeddings .* python -m train.teacher_embeddings --shards"):
        recogniser.RecogniserTask(replace(options, photos=shards["photos"]))
    photos = PhotoShards(options.photos)
    photos.arrays["key"] = np.array(["somebody_0001", *photos.arrays["key"][1:]])
    with pytest.raises(ShardError, match="without 'somebody_0001': delete it"):
        read_embeddings(photos)


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
