"""Compile a graph with TensorRT-RTX for GPUs that this machine does not have. A child process of :mod:`export.build_engines`.

TensorRT-RTX shares TensorRT's parser and types, and compiles without a GPU: it finds operators, types and shapes that TensorRT
refuses. Its plan is thrown away; nothing was executed."""

from __future__ import annotations

import time
from importlib.util import find_spec

from export import engine_process
from export.compiler import Compilation
from export.engine_process import EngineBuildError, Job, Result

MODULE = "tensorrt_rtx"
TARGETS = ("SM80", "SM86", "SM89", "SM120")
"""A100, RTX 30, RTX 40, RTX 50."""


def available() -> bool:
    """Whether the package is installed."""
    return find_spec(MODULE) is not None


def check(job: Job) -> Result:
    """Compile for ``job.target``; seconds, plan size and the types of the heavy layers."""
    try:
        import tensorrt_rtx as trt
    except ImportError as error:
        raise EngineBuildError(job.graph, f"TensorRT-RTX cannot be loaded ({error})", "pip install 'faceparam[rtx]'") from error
    start = time.perf_counter()
    compilation = Compilation(trt, job)
    precisions = compilation.check_precisions()
    size = len(compilation.compile())
    return {
        "outcome": "compiled, not executed",
        "seconds": round(time.perf_counter() - start, 2),
        "plan_bytes": size,
        "layers": precisions,
        "version": trt.__version__,
    }


if __name__ == "__main__":
    engine_process.main(check)
