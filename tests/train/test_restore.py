"""Served files become checkpoints again: the same answers, and batch norms that training can go on with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from export import graphs
from export.onnx_files import compact_weights, export_graph, save
from game.rig import Rig
from sdk import contract
from sdk.schema import REFERENCE
from train import bisenet, checkpoint, encoder_network, imitator_network, light_cnn, recogniser, restore
from train.data import PhotoShards, RenderShards, to_float
from train.geometry import Geometry
from train.networks import FaceNet, build


@pytest.fixture(scope="module")
def trained(shards: dict[str, Path], rig: Rig) -> tuple[FaceNet, Geometry]:
    """A network whose batch norms have seen something."""
    torch.manual_seed(0)
    network = build("tiny", bisenet.build("tiny"), light_cnn.build("tiny"))
    geometry = Geometry(network)
    renders, photos = RenderShards(shards["renders"]), PhotoShards(shards["photos"], "people-*.tar")
    geometry.fit(network, rig, renders, photos)
    with torch.no_grad():
        torch.nn.Module.train(network)
        for _ in range(3):
            network(torch.rand(8, 3, 256, 256), 256 * torch.rand(8, 468, 2))
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
                torch.nn.init.uniform_(module.weight, 0.5, 1.5)
        for name, values in network.named_parameters():
            if name.endswith("bias") or not values.any():
                values += 0.1 * torch.randn_like(values)  # the exporter keeps one of all that are alike
    return network.eval(), geometry


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_network_comes_back(trained: tuple[FaceNet, Geometry], shards: dict[str, Path], tmp_path: Path) -> None:
    network, geometry = trained
    path = tmp_path / "models/regressor/1/model.onnx"
    save(compact_weights(export_graph(graphs.regressor(network), contract.regressor())), path)
    encoder = trained_encoder()
    save(compact_weights(export_graph(graphs.encoder(encoder), contract.encoder())), tmp_path / "models/encoder/1/model.onnx")
    (tmp_path / "models/schema.json").write_text(REFERENCE.to_json())
    folders = (shards["photos"], shards["renders"])
    options = restore.Options(folders, tmp_path / "runs", model_repository=tmp_path / "models", preset="tiny")
    found = {path.parent.name: checkpoint.load(path) for path in restore.restore(options)}
    again = checkpoint.rebuild(found["regressor"])
    renders = RenderShards(shards["renders"])
    crops = to_float(torch.stack([torch.from_numpy(renders.picture(k)) for k in range(8)]))
    mesh = torch.from_numpy(renders.mesh(slice(0, 8)))  # type: ignore[arg-type]
    with torch.no_grad():
        expected, said = network(crops, mesh), again(crops, mesh)
        for name in ("identity_code", "expression", "pose"):
            torch.testing.assert_close(getattr(said, name), getattr(expected, name), atol=0.02, rtol=0)
        torch.nn.Module.train(again)
        learning = again(crops, mesh)
    shift = (learning.expression - said.expression).abs().mean()
    assert shift < 0.5 * said.expression.std(), "what training sees is what was measured"
    metric, of_found = Geometry(again), found["regressor"]["geometry"]
    metric.load_state_dict(of_found)
    torch.testing.assert_close(metric.identity_variance, geometry.identity_variance, rtol=0.05, atol=1e-4)
    torch.testing.assert_close(metric.encoder, geometry.encoder, rtol=0.1, atol=0.1)
    with torch.no_grad():
        expected_styles, styles = encoder(crops, mesh).styles, encoder_network.rebuild(found["encoder"])(crops, mesh).styles
    for name, logits in expected_styles.items():
        torch.testing.assert_close(styles[name], logits, atol=0.02, rtol=0.01)
    of_segmenter = bisenet.rebuild(found["segmenter"])
    recogniser_path = tmp_path / "runs/recogniser/last.pt"
    with torch.no_grad():
        torch.testing.assert_close(of_segmenter(crops).logits, network.segmenter(crops).logits, atol=0.05, rtol=0.02)
        torch.testing.assert_close(recogniser.load(recogniser_path)(crops), network.recogniser(crops), atol=0.01, rtol=0)


def trained_encoder() -> encoder_network.Encoder:
    """One that says different things of different pictures, with temperatures."""
    torch.manual_seed(0)
    encoder = encoder_network.build("tiny")
    with torch.no_grad():
        for _ in range(3):
            encoder(torch.rand(8, 3, 256, 256), 256 * torch.rand(8, 468, 2))
        for name, values in encoder.named_parameters():
            if name.endswith("bias") or name.startswith("discrete"):
                values += 0.1 * torch.randn_like(values)
        encoder.temperature.uniform_(0.5, 2)
    return encoder.eval()


def test_a_file_of_another_size_is_named(trained: tuple[FaceNet, Geometry]) -> None:
    network = trained[0]
    with pytest.raises(KeyError, match=r"weight_bias"):
        restore.fill(build("tiny"), dict(network.state_dict()))
    with pytest.raises(ValueError, match="--pictures"):
        restore.restore(restore.Options())


def test_the_imitator_is_kept_with_the_code(fixed_networks: dict[str, Path], tmp_path: Path) -> None:
    network = imitator_network.rebuild(checkpoint.load(fixed_networks["imitator"]))
    again = imitator_network.rebuild(restore.kept_imitator(restore.keep(fixed_networks["imitator"], tmp_path / "i.safetensors")))
    for name, value in network.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value, atol=1e-2, rtol=1e-3)
