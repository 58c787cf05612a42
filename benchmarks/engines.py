"""Speed of each engine by itself: latency by batch, operations, and the share of the machine's measured peak that is reached.

``python -m benchmarks.engines [--threads N] [--repeats N] [--model-repository DIR]``

Runtimes: ONNX Runtime on the CPU (``model.onnx``, FP32); where a GPU is at hand, its CUDA provider (``model.fp16.onnx``) and
TensorRT (``model.plan``, where :mod:`export.build_engines` made it), inputs and outputs staying on the GPU. What is not here is
left out, with a word.

An operation is a multiplication or an addition of a convolution or matrix product; the rest is left out. Of `align`'s conditions
on the CPU, what portraits do not need is not counted, as it is not run. The peak is that of one big matrix product in the same
runtime and precision, before or after the engines, whichever is faster: what the machine gives at that moment, not what its maker
says.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
import onnxruntime
import tyro
from onnx import TensorProto, helper, numpy_helper

from benchmarks import report
from export import samples, serve
from export.engine_process import Job
from export.gpu import first_gpu
from export.half_safety import Inputs, one_by_one
from export.onnx_files import HEAVY
from export.plan import FP16_FILE, PLAN_FILE, Plan, PlanError, check_plan
from sdk import contract
from sdk.models import MODEL_FILE, ModelFiles, find_models
from sdk.sessions import session_options

BATCHES = (1, 8, 32)
CPU_SIDE, GPU_SIDE = 2048, 8192
"""Sides of the square matrices whose product is taken for the peak."""


@dataclass(frozen=True)
class Options:
    """Options; each is a flag of the command line."""

    model_repository: Path | None = None
    threads: int = 1  # of ONNX Runtime on the CPU
    repeats: int = 30  # runs per timing; a third of it at the largest batch


class Runtime(Protocol):
    """Something that runs model files: its name, which file, and how to prepare a run of a file on an input."""

    name: str
    file: str
    side: int
    dtype: type[np.floating[Any]]

    def prepare(self, path: Path, inputs: Inputs) -> Callable[[], object]:
        """A call that runs the file once; the inputs are where the runtime wants them."""


@dataclass
class OnnxRuntime:
    """ONNX Runtime on the CPU."""

    threads: int
    name: str = "ONNX Runtime, CPU, FP32"
    file: str = MODEL_FILE
    side: int = CPU_SIDE
    dtype: type[np.floating[Any]] = np.float32

    def prepare(self, path: Path, inputs: Inputs) -> Callable[[], object]:
        session = onnxruntime.InferenceSession(str(path), session_options(self.threads), providers=["CPUExecutionProvider"])
        return lambda: session.run(None, inputs)


@dataclass
class OnnxRuntimeCuda:
    """ONNX Runtime's CUDA provider, FP32 layers without TF32."""

    name: str = "ONNX Runtime, CUDA, FP16"
    file: str = FP16_FILE
    side: int = GPU_SIDE
    dtype: type[np.floating[Any]] = np.float16

    def prepare(self, path: Path, inputs: Inputs) -> Callable[[], object]:
        session = onnxruntime.InferenceSession(str(path), providers=[("CUDAExecutionProvider", {"use_tf32": "0"})])
        binding = session.io_binding()
        for name, values in inputs.items():
            binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(values, "cuda", 0))
        for output in session.get_outputs():
            binding.bind_output(output.name, "cuda")

        def run() -> None:
            session.run_with_iobinding(binding)
            binding.synchronize_outputs()

        return run


@dataclass
class TensorRt:
    """TensorRT's plans; for the peak a plan is built here."""

    name: str = "TensorRT, FP16"
    file: str = PLAN_FILE
    side: int = GPU_SIDE
    dtype: type[np.floating[Any]] = np.float16

    def prepare(self, path: Path, inputs: Inputs) -> Callable[[], object]:
        if path.suffix == ".onnx":
            import tensorrt

            from export.compiler import Compilation

            built = Compilation(tensorrt, Job("peak", str(path), (1, 1, 1))).compile()
            path = path.with_suffix(".plan")
            path.write_bytes(built)
        engine = Plan(path)
        engine.load(inputs)
        return engine.execute


def main(options: Options) -> None:
    """Measure, print the table, write ``results/engines.json``."""
    files = find_models(options.model_repository)
    inputs = _inputs(files)
    results: dict[str, Any] = {"threads": options.threads, "left_out": [], "runtimes": {}}
    gpu = first_gpu()
    results["gpu"] = gpu and f"{gpu.name}, compute capability {gpu.compute_capability}"
    for runtime in _runtimes(files, options, results["left_out"]):
        before = _peak(runtime, options)
        engines = {name: _measure(runtime, files.paths[name], inputs[name], options) for name in inputs}
        peak = max(before, _peak(runtime, options))
        for figures in (figures for engine in engines.values() for figures in engine["batches"].values()):
            figures["share_of_peak"] = round(figures["gflops"] / peak, 3)
        results["runtimes"][runtime.name] = {"peak_gflops": round(peak, 1), "engines": engines}
    _print(results)
    print(f"\nwrote {report.write('engines', results, ('onnxruntime', 'tensorrt'))}")


