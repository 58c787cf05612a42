"""What a system takes and tells while `benchmarks.serving` loads it: processor time, memory, Triton's counters (Linux)."""

from __future__ import annotations

import os
import re
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ENSEMBLE = "face_params"
_COUNTERS = {
    "requests": "nv_inference_request_success",
    "photos": "nv_inference_count",
    "executions": "nv_inference_exec_count",
    "request_us": "nv_inference_request_duration_us",
    "queue_us": "nv_inference_queue_duration_us",
    "input_us": "nv_inference_compute_input_duration_us",
    "infer_us": "nv_inference_compute_infer_duration_us",
    "output_us": "nv_inference_compute_output_duration_us",
}


@dataclass(frozen=True)
class Counters:
    """Triton's counters of one model since it was started. Times in microseconds, summed over requests: each request of a
    batch counts the whole time of the batch."""

    requests: float = 0
    photos: float = 0
    executions: float = 0
    request_us: float = 0
    queue_us: float = 0
    input_us: float = 0
    infer_us: float = 0
    output_us: float = 0

    def __add__(self, other: Counters) -> Counters:
        return Counters(**{name: getattr(self, name) + getattr(other, name) for name in _COUNTERS})

    def __sub__(self, other: Counters) -> Counters:
        return Counters(**{name: getattr(self, name) - getattr(other, name) for name in _COUNTERS})


def counters(metrics: str) -> dict[str, Counters]:
    """The counters of every model by name, from a server's metrics (``host:port``)."""
    with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=10) as answer:
        return parse(answer.read().decode())


def parse(text: str) -> dict[str, Counters]:
    """The counters of every model in the text format of Prometheus."""
    fields = {metric: name for name, metric in _COUNTERS.items()}
    found: dict[str, dict[str, float]] = {}
    for metric, model, value in re.findall(r'^(\w+)\{[^}]*model="([^"]+)"[^}]*\} (\S+)$', text, re.MULTILINE):
        if metric in fields:
            found.setdefault(model, {})[fields[metric]] = float(value)
    return {model: Counters(**values) for model, values in found.items()}


def stages(models: Mapping[str, Counters]) -> dict[str, dict[str, float]]:
    """Milliseconds that a photo spends in each model, ``queue_ms`` waiting and ``compute_ms`` in a batch with its tensors'
    way in and out, and the mean ``batch``; of the ensemble, ``request_ms``: all of it.

    Args:
        models: what the counters grew by while the ensemble solved some photos.
    """
    photos = max(1.0, models[ENSEMBLE].photos)
    results: dict[str, dict[str, float]] = {}
    for name, model in models.items():
        if name == ENSEMBLE:
            results[name] = {"request_ms": round(1e-3 * model.request_us / photos, 3)}
        elif model.executions:
            results[name] = {
                "queue_ms": round(1e-3 * model.queue_us / photos, 3),
                "compute_ms": round(1e-3 * (model.input_us + model.infer_us + model.output_us) / photos, 3),
                "batch": round(model.photos / model.executions, 2),
            }
    return results


def memory_mb(session: int) -> float:
    """Memory of all processes of a session, in MB: proportional set size, so that what they share counts once."""
    return round(sum(_proportional_kb(process) for process in _processes(session)) / 1024, 1)


def cpu_seconds(session: int) -> float:
    """Processor time that the processes of a session have taken so far."""
    return sum(int(ticks) for process in _processes(session) for ticks in _stat(process)[11:13]) / os.sysconf("SC_CLK_TCK")


def busy_seconds() -> float:
    """Processor time that all programs of the machine have taken so far."""
    user, nice, system, _idle, _waiting, *interrupts = Path("/proc/stat").read_text(encoding="utf-8").split("\n")[0].split()[1:9]
    return sum(map(int, (user, nice, system, *interrupts))) / os.sysconf("SC_CLK_TCK")


def _processes(session: int) -> list[int]:
    everyone = (int(folder) for folder in os.listdir("/proc") if folder.isdigit())
    return [process for process in everyone if _stat(process)[3:4] == [str(session)]]


def _stat(process: int) -> list[str]:
    """The fields of ``/proc/PID/stat`` from the third on (state, parent, group, session, ...); none if it has ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return []


def _proportional_kb(process: int) -> int:
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8")
    except OSError:
        return 0
    found = re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else 0
