"""The served graphs: the contract's names and ranges, and ONNX Runtime = torch."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from export import build_engines, graphs, parity, samples
from export.build_engines import Options, Profiles, build, choose, not_checked
from export.graphs import RecogniserInHalf
from export.half_safety import run_torch
from export.onnx_files import FileError
from sdk import contract
from sdk.models import find_models
from tests.export.noise import noise
from tests.train.small_regressor import small_regressor
from train import bisenet, checkpoint, encoder_network, light_cnn
from train.encoder_network import Encoder
from train.networks import FaceNet, Predictions, describe


@pytest.fixture(scope="module")
def network() -> FaceNet:
    torch.manual_seed(0)
    return small_regressor(bisenet.build("tiny"), light_cnn.build("tiny"))


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    network = encoder_network.build("tiny").eval()
    for head in (network.continuous, network.discrete, network.visible):
        nn.init.normal_(head.weight, std=0.5)
    return network


@pytest.fixture(scope="module")
def full(network: FaceNet, encoder: Encoder) -> dict[str, nn.Module]:
    return {"regressor": graphs.regressor(network), "encoder": graphs.encoder(encoder)}


@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch's own exporter on newer Python releases
def test_checkpoints_become_a_repository(
    network: FaceNet, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both files of both graphs, each beside torch, with configurations, warm-up inputs and a report; `align` stays."""
    path, of_encoder = tmp_path / "last.pt", tmp_path / "encoder.pt"
    checkpoint.save(path, {"description": describe(network), "average": network.state_dict()})
    checkpoint.save(of_encoder, {"description": encoder_network.describe(encoder), "average": encoder.state_dict()})
    monkeypatch.setattr(samples, "RENDERS", 2)
    repository = tmp_path / "models"
    shutil.copytree(find_models().root / "align/1", repository / "align/1")
    report = build(Options(regressor=path, encoder=of_encoder, model_repository=repository, backend="onnxruntime"))
    assert (repository / "schema.json").read_text() == network.schema.to_json()
    for name in ("regressor", "encoder"):
        assert {path.name for path in (repository / name / "1").iterdir()} == {"model.onnx", "model.fp16.onnx"}
        warm_up = {f"{tensor}.raw" for tensor in contract.models(network.schema)[name].input_names}
        assert {path.name for path in (repository / name / "warmup").iterdir()} == warm_up
        assert (repository / name / "configs/tensorrt.pbtxt").is_file()
        measured = report["graphs"][name]
        assert {"onnx", "onnx_half", "torch_half", "activation_maxima"} <= measured.keys()
        assert all(one["largest"] < one["tolerance"] / 10 for one in measured["onnx"].values())
    assert "torch_half" not in report["graphs"]["align"]
    assert any("TensorRT" in sentence for sentence in report["not_checked"])
    assert json.loads((repository / "engines.json").read_text()) == report


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    shutil.copytree(find_models().root / "align/1", tmp_path / "align/1")
    with pytest.raises(FileError, match=r"graph 'regressor': there is no .*schema\.json"):
        build(Options(model_repository=tmp_path, backend="onnxruntime"))


def test_auto_takes_the_best_that_is_there_and_says_what_it_leaves_open(monkeypatch: pytest.MonkeyPatch) -> None:
    here = {"tensorrt": True, "rtx-check": True}
    monkeypatch.setattr(build_engines.tensorrt_build, "available", lambda: here["tensorrt"])
    monkeypatch.setattr(build_engines.rtx_check, "available", lambda: here["rtx-check"])
    for best in ("tensorrt", "rtx-check", "onnxruntime"):
        assert choose("auto") == best
        assert bool(not_checked(best)) == (best != "tensorrt")
        here[best] = False
    assert choose("tensorrt") == "tensorrt", "what is asked for is not replaced in silence"


def test_profiles_hold_what_triton_is_told() -> None:
    assert Profiles(align=(1, 4, 64)).align == (1, 4, 64)
    with pytest.raises(ValueError, match=r"--profiles\.encoder 1 8 16: should be 1, .* at least 32"):
        Profiles(encoder=(1, 8, 16))


def test_mixed_precision_computes_the_same(network: FaceNet, encoder: Encoder, full: dict[str, nn.Module]) -> None:
    mixed = {"regressor": graphs.mixed_regressor(network), "encoder": graphs.mixed_encoder(encoder)}
    for name, graph in mixed.items():
        exact, half = run_torch(full[name], noise(0)), run_torch(graph, noise(0))
        measured = parity.differences(contract.models(network.schema)[name].output_names, exact, half)
        assert all(one.passes for one in measured), parity.summary(measured)
        assert all(value.dtype == np.float32 for value in half)
    for one in (network, encoder):
        assert all(p.dtype == torch.float32 for p in one.parameters()), "the networks themselves are left as they were"


def test_a_recogniser_that_reaches_beyond_half_says_the_same_in_half() -> None:
    torch.manual_seed(0)
    recogniser = light_cnn.build("tiny").eval()
    with torch.no_grad():
        for name, values in recogniser.named_parameters():
            if name == "stem.convolution.weight":
                values *= 5000
            elif name.endswith("bias"):
                values += 500 * torch.randn_like(values)
        crop = torch.rand(2, *contract.CROP.shape)
        assert recogniser.describe(light_cnn.look(crop)).abs().max() > torch.finfo(torch.half).max
        torch.testing.assert_close(RecogniserInHalf(copy.deepcopy(recogniser))(crop), recogniser(crop), atol=5e-3, rtol=0)


@pytest.mark.parametrize("name", ["regressor", "encoder"])
def test_outputs_have_the_contracts_shapes(network: FaceNet, full: dict[str, nn.Module], name: str) -> None:
    outputs = run_torch(full[name], noise(0))
    expected = contract.models(network.schema)[name].outputs
    assert [tuple(value.shape[1:]) for value in outputs] == [tensor.shape for tensor in expected]


def test_values_stay_in_their_ranges(network: FaceNet, full: dict[str, nn.Module]) -> None:
    class Loud(FaceNet):
        """The network with every answer far outside its range."""

        def regress(self, *seen: Any) -> Predictions:
            said = super().regress(*seen)
            loud = {name: 50 * getattr(said, name) for name in ("identity_code", "expression", "log_sigma")}
            return said._replace(**loud)

    loud_network = copy.deepcopy(network)
    loud_network.__class__ = Loud
    loud = graphs.regressor(loud_network)
    identity, expression, _pose, *sigmas = map(torch.from_numpy, run_torch(loud, noise(0)))
    assert identity.abs().max() <= 1
    assert expression.min() >= 0 and expression.max() <= 1
    assert all((sigma >= 0).all() and sigma.isfinite().all() for sigma in sigmas)
    assert sigmas[1].max() <= 0.5
    *styles, visible, identity_of_encoder = run_torch(full["encoder"], noise(0))
    for probabilities in styles:
        np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    assert visible.min() >= 0 and visible.max() <= 1
    assert np.abs(identity_of_encoder).max() <= 1


def test_the_shipped_files_keep_the_contract() -> None:
    import onnxruntime

    files = find_models()
    for name, model in contract.models(files.schema).items():
        session = onnxruntime.InferenceSession(str(files.paths[name]), providers=["CPUExecutionProvider"])
        assert tuple(i.name for i in session.get_inputs()) == model.input_names
        assert tuple(o.name for o in session.get_outputs()) == model.output_names