def _runtimes(files: ModelFiles, options: Options, left_out: list[str]) -> Iterator[Runtime]:
    """Those that can run here; why others cannot goes to ``left_out``."""
    yield OnnxRuntime(options.threads)
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers() and first_gpu():
        yield OnnxRuntimeCuda()
    else:
        left_out.append("ONNX Runtime's CUDA provider: there is no onnxruntime-gpu with a GPU here")
    try:
        gpu, version = first_gpu(), serve.tensorrt_version()
        if gpu is None or version is None:
            raise PlanError("there is no TensorRT with a GPU here")
        for path in files.paths.values():
            check_plan(path.with_name(PLAN_FILE), version, gpu.compute_capability, path.with_name(FP16_FILE))
        yield TensorRt()
    except PlanError as error:
        left_out.append(f"TensorRT: {error}")


def _inputs(files: ModelFiles) -> dict[str, Inputs]:
    """What each network takes for a portrait and its mirror image, over and over."""
    pictures = np.tile(samples.canvases()["photos"][:2], (max(BATCHES) // 2, 1, 1, 1))
    return samples.inputs(files.paths["align"], pictures, files.schema)


def _peak(runtime: Runtime, options: Options) -> float:
    """Billions of operations a second of one matrix product: the best of several runs."""
    side, kind = runtime.side, helper.np_dtype_to_tensor_dtype(np.dtype(runtime.dtype))
    values = np.random.default_rng(0).normal(size=(side, side)).astype(runtime.dtype) / side**0.5
    x, y = (helper.make_tensor_value_info(name, kind, ["batch", side, side]) for name in "xy")
    product = helper.make_node("MatMul", ["x", "weight"], ["y"], "product")
    graph = helper.make_graph([product], "peak", [x], [y], [numpy_helper.from_array(values, "weight")])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "peak.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", contract.OPSET)], ir_version=10), path)
        times = report.milliseconds(runtime.prepare(path, {"x": values[None]}), max(5, options.repeats // 3))
    return 2 * side**3 / (min(times) * 1e6)


def _measure(runtime: Runtime, path: Path, inputs: Inputs, options: Options) -> dict[str, Any]:
    """Latency of one engine by batch, and what it means."""
    counted = path.with_name(FP16_FILE) if runtime.file == PLAN_FILE else path.with_name(runtime.file)
    gflop = operations(onnx.load(counted), next(one_by_one(inputs))) / 1e9
    result: dict[str, Any] = {"gflop_a_picture": round(gflop, 4), "batches": {}}
    for batch in BATCHES:
        few = {name: np.ascontiguousarray(values[:batch]) for name, values in inputs.items()}
        run = runtime.prepare(path.with_name(runtime.file), few)
        times = report.summary(
            report.milliseconds(run, options.repeats if batch < max(BATCHES) else max(3, options.repeats // 3))
        )
        rate = gflop * batch / (times["median"] / 1e3)
        result["batches"][str(batch)] = {
            "ms": times,
            "ms_a_picture": round(times["median"] / batch, 3),
            "gflops": round(rate, 1),
        }
    return result


def operations(model: onnx.ModelProto, inputs: Inputs) -> int:
    """Multiplications and additions of the convolutions and matrix products that lie outside of conditions, for these inputs.

    Shapes are those of the tensors in a run.
    """
    heavy = [node for node in model.graph.node if node.op_type in HEAVY]
    known = {weight.name: tuple(weight.dims) for weight in model.graph.initializer}
    known |= {
        node.output[0]: known[node.input[0]] for node in model.graph.node if node.op_type == "Cast" and node.input[0] in known
    }
    known |= {name: values.shape for name, values in inputs.items()}
    wanted = sorted({name for node in heavy for name in (*node.input[:2], node.output[0])} - known.keys())
    declared = {value.name for value in model.graph.output}
    for name in wanted:
        if name not in declared:
            model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None))
    session = onnxruntime.InferenceSession(onnx.shape_inference.infer_shapes(model).SerializeToString(), session_options(1))
    found = session.run(wanted, inputs)
    known |= {name: value.shape for name, value in zip(wanted, found, strict=True)}
    return sum(2 * int(np.prod(known[node.output[0]])) * _terms(node, known) for node in heavy)


def _terms(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    """How many products each output value of a node sums."""
    left, right = (shapes[name] for name in node.input[:2])
    if node.op_type == "Conv":
        return int(np.prod(right[1:]))
    transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return left[0] if transposed else left[-1]


def _print(results: dict[str, Any]) -> None:
    rows = []
    for runtime, measured in results["runtimes"].items():
        for name, engine in measured["engines"].items():
            for batch, figures in engine["batches"].items():
                times = (figures["ms"]["median"], figures["ms"]["p95"], figures["ms_a_picture"])
                rows.append(
                    [runtime, name, int(batch), *times, engine["gflop_a_picture"], figures["gflops"], figures["share_of_peak"]]
                )
        print(f"{runtime}: peak {measured['peak_gflops']:.0f} GFLOP/s")
    header = ("runtime", "engine", "batch", "ms", "p95", "ms a picture", "GFLOP a picture", "GFLOP/s", "share of peak")
    report.print_table(f"Engines, {results['threads']} thread(s) on the CPU", header, rows)
    for sentence in results["left_out"]:
        print(f"left out: {sentence}")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
