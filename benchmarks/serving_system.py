"""One system under one load, for `benchmarks.serving`: who solves, who sends, what was measured, rounds put together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving_load import Load
from benchmarks.serving_probe import Counters, busy_seconds, counters, cpu_seconds, memory_mb, stages

CORES = len(os.sched_getaffinity(0))


class Sender:
    """A process of :mod:`benchmarks.serving_load`; it is ready when this has been made."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "benchmarks.serving_load", *arguments]
        root = Path(__file__).parents[1]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root, start_new_session=True
        )
        self.session = self._process.pid
        self.hear()

    def say(self, request: dict[str, Any]) -> None:
        """Let it begin a load."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()

    def hear(self) -> dict[str, Any]:
        """Its next answer."""
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the load ended by itself with status {self._process.wait()}; what it said stands above")
        heard: dict[str, Any] = json.loads(line)
        return heard

    def close(self) -> None:
        """Let it end."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


@dataclass(frozen=True)
class System:
    """Something that solves photos, and who sends them.

    Attributes:
        session: of the processes that solve; None if they are elsewhere.
        metrics: ``host:port`` of Triton's; empty if there are none.
        start_up_seconds: until it was ready for photos.
        memory: MB when it was ready ("idle"), and the "peak" so far.
    """

    senders: Sequence[Sender]
    session: int | None = None
    metrics: str = ""
    start_up_seconds: float | None = None
    memory: dict[str, float] = field(default_factory=dict)

    @property
    def solves_where_it_sends(self) -> bool:
        """Whether one process does both."""
        return self.session == self.senders[0].session

    def look_at_memory(self, when: str) -> None:
        """Note the memory of now under a name, if it is more than before."""
        if self.session:
            self.memory[when] = max(memory_mb(self.session), self.memory.get(when, 0.0))


@dataclass(frozen=True)
class Run:
    """One system under one load, once.

    Attributes:
        loads: what each sender saw.
        counters: what Triton's counters grew by.
        cpu_seconds: processor time of the system; None if it is elsewhere.
        others: share of all cores that other programs took; None if the system is elsewhere.
    """

    loads: Sequence[Load]
    counters: dict[str, Counters]
    cpu_seconds: float | None
    others: float | None


def measure(system: System, **request: Any) -> Run:
    """Run a load, arguments of :mod:`benchmarks.serving_load`, once; several senders share it."""
    counted, start, busy = _counters(system), time.perf_counter(), busy_seconds()
    cpu = cpu_seconds(system.session) if system.session else 0.0
    parts = divided(request, len(system.senders))
    busy_senders = system.senders[: len(parts)]
    for sender, part in zip(busy_senders, parts, strict=True):
        sender.say(part)
    time.sleep(request["seconds"] / 2)
    system.look_at_memory("peak")
    loads = [Load(**sender.hear()) for sender in busy_senders]
    grown = {name: now - counted[name] for name, now in _counters(system).items()}
    if not system.session:
        return Run(loads, grown, None, None)
    cpu = cpu_seconds(system.session) - cpu
    senders = 0.0 if system.solves_where_it_sends else sum(load.cpu_seconds for load in loads)
    others = (busy_seconds() - busy - cpu - senders) / (time.perf_counter() - start) / CORES
    return Run(loads, grown, cpu, max(0.0, others))


def divided(request: dict[str, Any], parts: int) -> list[dict[str, Any]]:
    """One load as several that add up to it; no more of them than there are players."""
    if "rate" in request:  # Poisson processes side by side are a Poisson process
        return [request | {"rate": request["rate"] / parts, "seed": request["seed"] + 1000 * i} for i in range(parts)]
    players = [len(range(i, request["concurrency"], parts)) for i in range(parts)]
    return [request | {"concurrency": count} for count in players if count]


def combined(runs: Sequence[Run]) -> dict[str, Any]:
    """The rounds of one system under one load.

    ``photos_per_second`` is their median, ``rounds`` each; percentiles and ``count`` are of all photos that were
    answered; ``errors`` counts the others by name. ``cpu_ms`` is the system's processor time per photo, ``sender_cpu_ms``
    that of who sends, ``others`` the share of all cores that other programs took. For an open loop, ``offered`` photos
    were sent, ``late_p95_ms`` later than meant.
    """
    loads = [load for run in runs for load in run.loads]
    photos = max(1, sum(load.photos for load in loads))
    rates = [sum(len(load.latencies_ms) / load.seconds for load in run.loads) for run in runs]
    results: dict[str, Any] = {
        "photos_per_second": round(float(np.median(rates)), 2),
        "rounds": [round(rate, 2) for rate in rates],
        **percentiles([latency for load in loads for latency in load.latencies_ms]),
        "errors": dict(sum((Counter(load.errors) for load in loads), Counter())),
        "sender_cpu_ms": round(1e3 * sum(load.cpu_seconds for load in loads) / photos, 3),
    }
    if seconds := [run.cpu_seconds for run in runs if run.cpu_seconds is not None]:
        results["cpu_ms"] = round(1e3 * sum(seconds) / photos, 3)
    if others := [run.others for run in runs if run.others is not None]:
        results["others"] = round(float(np.median(others)), 3)
    if models := runs[0].counters:
        results["stages"] = stages({name: reduce(add, (run.counters[name] for run in runs)) for name in models})
    if late := [ms for load in loads for ms in load.late_ms]:
        results |= {"offered": len(late), "late_p95_ms": round(float(np.percentile(late, 95)), 3)}
    return results


def percentiles(latencies_ms: Sequence[float]) -> dict[str, float | None]:
    """``p50_ms``, ``p95_ms``, ``p99_ms`` and ``count``; None where there are no latencies."""
    names = {"p50_ms": 50, "p95_ms": 95, "p99_ms": 99}
    values = np.percentile(latencies_ms, list(names.values())).round(3).tolist() if latencies_ms else [None] * len(names)
    return {**dict(zip(names, values, strict=True)), "count": len(latencies_ms)}


def _counters(system: System) -> dict[str, Counters]:
    try:
        return counters(system.metrics) if system.metrics else {}
    except OSError as error:
        raise RuntimeError(f"the server with metrics at {system.metrics} does not answer any more; see its log") from error
