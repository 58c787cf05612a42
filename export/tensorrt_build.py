"""Build one TensorRT engine, and check it. A child process of :mod:`export.build_engines`.

The plan counts as built once the engine's inspector shows FP16 layers and its answers on real crops agree with ONNX Runtime in
FP32; until then it has another name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from export import engine_process, parity
from export.compiler import Compilation
from export.engine_process import EngineBuildError, Job, Result
from export.gpu import first_gpu
from export.half_safety import one_by_one
from export.onnx_files import half_layers
from export.plan import Plan, PlanError, Sidecar, sha256

MODULE = "tensorrt"
INSTALL = "pip install tensorrt cuda-python (or use NVIDIA's TensorRT container), or take --backend onnxruntime"
MOSTLY = 0.9
"""Share of the FP16 layers of the file that the inspector must show in FP16; fusing may hide the odd one."""


def available() -> bool:
    """Whether TensorRT and CUDA's Python package are installed and a GPU is there. Imports neither."""
    return find_spec(MODULE) is not None and find_spec("cuda") is not None and first_gpu() is not None


def build(job: Job) -> Result:
    """Build ``job.plan`` and its sidecar; what the sidecar says.

    Raises:
        EngineBuildError: TensorRT or a GPU is missing, the graph does not build, or the engine is not in FP16 or not right.
    """
    try:
        import cuda.bindings.runtime  # noqa: F401
        import tensorrt as trt
    except ImportError as error:
        raise EngineBuildError(job.graph, f"TensorRT cannot be loaded ({error})", INSTALL) from error
    gpu = first_gpu()
    if gpu is None:
        advice = "run on a machine with an NVIDIA GPU and driver, or take --backend rtx-check or onnxruntime"
        raise EngineBuildError(job.graph, "there is no GPU", advice)
    compilation = Compilation(trt, job)
    layers = compilation.check_precisions()
    plan = Path(job.plan)
    unchecked = plan.with_suffix(".part")
    unchecked.write_bytes(compilation.compile())
    try:
        engine = Plan(unchecked)
        inspector = engine.engine.create_engine_inspector()
        shown = check_layers(job, json.loads(inspector.get_engine_information(trt.LayerInformationFormat.JSON)))
        measured = _check_parity(job, engine)
        engine.close()
        unchecked.replace(plan)
    except PlanError as error:
        raise EngineBuildError(job.graph, str(error), "report this TensorRT version") from error
    finally:
        unchecked.unlink(missing_ok=True)
    sidecar = Sidecar(
        graph=job.graph,
        tensorrt=trt.__version__,
        compute_capability=gpu.compute_capability,
        gpu=gpu.name,
        onnx_sha256=sha256(Path(job.onnx)),
        precision={"network": layers, "engine": shown},
        profile=dict(zip(("min", "opt", "max"), job.batches, strict=True)),
        parity=parity.as_json(measured),
        half_range=job.half_range,
    )
    return {"sidecar": str(sidecar.write(plan)), "parity": parity.summary(measured), "plan_bytes": plan.stat().st_size, **shown}


def check_layers(job: Job, information: Mapping[str, Any]) -> dict[str, int]:
    """Compare the inspector's layers with the FP16 layers of the file; how many were found, and how many in FP16.

    A layer of the engine names those of the file that were fused into it, in its name or its metadata; its tensors' types
    are words such as "Half" and "FP16".
    """
    found = half = 0
    layers = [layer for layer in information.get("Layers", ()) if isinstance(layer, dict)]
    for name in half_layers(onnx.load(job.onnx)):
        mine = [layer for layer in layers if _names(layer, name)]
        found += bool(mine)
        half += any(_is_half(layer) for layer in mine)
    if not found or half < MOSTLY * found:
        raise EngineBuildError(
            job.graph,
            f"of {len(layers)} layers in the engine, {found} were recognised that should be in FP16, and {half} are",
            "report this TensorRT version with the output of its engine inspector; do not serve this engine",
        )
    return {"recognised": found, "half": half}


def _names(layer: Mapping[str, Any], node: str) -> bool:
    """Whether an engine's layer holds a node of the file; a name that another continues is not meant."""
    text = f"{layer.get('Name', '')} {layer.get('Metadata', '')}"
    start = text.find(node)
    return start >= 0 and not text[start + len(node) : start + len(node) + 1].isdigit()


def _is_half(layer: Mapping[str, Any]) -> bool:
    tensors = [*layer.get("Inputs", ()), *layer.get("Outputs", ())]
    kinds = " ".join(str(tensor.get("Format/Datatype", tensor.get("Datatype", ""))) for tensor in tensors)
    return any(word in kinds for word in ("FP16", "Half", "half", "Float16"))


def _check_parity(job: Job, engine: Plan) -> list[parity.Difference]:
    """Run the engine on the reference inputs, one by one and in one batch."""
    reference = np.load(job.reference)
    inputs, names = {name: reference[name] for name in engine.inputs}, [n for n in reference.files if n not in engine.inputs]
    expected = [reference[name] for name in names]
    together = engine.run(inputs)
    single = [engine.run(one) for one in one_by_one(inputs)]
    alone = {name: np.concatenate([answer[name] for answer in single]) for name in names}
    both = [parity.differences(names, expected, [found[name] for name in names]) for found in (together, alone)]
    measured = [max(pair, key=lambda difference: difference.largest) for pair in zip(*both, strict=True)]
    for difference in measured:
        if not difference.passes:
            raise EngineBuildError(
                job.graph,
                f"output {difference.output!r} of the engine is {difference.largest:.3g} {difference.unit} from ONNX Runtime in "
                f"FP32, more than {difference.tolerance:g}",
                "do not serve this engine; report TensorRT version and GPU",
            )
    return measured


if __name__ == "__main__":
    engine_process.main(build)
