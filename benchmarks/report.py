"""What every benchmark needs around its numbers: timing, the machine, the commit, a table and a JSON file."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from train.provenance import commit, processor, version

RESULTS = Path(__file__).parent / "results"


def milliseconds(call: Callable[[], object], repeats: int, warm_up: int = 2) -> list[float]:
    """Wall time of each of `repeats` calls in milliseconds, after `warm_up` calls that do not count."""
    for _ in range(warm_up):
        call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return times


def summary(times: Sequence[float]) -> dict[str, float]:
    """`median`, `p95` and `count` of a series."""
    return {
        "median": round(float(np.median(times)), 3),
        "p95": round(float(np.percentile(times, 95)), 3),
        "count": len(times),
    }


def peak_memory() -> float:
    """Largest resident size of this process so far, in MB (Linux).

    Not `getrusage`: its maximum is inherited from the parent across fork and exec.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def machine() -> dict[str, Any]:
    """Processor, cores, load, operating system and Python of the machine that measures."""
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def versions(*packages: str) -> dict[str, str]:
    """Version of each package; "not installed" where it is not."""
    return {package: version(package) or "not installed" for package in packages}


def write(name: str, results: dict[str, Any], packages: Sequence[str] = ()) -> Path:
    """Write ``results/NAME.json`` with machine, commit, date, command and versions beside the results."""
    record = {
        "benchmark": name,
        # Where things lay on this machine is nobody's business: of paths that lead out of the project only the last part is kept.
        "command": "python -m "
        + " ".join([f"benchmarks.{Path(sys.argv[0]).stem}", *(_without_folders(a) for a in sys.argv[1:])]),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": commit() or "unknown",
        "machine": machine(),
        "versions": versions("numpy", *packages),
        "results": results,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return path


def _without_folders(argument: str) -> str:
    name, equals, path = argument.rpartition("=")  # NAME=FILE, too
    outside = Path(path).is_absolute() or ".." in Path(path).parts
    return name + equals + Path(path).name if outside else argument


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table, numbers to the right, ready for the README."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(header), *cells]) for i in range(len(header))]
    numeric = [all(isinstance(row[i], int | float | None) for row in rows) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        padded = (c.rjust(w) if n else c.ljust(w) for c, w, n in zip(row, widths, numeric, strict=True))
        return f"| {' | '.join(padded)} |"

    rule = [f"{'-' * (width - 1)}{':' if number else '-'}" for width, number in zip(widths, numeric, strict=True)]
    print(f"\n{title}\n", line(header), line(rule), *map(line, cells), sep="\n")


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
