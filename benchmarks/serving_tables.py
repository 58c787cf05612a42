"""The tables of `benchmarks.serving`, from its JSON file: ``python -m benchmarks.serving_tables [FILE]``."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import RESULTS, print_table

Numbers = Mapping[str, Any]


def print_tables(results: Numbers) -> None:
    """All tables."""
    _closed("Closed loop, portrait, by concurrency: photos/s (p50, p99 in ms)", "concurrency", results["closed"])
    at = results["plan"]["photos_at"]
    _closed(f"Closed loop, {at} at a time, by photo: photos/s (p50, p99 in ms)", "photo", results["photos"])
    _open(results["open"])
    if any("stages" in numbers for numbers in results["closed"]["server"].values()):
        _stages(results["closed"]["server"])
    if len(results["closed"]) > 1:
        _systems(results)
        print_table("Sizing", ("what", "measured"), sizing(results))


def ratio(results: Numbers, system: str, other: str, load: str) -> float | None:
    """Photos a second of a system by those of another under the same load: the median over rounds of what was measured one
    after the other. None if the other solved none in time."""
    pairs = zip(results[system][load]["rounds"], results[other][load]["rounds"], strict=True)
    ratios = [ours / theirs for ours, theirs in pairs if theirs]
    return round(float(np.median(ratios)), 2) if ratios else None


def peak(closed: Numbers) -> tuple[str, Numbers]:
    """The concurrency at which a system solves most photos a second, and its numbers there."""
    return max(closed.items(), key=lambda item: item[1]["photos_per_second"])


def sizing(results: Numbers) -> list[tuple[str, str]]:
    """What an operator needs to know of the server, in rows for the README."""
    server, memory = results["closed"]["server"], results["memory_mb"]["server"]
    concurrency, best = peak(server)
    half = results["open"]["0.5"]
    alone = results["closed"]["embedded"]["1"]
    return [
        ("photos a second and core, by the server's processor time", f"{1e3 / best['cpu_ms']:.0f}"),
        ("the same embedded", f"{1e3 / alone['cpu_ms']:.0f}"),
        (f"photos a second of all cores, who sends included ({concurrency} at a time)", f"{best['photos_per_second']:.0f}"),
        ("one photo at a time, p50 / p99", f"{server['1']['p50_ms']:.0f} / {server['1']['p99_ms']:.0f} ms"),
        ("at 50 % load, p50 / p95 / p99", f"{half['p50_ms']:.0f} / {half['p95_ms']:.0f} / {half['p99_ms']:.0f} ms"),
        ("memory, idle / at most", f"{memory['idle']:.0f} / {memory['peak']:.0f} MB"),
        ("start to ready", f"{results['start_up_seconds']['server']:.1f} s"),
    ]


def _closed(title: str, what: str, results: Numbers) -> None:
    others = [name for name in results if name != "server"]
    rows = [
        [
            load,
            *(_rate(results[name][load]) for name in results),
            *(ratio(results, "server", other, load) for other in others),
            _share(max(results[name][load].get("others", 0.0) for name in results)),
        ]
        for load in results["server"]
    ]
    print_table(title, (what, *results, *(f"server / {other}" for other in others), "other programs"), rows)


def _rate(numbers: Numbers) -> str:
    return f"{numbers['photos_per_second']:.1f} ({_ms(numbers['p50_ms'])}, {_ms(numbers['p99_ms'])})"


def _open(results: Numbers) -> None:
    rows = [
        (
            f"{float(load):.0%}",
            *(_ms(numbers[name]) for name in ("p50_ms", "p95_ms", "p99_ms")),
            numbers["offered"],
            f"{numbers['count'] / numbers['offered']:.1%}",
            ", ".join(f"{name} {count / numbers['offered']:.1%}" for name, count in numbers["errors"].items()),
            _ms(numbers["late_p95_ms"]),
            _share(numbers.get("others", 0.0)),
        )
        for load, numbers in results.items()
    ]
    header = ("load", "p50, ms", "p95, ms", "p99, ms", "photos", "answered", "refused", "sent late, p95, ms", "other programs")
    print_table("Open loop, portrait, load as a share of the closed loop's peak", header, rows)


def _stages(closed: Numbers) -> None:
    """Waiting and computing at the least, a middle and the highest concurrency."""
    loads = list(closed)
    chosen = dict.fromkeys((loads[0], loads[len(loads) // 2], loads[-1]))
    models = [name for name, numbers in closed[loads[-1]]["stages"].items() if "queue_ms" in numbers]
    rows = [
        [model, *(_stage(closed[load]["stages"].get(model)) for load in chosen)]
        for model in sorted(models, key=["decode", "align", "focus", "regressor", "encoder"].index)
    ]
    rows.append(["whole request", *(_ms(closed[load]["stages"]["face_params"]["request_ms"]) for load in chosen)])
    header = ("stage", *(f"{load} at a time" for load in chosen))
    print_table("Per photo in the server: ms waiting + ms computing (mean batch)", header, rows)


def _stage(numbers: Numbers | None) -> str:
    return f"{numbers['queue_ms']:.1f} + {numbers['compute_ms']:.1f} ({numbers['batch']:.1f})" if numbers else ""


def _systems(results: Numbers) -> None:
    rows = []
    for name, closed in results["closed"].items():
        _, best = peak(closed)
        memory = results["memory_mb"][name]
        sender = best["sender_cpu_ms"] if best["sender_cpu_ms"] < best["cpu_ms"] / 2 else None  # else they are one process
        rows.append((name, best["cpu_ms"], sender, memory["idle"], memory["peak"], results["start_up_seconds"][name]))
    header = ("system", "processor ms a photo", "of who sends", "memory idle, MB", "at most, MB", "start to ready, s")
    print_table("Systems", header, rows)


def _share(others: float) -> str:
    return f"{others:.0%}" if others else ""


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}" if value >= 10 else f"{value:.1f}"


if __name__ == "__main__":
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else RESULTS / "serving.json"
    print_tables(json.loads(file.read_text(encoding="utf-8"))["results"])
