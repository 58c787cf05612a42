"""A TensorRT plan: the sidecar that says where it runs, and a small runner (for checks, benchmarks and the Triton backend).

A plan runs only with the TensorRT version and on the kind of GPU that it was built with. Beside ``model.plan`` lies
``model.plan.json`` with both; it is read before TensorRT is given the plan, whose own messages are hard to read.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FP16_FILE = "model.fp16.onnx"
"""What a plan is built from, beside :data:`sdk.models.MODEL_FILE`."""
PLAN_FILE, TIMING_CACHE_FILE = "model.plan", "model.timing"
HOW_TO_BUILD = "build the engines on this machine: python -m export.build_engines --backend tensorrt"


class PlanError(RuntimeError):
    """A plan is missing or does not fit this machine; the message says what to do."""


@dataclass(frozen=True)
class Sidecar:
    """What a plan was built with, and how near it is to FP32."""

    graph: str
    tensorrt: str
    compute_capability: str
    gpu: str
    onnx_sha256: str
    precision: dict[str, Any]  # layers of the network by type, and those that the engine's inspector shows in FP16
    profile: dict[str, int]  # batches: min, opt, max
    parity: dict[str, Any]  # of each output: largest difference from ONNX Runtime in FP32, tolerance, unit
    half_range: dict[str, Any] | None  # the loudest FP16 activation on photos and renders, and how many times it fits

    def write(self, plan: Path) -> Path:
        """Write it beside its plan."""
        path = sidecar_path(plan)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        return path


def sidecar_path(plan: Path) -> Path:
    """``model.plan.json`` of ``model.plan``."""
    return plan.with_name(plan.name + ".json")


def sha256(path: Path) -> str:
    """Of a file's bytes, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check_plan(plan: Path, tensorrt: str, compute_capability: str, onnx: Path | None = None) -> Sidecar:
    """The plan's sidecar, if the plan fits.

    Args:
        tensorrt: version of TensorRT here.
        compute_capability: of the GPU here, such as "8.6".
        onnx: the file that it should have been built from; not compared if None.

    Raises:
        PlanError: it is missing, or of another TensorRT, GPU or file.
    """
    if not plan.is_file() or not sidecar_path(plan).is_file():
        raise PlanError(f"there is no {plan} with its {sidecar_path(plan).name}: {HOW_TO_BUILD}")
    sidecar = Sidecar(**json.loads(sidecar_path(plan).read_text(encoding="utf-8")))
    pairs = [("TensorRT", sidecar.tensorrt, tensorrt), ("compute capability", sidecar.compute_capability, compute_capability)]
    for what, built, here in pairs:
        if built != here:
            raise PlanError(f"{plan} was built for {what} {built} ({sidecar.gpu}), here is {here}: {HOW_TO_BUILD}")
    if onnx is not None and sidecar.onnx_sha256 != sha256(onnx):
        raise PlanError(f"{plan} was built from another {onnx.name}: {HOW_TO_BUILD}")
    return sidecar


class Plan:
    """A loaded plan with buffers on the GPU for its largest batch. Not for several threads at once.

    Raises:
        PlanError: TensorRT does not load it.
    """

    def __init__(self, path: Path) -> None:
        import tensorrt as trt
        from cuda.bindings import runtime

        self._trt, self._cuda = trt, runtime
        self._logger = trt.Logger(trt.Logger.WARNING)
        self._runtime = trt.Runtime(self._logger)
        self.engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if self.engine is None:
            raise PlanError(f"TensorRT {trt.__version__} does not load {path}: {HOW_TO_BUILD}")
        self._context = self.engine.create_execution_context()
        names = [self.engine.get_tensor_name(i) for i in range(self.engine.num_io_tensors)]
        modes = {name: self.engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT for name in names}
        self.inputs = [name for name in names if modes[name]]
        self.outputs = [name for name in names if not modes[name]]
        self.max_batch = int(self.engine.get_tensor_profile_shape(self.inputs[0], 0)[2][0])
        self._types = {name: np.dtype(trt.nptype(self.engine.get_tensor_dtype(name))) for name in names}
        self._shapes = {name: tuple(self.engine.get_tensor_shape(name))[1:] for name in names}
        self._stream = self._call("cudaStreamCreate")
        self._memory = {name: self._call("cudaMalloc", self._bytes(name, self.max_batch)) for name in names}
        for name, address in self._memory.items():
            self._context.set_tensor_address(name, int(address))

    def run(self, inputs: Mapping[str, NDArray[Any]], wanted: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Outputs by name for inputs by name, batch axis first; more than :attr:`max_batch` go in several batches."""
        count = len(next(iter(inputs.values())))
        parts = []
        for start in range(0, count, self.max_batch):
            batch = {name: values[start : start + self.max_batch] for name, values in inputs.items()}
            self.load(batch)
            self.execute()
            parts.append(self._fetch(wanted or self.outputs, min(self.max_batch, count - start)))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def load(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        """Copy one batch to the GPU."""
        for name in self.inputs:
            values = np.ascontiguousarray(inputs[name], self._types[name])
            self._context.set_input_shape(name, values.shape)
            kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
            self._call("cudaMemcpy", self._memory[name], values.ctypes.data, values.nbytes, kind)

    def execute(self) -> None:
        """Run on what was loaded, and wait."""
        if not self._context.execute_async_v3(int(self._stream)):
            raise PlanError("TensorRT did not run the plan; its log says why")
        self._call("cudaStreamSynchronize", self._stream)

    def close(self) -> None:
        """Free the GPU's memory."""
        for address in self._memory.values():
            self._call("cudaFree", address)
        self._call("cudaStreamDestroy", self._stream)
        self._memory = {}

    def _fetch(self, names: Sequence[str], batch: int) -> dict[str, NDArray[Any]]:
        found = {}
        for name in names:
            values = np.empty((batch, *self._shapes[name]), self._types[name])
            kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
            self._call("cudaMemcpy", values.ctypes.data, self._memory[name], values.nbytes, kind)
            found[name] = values
        return found

    def _bytes(self, name: str, batch: int) -> int:
        return int(math.prod(self._shapes[name]) * batch * self._types[name].itemsize)

    def _call(self, function: str, *arguments: Any) -> Any:
        """A CUDA call; its value. PlanError if it fails."""
        status, *values = getattr(self._cuda, function)(*arguments)
        if int(status):
            raise PlanError(f"{function} failed: {status}")
        return values[0] if values else None
