"""Building in child processes: one for each graph, so that a crash inside of a compiler ends that graph only, and its libraries
are never loaded into this process.

A :class:`Job` goes to the child as JSON, its result comes back as JSON; the child's progress goes to the terminal."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

Result = dict[str, Any]


class EngineBuildError(RuntimeError):
    """An engine could not be built or is not right: of which graph, at which node if one is to blame, and what to do."""

    def __init__(self, graph: str, problem: str, advice: str, node: str = "") -> None:
        super().__init__(graph, problem, advice, node)
        self.graph, self.problem, self.advice, self.node = graph, problem, advice, node

    def __str__(self) -> str:
        where = f"graph {self.graph!r}" + (f", node {self.node!r}" if self.node else "")
        return f"{where}: {self.problem.rstrip('. ')}. What to do: {self.advice.rstrip('.')}."


@dataclass(frozen=True)
class Job:
    """What a child needs to know: paths, and the smallest, usual and largest batch."""

    graph: str
    onnx: str
    batches: tuple[int, int, int]
    plan: str = ""  # where the plan goes; empty where none is kept
    timing_cache: str = ""
    reference: str = ""  # .npz: "input" (N, ...), and the outputs of ONNX Runtime in FP32 by name
    half_range: Result | None = None  # the loudest FP16 activation, for the sidecar
    target: str = ""  # compute capability to compile for, such as SM86; empty for this machine's GPU


def run(module: str, job: Job) -> Result:
    """Run ``python -m module`` on a job; its result.

    Raises:
        EngineBuildError: the child raised it, or ended without a result.
    """
    with tempfile.TemporaryDirectory() as folder:
        request, response = Path(folder) / "job.json", Path(folder) / "result.json"
        request.write_text(json.dumps(asdict(job)), encoding="utf-8")
        # What native libraries print goes where logs go; standard output is the caller's.
        ended = subprocess.run([sys.executable, "-m", module, str(request), str(response)], stdout=sys.stderr, check=False)
        if not response.is_file():
            how = f"exit status {ended.returncode}" if ended.returncode >= 0 else f"signal {-ended.returncode}"
            raise EngineBuildError(
                job.graph, f"{module} ended with {how}", "see what it printed above; a signal 9 is a lack of memory"
            )
        result: Result = json.loads(response.read_text(encoding="utf-8"))
    if "error" in result:
        raise EngineBuildError(**result["error"])
    return result


def main(work: Callable[[Job], Result]) -> None:
    """What a child's module does: read the job, work, write the result or the error."""
    request, response = map(Path, sys.argv[1:])
    values = json.loads(request.read_text(encoding="utf-8"))
    try:
        result = work(Job(**{**values, "batches": tuple(values["batches"])}))
    except EngineBuildError as error:
        result = {"error": {"graph": error.graph, "problem": error.problem, "advice": error.advice, "node": error.node}}
    response.write_text(json.dumps(result), encoding="utf-8")
