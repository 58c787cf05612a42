"""TensorRT-RTX compiles the committed graphs on a machine without a GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import helper

from export import engine_process, rtx_check
from export.engine_process import EngineBuildError, Job
from export.plan import FP16_FILE
from sdk.models import find_models

FILES = find_models()
pytestmark = pytest.mark.skipif(not rtx_check.available(), reason="TensorRT-RTX is not installed: pip install 'faceparam[rtx]'")


@pytest.mark.parametrize(("name", "target"), [("align", "SM86"), ("regressor", "SM80"), ("encoder", "SM120")])
def test_graphs_compile(name: str, target: str) -> None:
    job = Job(name, str(FILES.paths[name].with_name(FP16_FILE)), (1, 8, 32), target=target)
    compiled = engine_process.run("export.rtx_check", job)
    assert compiled["outcome"] == "compiled, not executed"
    assert compiled["layers"]["HALF"] > 20
    assert not list(FILES.root.glob("*/1/*.plan"))


def test_the_timing_cache_is_kept(tmp_path: Path) -> None:
    onnx_file = str(FILES.paths["encoder"].with_name(FP16_FILE))
    job = Job("encoder", onnx_file, (1, 8, 32), timing_cache=str(tmp_path / "model.timing"), target="SM86")
    for _ in range(2):  # the second reads what the first wrote
        engine_process.run("export.rtx_check", job)
        assert Path(job.timing_cache).stat().st_size > 0


def test_it_knows_every_name_that_the_runner_uses() -> None:
    """It shares TensorRT's interface: what :class:`export.plan.Plan` calls, and no GPU here can run."""
    used = {
        "Runtime": ["deserialize_cuda_engine"],
        "ICudaEngine": [
            "create_execution_context", "create_engine_inspector", "num_io_tensors", "get_tensor_name", "get_tensor_mode",
            "get_tensor_shape", "get_tensor_dtype", "get_tensor_profile_shape",
        ],
        "IExecutionContext": ["set_tensor_address", "set_input_shape", "execute_async_v3"],
        "EngineInspector": ["get_engine_information"],
        "LayerInformationFormat": ["JSON"],
        "TensorIOMode": ["INPUT", "OUTPUT"],
        "Logger": ["WARNING"],
        "IBuilderConfig": ["create_timing_cache", "set_timing_cache", "get_timing_cache", "progress_monitor"],
    }  # fmt: skip
    code = (
        "import json, sys, tensorrt_rtx as trt\n"
        "used = json.loads(sys.argv[1])\n"
        "missing = [f'{o}.{n}' for o, names in used.items() for n in names if not hasattr(getattr(trt, o), n)]\n"
        "assert not missing and trt.nptype(trt.DataType.UINT8).__name__ == 'uint8', missing"
    )
    subprocess.run([sys.executable, "-c", code, json.dumps(used)], check=True)


def test_an_unknown_operator_is_named(tmp_path: Path) -> None:
    model = onnx.load(FILES.paths["encoder"].with_name(FP16_FILE))
    first = model.graph.node[0]
    model.graph.node.insert(1, helper.make_node("Unique", [first.output[0]], ["odd"], "network/Unique_99"))
    onnx.save(model, tmp_path / "odd.onnx")
    with pytest.raises(EngineBuildError, match="graph 'encoder', node 'network/Unique_99'"):
        engine_process.run("export.rtx_check", Job("encoder", str(tmp_path / "odd.onnx"), (1, 8, 32), target="SM86"))
