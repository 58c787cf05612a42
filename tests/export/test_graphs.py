"""The served graphs: the contract's names and ranges, and ONNX Runtime = torch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from export.build_engines import Options, build
from export.graphs import graphs
from sdk import contract
from sdk.models import find_models
from train import checkpoint
from train.networks import FaceNet, describe
from train.networks import build as build_network


@pytest.fixture(scope="module")
def network() -> FaceNet:
    torch.manual_seed(0)
    network = build_network("tiny").eval()
    for name in ("identity_basis", "landmark_basis"):
        buffer = getattr(network.spaces, name)
        buffer.copy_(0.1 * torch.randn_like(buffer))
    return network


@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch's own exporter on newer Python releases
def test_files_say_what_torch_says(network: FaceNet, tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "last.pt", {"description": describe(network), "average": network.state_dict()})
    written = build(Options(checkpoint=tmp_path / "last.pt", model_repository=tmp_path / "models"))  # checks both
    assert [path.parent.parent.name for path in written] == ["regressor", "encoder"]
    assert (tmp_path / "models" / "schema.json").read_text() == network.schema.to_json()


@pytest.mark.parametrize("name", ["regressor", "encoder"])
def test_outputs_have_the_contracts_shapes(network: FaceNet, name: str) -> None:
    outputs = graphs(network)[name](torch.rand(2, *contract.CROP.shape))
    expected = contract.models(network.schema)[name].outputs
    assert [tuple(value.shape[1:]) for value in outputs] == [tensor.shape for tensor in expected]


def test_values_stay_in_their_ranges(network: FaceNet) -> None:
    class Loud(nn.Module):
        """The network with every answer far outside its range."""

        def __init__(self) -> None:
            super().__init__()
            self.spaces, self.sizes, self.schema = network.spaces, network.sizes, network.schema

        def forward(self, crop: torch.Tensor) -> object:
            said = network(crop)
            loud = {name: 50 * getattr(said, name) for name in ("identity_code", "expression", "log_sigma")}
            return said._replace(**loud)

    crop = torch.rand(2, *contract.CROP.shape)
    models = graphs(Loud())  # type: ignore[arg-type]
    identity, expression, _pose, *sigmas = models["regressor"](crop)
    assert identity.abs().max() <= 1
    assert expression.min() >= 0 and expression.max() <= 1
    assert all((sigma >= 0).all() and sigma.isfinite().all() for sigma in sigmas)
    for probabilities in models["encoder"](crop)[:-1]:
        torch.testing.assert_close(probabilities.sum(1), torch.ones(2))


def test_the_shipped_files_keep_the_contract() -> None:
    import onnxruntime

    files = find_models()
    for name, model in contract.models(files.schema).items():
        session = onnxruntime.InferenceSession(str(files.paths[name]), providers=["CPUExecutionProvider"])
        assert tuple(i.name for i in session.get_inputs()) == model.input_names
        assert tuple(o.name for o in session.get_outputs()) == model.output_names
