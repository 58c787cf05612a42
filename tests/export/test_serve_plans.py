"""Serving plans: which back end is chosen, and the real Triton with the stand-in for TensorRT (``fake_gpu``)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import skimage.data

from export import serve
from export.gpu import Gpu
from export.plan import FP16_FILE, PLAN_FILE, PlanError, Sidecar, sha256
from export.serve import choose_backend, serving
from sdk import FaceParamClient, contract
from sdk.models import find_models
from tests.serving.local_server import local_options

FAKE_GPU = Path(__file__).parent / "fake_gpu"


def pretend(patch: pytest.MonkeyPatch, version: str | None = "11.0.0") -> None:
    """A GPU and a TensorRT are here."""
    patch.setattr(serve, "first_gpu", lambda: Gpu("fake", "8.6"))
    patch.setattr(serve, "tensorrt_version", lambda: version)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model repository with plans as the stand-in builds them."""
    root, files = tmp_path_factory.mktemp("plans") / "models", find_models()
    shutil.copytree(files.root, root)
    for name, model in contract.models(files.schema).items():
        onnx_file, plan = (root / name / "1" / file for file in (FP16_FILE, PLAN_FILE))
        shapes = {tensor.name: [[batch, *tensor.shape] for batch in (1, 8, 32)] for tensor in model.inputs}
        plan.write_bytes(json.dumps({"shapes": shapes, "layers": []}).encode() + b"\n" + onnx_file.read_bytes())
        Sidecar(name, "11.0.0", "8.6", "fake", sha256(onnx_file), {}, {}, {}, None).write(plan)
    return root


def test_plans_are_served_by_the_other_configuration(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--model-config-name`` takes ``configs/tensorrt.pbtxt`` of the networks and ``config.pbtxt`` of all others; our backend
    named `tensorrt` runs (the stand-in's) plans, whose answers are those of FP16."""
    monkeypatch.syspath_prepend(str(FAKE_GPU))
    pretend(monkeypatch)
    portrait = skimage.data.astronaut()
    with serving(local_options(model_repository=repository)) as running, FaceParamClient(running.grpc, timeout=30) as client:
        served = client.infer(portrait)
    with FaceParamClient.embedded() as client:
        expected = client.infer(portrait)
    for name in ("identity", "expression"):
        assert 0 < np.abs(getattr(served, name).array - getattr(expected, name).array).max() < 0.02, name
    for slot, wanted in expected.style.items():
        assert np.abs(served.style[slot].probabilities - wanted.probabilities).max() < 0.02, slot
        # Of options that are as probable to FP16, as this portrait's hair colours are, either may be chosen.
        assert wanted.probabilities[served.style[slot].index] > wanted.probabilities.max() - 0.02, slot


def test_plans_of_another_machine_are_not_served(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = find_models(repository)
    monkeypatch.setattr(serve, "first_gpu", lambda: None)
    assert choose_backend("auto", files) == "onnxruntime"
    pretend(monkeypatch)
    assert choose_backend("auto", files) == choose_backend("tensorrt", files) == "tensorrt"
    assert choose_backend("onnxruntime", files) == "onnxruntime"
    pretend(monkeypatch, version="10.13.0")
    assert choose_backend("auto", files) == "onnxruntime"
    with pytest.raises(
        PlanError, match=r"built for TensorRT 11.0.0 \(fake\), here is 10.13.0: build the engines on this machine"
    ):
        choose_backend("tensorrt", files)
    pretend(monkeypatch, version=None)
    with pytest.raises(PlanError, match="there is no TensorRT: pip install tensorrt cuda-python"):
        choose_backend("tensorrt", files)
