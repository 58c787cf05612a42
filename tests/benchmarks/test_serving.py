"""The parts of the serving benchmark that need no server: schedules, windows, counters, tables."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from benchmarks.serving import without_batching
from benchmarks.serving_load import Load, arrivals, closed, open_loop
from benchmarks.serving_probe import Counters, busy_seconds, cpu_seconds, memory_mb, parse, stages
from benchmarks.serving_system import Run, combined, divided, percentiles
from benchmarks.serving_tables import print_tables, ratio
from sdk import errors
from sdk.models import find_models

METRICS = """# HELP nv_inference_count Number of inferences performed (does not include cached requests)
# TYPE nv_inference_count counter
nv_inference_count{model="align",version="1"} 12
nv_inference_count{model="face_params",version="1"} 10
nv_inference_exec_count{model="align",version="1"} 4
nv_inference_request_success{model="align",version="1"} 12
nv_inference_request_failure{model="align",reason="REJECTED",version="1"} 3
nv_inference_request_duration_us{model="face_params",version="1"} 500000
nv_inference_queue_duration_us{model="align",version="1"} 30000
nv_inference_compute_input_duration_us{model="align",version="1"} 1000
nv_inference_compute_infer_duration_us{model="align",version="1"} 1.2e+05
nv_inference_compute_output_duration_us{model="align",version="1"} 2000
nv_cpu_utilization 0.5
"""


def numbers(rate: float = 40.0, **more: Any) -> dict[str, Any]:
    load = Load(1.0, latencies_ms=[20.0, 30.0], photos=2, cpu_seconds=0.004)
    return combined([Run([load], {}, 0.08, 0.1)]) | {"photos_per_second": rate, "rounds": [rate] * 3} | more


def test_percentiles() -> None:
    assert percentiles(list(range(101))) == {"p50_ms": 50, "p95_ms": 95, "p99_ms": 99, "count": 101}
    assert percentiles([]) == {"p50_ms": None, "p95_ms": None, "p99_ms": None, "count": 0}


def test_arrivals_are_poisson_and_the_same_for_the_same_seed() -> None:
    times = arrivals(50, 400, seed=1)
    gaps = np.diff(times)
    assert times[0] >= 0 and times[-1] < 400 and (gaps >= 0).all()
    assert len(times) == pytest.approx(20_000, rel=0.03)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)  # exponential
    assert np.array_equal(times, arrivals(50, 400, seed=1))
    assert len(times) != len(arrivals(50, 400, seed=2))


def test_a_closed_loop_keeps_so_many_on_their_way_and_counts_what_ends_within_its_time() -> None:
    now, most = 0, 0

    async def infer(photo: Any) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.02)
        now -= 1

    load = asyncio.run(closed(infer, b"", concurrency=5, seconds=0.2))
    assert most == 5
    assert 5 <= len(load.latencies_ms) <= 50  # 45 to 50 on a quiet machine
    assert load.photos >= len(load.latencies_ms) + 5  # everyone's first photo does not count
    assert min(load.latencies_ms) >= 20 and not load.errors


def test_an_open_loop_measures_from_when_a_photo_should_have_been_sent_and_counts_errors_by_name() -> None:
    calls = 0

    async def infer(photo: Any) -> None:
        nonlocal calls
        calls += 1
        if calls % 2:
            raise errors.ServiceOverloadedError("full")

    load = asyncio.run(open_loop(infer, b"", rate=200, seconds=0.2, seed=3))
    offered = len(arrivals(200, 0.2, seed=3))
    assert calls == len(load.late_ms) == offered
    assert load.errors == {"ServiceOverloadedError": (offered + 1) // 2}
    assert load.photos == len(load.latencies_ms) == offered // 2
    assert min(load.late_ms) >= -1  # a sleep may end a moment early


def test_other_errors_are_not_swallowed() -> None:
    async def infer(photo: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(closed(infer, b"", concurrency=1, seconds=0.1))


def test_counters_are_read_and_become_milliseconds_per_photo() -> None:
    counters = parse(METRICS)
    assert counters["align"] == Counters(12, 12, 4, 0, 30000, 1000, 120000, 2000)
    assert stages(counters) == {
        "align": {"queue_ms": 3.0, "compute_ms": 12.3, "batch": 3.0},  # a second look is part of its photo
        "face_params": {"request_ms": 50.0},
    }
    assert counters["align"] + counters["align"] - counters["align"] == counters["align"]


@pytest.mark.parametrize(
    ("request_", "key", "whole"),
    [({"loop": "closed", "concurrency": 8}, "concurrency", 8), ({"loop": "open", "rate": 90.0, "seed": 1}, "rate", 90.0)],
)
def test_a_load_is_divided_among_senders(request_: dict[str, Any], key: str, whole: float) -> None:
    parts = divided(request_, 3)
    assert len(parts) == 3 and sum(part[key] for part in parts) == whole
    assert divided(request_, 1) == [request_]
    assert len({part.get("seed", i) for i, part in enumerate(parts)}) == 3


def test_there_are_no_senders_without_players() -> None:
    assert divided({"concurrency": 2}, 4) == [{"concurrency": 1}, {"concurrency": 1}]


def test_rounds_are_put_together() -> None:
    runs = [
        Run([Load(2.0, [10.0] * rate, {"ServiceTimeoutError": 1}, photos=rate, cpu_seconds=0.01)], {}, 0.1, 0.2)
        for rate in (20, 40, 300)
    ]
    result = combined(runs)
    assert result["rounds"] == [10, 20, 150] and result["photos_per_second"] == 20
    assert result["count"] == 360 and result["errors"] == {"ServiceTimeoutError": 3}
    assert result["cpu_ms"] == pytest.approx(1e3 * 0.3 / 360, abs=1e-3)
    assert "stages" not in result and "offered" not in result


def test_ratios_are_of_what_was_measured_one_after_the_other() -> None:
    results = {"a": {"1": {"rounds": [10, 20, 30]}}, "b": {"1": {"rounds": [5, 40, 15]}}}
    assert ratio(results, "a", "b", "1") == 2
    assert ratio({"a": {"1": {"rounds": [10]}}, "b": {"1": {"rounds": [0.0]}}}, "a", "b", "1") is None


def test_this_process_takes_memory_and_time() -> None:
    session = os.getsid(0)
    assert memory_mb(session) > 10
    assert 0 < cpu_seconds(session) <= busy_seconds()
    assert memory_mb(2**22 + 1) == 0  # there is no such process


def test_the_copy_without_batching_differs_in_that_only(tmp_path: Path) -> None:
    models = find_models().root
    copy = without_batching(models, tmp_path / "copy")
    assert find_models(copy).version() == find_models().version()
    before, after = (text_format.Parse((m / "align/config.pbtxt").read_text(), pb.ModelConfig()) for m in (models, copy))
    assert before.HasField("dynamic_batching") and not after.HasField("dynamic_batching")
    before.ClearField("dynamic_batching")
    assert before == after


@pytest.mark.parametrize("systems", [("server",), ("server", "without batching", "embedded", "torch eager")])
def test_tables(systems: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    stage = {model: {"queue_ms": 1.0, "compute_ms": 2.0, "batch": 1.5} for model in ("encoder", "align", "decode")}
    measured = numbers(stages=stage | {"face_params": {"request_ms": 9.0}})
    results = {
        "plan": {"photos_at": 8},
        "closed": {name: {"1": measured, "8": measured} for name in systems},
        "photos": {name: {"512 x 512, JPEG": measured} for name in systems},
        "open": {"0.5": numbers(offered=4, late_p95_ms=0.5, errors={"ServiceOverloadedError": 2})},
        "start_up_seconds": dict.fromkeys(systems, 1.5),
        "memory_mb": {name: {"idle": 100.0, "peak": 200.0} for name in systems},
    }
    print_tables(results)
    printed = capsys.readouterr().out
    assert "| 8 " in printed and "40.0 (25, 30)" in printed
    assert "ServiceOverloadedError 50.0%" in printed
    assert printed.index("| decode") < printed.index("| align") < printed.index("| encoder")
    assert ("server / torch eager" in printed) == (len(systems) > 1)
