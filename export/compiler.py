"""One strongly typed path through the builders of TensorRT 10.x, TensorRT 11.x and TensorRT-RTX.

The three share an interface but for names that came and went, so every enum is looked up by name. The precision is what the
ONNX file says: there is no FP16 switch to forget, and TF32, which would round FP32 coordinates to 10 bits, is switched off.

The module in use (``tensorrt`` or ``tensorrt_rtx``) is passed in; it is imported in child processes only.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import onnx
from tqdm import tqdm

from export.engine_process import EngineBuildError, Job
from export.onnx_files import half_layers

HEAVY = ("CONVOLUTION", "MATRIX_MULTIPLY", "DECONVOLUTION", "FULLY_CONNECTED")
"""Kinds of layers that cost something."""


class Compilation:
    """A graph on its way from ONNX to a plan.

    Raises:
        EngineBuildError: at any step, with the node where the compiler names one.
    """

    def __init__(self, trt: Any, job: Job) -> None:
        self.trt, self.job = trt, job
        self.messages: list[str] = []
        self.logger = _logger(trt, self.messages)
        try:
            self.builder = trt.Builder(self.logger)
        except TypeError:  # pybind's word for a null pointer
            self.builder = None
        if self.builder is None:
            raise EngineBuildError(
                job.graph, f"no builder: {self._last_words()}", "check that nvidia-smi shows a GPU and a recent driver"
            )
        flags = 0
        for name in ("EXPLICIT_BATCH", "STRONGLY_TYPED"):  # TensorRT 11 knows no other kind of network
            flag = getattr(trt.NetworkDefinitionCreationFlag, name, None)
            flags |= 0 if flag is None else 1 << int(flag)
        self.network = self.builder.create_network(flags)
        self._parse()
        self.config = self._configure()

    def compile(self) -> bytes:
        """The serialized plan."""
        plan = self.builder.build_serialized_network(self.network, self.config)
        if plan is None:
            words = self._last_words()
            raise EngineBuildError(
                self.job.graph,
                words,
                "change that operator in train/ or export/graphs.py, or build on another GPU",
                self._node_in(words),
            )
        if self.job.timing_cache:
            Path(self.job.timing_cache).write_bytes(bytes(self.config.get_timing_cache().serialize()))
        return bytes(plan)

    def precisions(self) -> dict[str, int]:
        """How many convolutions and matrix products of the parsed network compute in which type."""
        layers = (self.network.get_layer(i) for i in range(self.network.num_layers))
        return dict(Counter(layer.get_output_type(0).name for layer in layers if layer.type.name in HEAVY))

    def check_precisions(self) -> dict[str, int]:
        """:meth:`precisions`, which must hold every FP16 layer of the ONNX file."""
        wanted, found = len(half_layers(onnx.load(self.job.onnx))), self.precisions()
        if found.get("HALF", 0) < wanted:
            raise EngineBuildError(
                self.job.graph,
                f"the file has {wanted} layers in FP16, the parsed network computes in {found}",
                "report this TensorRT version; its parser does not keep to the types of the file",
            )
        return found

    def _parse(self) -> None:
        parser = self.trt.OnnxParser(self.network, self.logger)
        if not parser.parse_from_file(self.job.onnx):
            errors = [parser.get_error(i) for i in range(parser.num_errors)]
            first = errors[0] if errors else None
            raise EngineBuildError(
                self.job.graph,
                f"the parser refuses {first.node_operator() or 'the file'}: {first.desc()}" if first else self._last_words(),
                "change that operator in train/ or export/graphs.py and export again (--regressor, --encoder, --align)",
                first.node_name() if first else "",
            )

    def _configure(self) -> Any:
        trt, config = self.trt, self.builder.create_builder_config()
        profile = self.builder.create_optimization_profile()
        for i in range(self.network.num_inputs):
            tensor = self.network.get_input(i)
            profile.set_shape(tensor.name, *((batch, *tuple(tensor.shape)[1:]) for batch in self.job.batches))
        config.add_optimization_profile(profile)
        config.clear_flag(trt.BuilderFlag.TF32)
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # else the inspector shows names only
        config.progress_monitor = _progress(trt, f"{self.job.graph} {self.job.target}".rstrip())
        if self.job.timing_cache:
            path = Path(self.job.timing_cache)
            known = path.read_bytes() if path.is_file() else b""
            if not config.set_timing_cache(config.create_timing_cache(known), ignore_mismatch=False):
                config.set_timing_cache(config.create_timing_cache(b""), ignore_mismatch=False)  # of another version or GPU
        if self.job.target:
            config.num_compute_capabilities = 1
            config.set_compute_capability(getattr(trt.ComputeCapability, self.job.target), 0)
        return config

    def _last_words(self) -> str:
        return self.messages[-1] if self.messages else "the compiler gave no reason"

    def _node_in(self, words: str) -> str:
        """The longest name of a node of the file that a message holds."""
        names = (node.name for node in onnx.load(self.job.onnx).graph.node)
        return max((name for name in names if name and name in words), key=len, default="")


def _logger(trt: Any, messages: list[str]) -> Any:
    """A logger that keeps errors, to be raised, and prints warnings."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                messages.append(message)
            elif severity == trt.ILogger.WARNING:
                tqdm.write(f"{trt.__name__}: {message}", file=sys.stderr)

    return Logger()


def _progress(trt: Any, title: str) -> Any:
    """Bars on a terminal, one for each phase under way, and a line for the whole."""

    class Progress(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.bars: dict[str, tqdm[Any]] = {}
            self.whole = ""  # the phase that holds all others

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                self.whole, self.start = phase_name, time.monotonic()
            self.bars[phase_name] = tqdm(total=num_steps, desc=f"{title}: {phase_name}", leave=False, disable=None)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self.bars[phase_name].update(step + 1 - self.bars[phase_name].n)
            return True  # go on

        def phase_finish(self, phase_name: str) -> None:
            self.bars.pop(phase_name).close()
            if phase_name == self.whole:  # where there is no terminal too
                tqdm.write(f"{title}: {phase_name}: {time.monotonic() - self.start:.1f} s", file=sys.stderr)

    return Progress()
