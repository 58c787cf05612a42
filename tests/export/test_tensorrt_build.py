"""Building plans, with a stand-in for TensorRT (``fake_gpu``): no GPU was at hand. What a real one would answer is not tested."""

from __future__ import annotations

import json
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from export import engine_process, half_safety
from export.build_engines import Options, Profiles, engine
from export.engine_process import EngineBuildError, Job
from export.plan import FP16_FILE, PlanError, check_plan, sha256, sidecar_path
from sdk import contract
from sdk.models import MODEL_FILE, find_models
from tests.export.noise import noise

FAKE = Path(__file__).parent / "fake_gpu"
FILES = find_models()
ONNX = FILES.paths["encoder"].with_name(FP16_FILE)
MODEL = contract.models(FILES.schema)["encoder"]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    inputs = noise(0)
    path = tmp_path_factory.mktemp("reference") / "reference.npz"
    outputs = half_safety.run_onnx(str(FILES.paths["encoder"]), inputs)
    np.savez(path, **inputs, **dict(zip(MODEL.output_names, outputs, strict=True)))
    return path


@pytest.fixture
def job(tmp_path: Path, reference: Path) -> Job:
    return Job(
        "encoder", str(ONNX), (1, 8, 32), plan=str(tmp_path / "model.plan"), timing_cache=str(tmp_path / "model.timing"),
        reference=str(reference), half_range={"node": "trunk", "largest": 80.0},
    )  # fmt: skip


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("PYTHONPATH", f"{FAKE}:{Path(__file__).parents[2]}")
    return monkeypatch


def build(job: Job) -> engine_process.Result:
    return engine_process.run("export.tensorrt_build", job)


def test_the_sidecar_says_what_was_built(fake: pytest.MonkeyPatch, job: Job) -> None:
    built = build(job)
    plan = Path(job.plan)
    sidecar = check_plan(plan, "11.0.0", "8.6", ONNX)
    assert built["sidecar"] == str(sidecar_path(plan))
    assert sidecar.onnx_sha256 == sha256(ONNX)
    assert sidecar.profile == {"min": 1, "opt": 8, "max": 32}
    assert (
        sidecar.precision["engine"]["half"]
        == sidecar.precision["engine"]["recognised"]
        == sidecar.precision["network"]["HALF"]
        > 20
    )
    assert set(sidecar.parity) == set(MODEL.output_names)
    assert 0 < sidecar.parity["identity"]["largest"] < sidecar.parity["identity"]["tolerance"]
    assert sidecar.half_range == job.half_range
    assert Path(job.timing_cache).read_bytes() == b"timings"
    assert not list(plan.parent.glob("*.part"))


def test_the_command_gives_the_child_what_it_needs(fake: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "encoder/1").mkdir(parents=True)
    for file in (MODEL_FILE, FP16_FILE):
        shutil.copy(FILES.paths["encoder"].with_name(file), tmp_path / "encoder/1")
    options = Options(model_repository=tmp_path, profiles=Profiles(encoder=(1, 4, 40)))
    entry = engine("tensorrt", MODEL, options, noise(1), {"node": "trunk", "largest": 80.0})
    sidecar = check_plan(tmp_path / "encoder/1/model.plan", "11.0.0", "8.6", tmp_path / "encoder/1" / FP16_FILE)
    assert sidecar.profile == {"min": 1, "opt": 4, "max": 40}
    assert entry["tensorrt"]["half"] == sidecar.precision["network"]["HALF"]


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("refuse", "graph 'encoder', node 'network/Odd_7': the parser refuses Odd: unknown operator. What to do: "),
        ("fail", r"node 'network/trunk/\S+': no tactic for network/trunk/\S+ \(myelin\). What to do: "),
        ("die", "graph 'encoder': export.tensorrt_build ended with signal 6"),
        ("fp32", "recognised that should be in FP16, and 0 are"),
        ("wrong", "output '.*' of the engine is .* from ONNX Runtime in FP32"),
    ],
)
def test_what_goes_wrong_is_said_and_leaves_no_plan(fake: pytest.MonkeyPatch, job: Job, mode: str, said: str) -> None:
    fake.setenv("FAKE_TENSORRT", mode)
    with pytest.raises(EngineBuildError, match=said):
        build(job)
    assert not Path(job.plan).exists() and not list(Path(job.plan).parent.glob("*.part"))


@pytest.mark.skipif(find_spec("tensorrt") is not None, reason="TensorRT is here")
def test_missing_tensorrt_is_said(job: Job) -> None:
    with pytest.raises(EngineBuildError, match=r"TensorRT cannot be loaded .*What to do: pip install tensorrt cuda-python"):
        build(job)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tensorrt": "10.13.0"}, "built for TensorRT 10.13.0"),
        ({"compute_capability": "12.0"}, r"built for compute capability 12.0 \(fake\), here is 8.6"),
        ({"onnx_sha256": "0"}, "built from another"),
    ],
)
def test_a_plan_of_another_machine_is_refused(tmp_path: Path, change: dict[str, str], said: str) -> None:
    plan = tmp_path / "model.plan"
    with pytest.raises(PlanError, match=r"there is no .*python -m export.build_engines"):
        check_plan(plan, "11.0.0", "8.6")
    plan.write_bytes(b"plan")
    values = {"graph": "encoder", "tensorrt": "11.0.0", "compute_capability": "8.6", "gpu": "fake", "onnx_sha256": sha256(ONNX)}
    values |= {"precision": {}, "profile": {}, "parity": {}, "half_range": None}
    sidecar_path(plan).write_text(json.dumps(values))
    check_plan(plan, "11.0.0", "8.6", ONNX)
    sidecar_path(plan).write_text(json.dumps(values | change))
    with pytest.raises(PlanError, match=said):
        check_plan(plan, "11.0.0", "8.6", ONNX)


def test_a_plan_runs_more_than_its_largest_batch(fake: pytest.MonkeyPatch, job: Job, reference: Path) -> None:
    build(job)
    code = (
        "import sys, numpy as np; from pathlib import Path; from export.plan import Plan\n"
        "plan = Plan(Path(sys.argv[1])); plan.max_batch = 2; two = {n: np.load(sys.argv[2])[n] for n in ('crop', 'landmarks')}\n"
        "five = {n: np.concatenate([v, v, v[:1]]) for n, v in two.items()}\n"
        "many = plan.run(five, ['identity']); one = plan.run(two)\n"
        "assert list(many) == ['identity'] and many['identity'].shape == (5, 244)\n"
        "np.testing.assert_allclose(many['identity'][2:4], one['identity'], atol=1e-5)\n"
        "plan.close()"
    )
    engine_process.subprocess.run([sys.executable, "-c", code, job.plan, str(reference)], check=True)


def test_no_tensorrt_in_this_process() -> None:
    import export.build_engines  # noqa: F401

    assert "tensorrt" not in sys.modules and "tensorrt_rtx" not in sys.modules
