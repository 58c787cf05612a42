"""Speed of the reference game's renderer: training pairs a second, and where a picture's time goes.

``python -m benchmarks.renderer [--pictures N] [--processes 1 2]``

A pair is what ``python -m game.render_dataset`` writes: a random character and scene drawn at 256 x 256 from 512 x 512
samples, the JPEG, the label PNG, landmarks and parameters, in a tar file. Processes run at the same time, one thread each,
and are timed together after each has drawn every style once.

Why numba and not Warp: on one and the same scene of the spike before this renderer, numba's kernels drew 42 pictures a
second and core with hair and 78 without, Warp's on the CPU 43-48 and 125; that bought nothing with hair, and Warp's wheel
is 149 MB against numba's 4. The GPU that Warp's kernels would also run on is not where previews are drawn.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.synchronize import Barrier
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import game.renderer
from benchmarks import report
from game import render_dataset
from game.assembly import Assembly
from game.character import Character
from game.render_dataset import Settings, draw, encode
from game.renderer import Renderer
from game.scene import Scene
from game.shard_writer import new_shard

SEED = 20
STAGES = ("sample", "rig", "attach", "rasterise", "shadow map", "shade", "draw in all", "encode", "pair in all")


def main() -> None:
    """Measure, print the tables, write ``results/renderer.json``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.renderer", description=__doc__.partition("\n")[0])
    parser.add_argument("--pictures", type=int, default=150, help="pictures per process (default: 150)")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="numbers of processes to try (default: 1 2)")
    options = parser.parse_args()
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    rates = {str(count): pairs_per_second(count, options.pictures) for count in options.processes}
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        stages = pool.apply(stage_times, (min(options.pictures, 100),))
    report.print_table("Training pairs", ("processes", "pairs a second"), list(rates.items()))
    rows = [(stage, times["median"], times["p95"]) for stage, times in stages.items()]
    report.print_table("One pair, milliseconds", ("stage", "median", "p95"), rows)
    path = report.write("renderer", {"pairs_per_second": rates, "milliseconds": stages}, ("numba", "opencv-python-headless"))
    print(f"\nwrote {path}")


def pairs_per_second(processes: int, pictures: int) -> float:
    """Finished pairs a second of processes that run at the same time."""
    context = multiprocessing.get_context("spawn")
    barrier, spans = context.Barrier(processes), context.Queue()
    with TemporaryDirectory() as folder:
        workers = [
            context.Process(target=_write_pairs, args=(Path(folder) / f"{number}.tar", number, pictures, barrier, spans))
            for number in range(processes)
        ]
        for worker in workers:
            worker.start()
        times = [spans.get() for _ in workers]
        for worker in workers:
            worker.join()
    return round(processes * pictures / max(times), 1)


def _write_pairs(path: Path, number: int, pictures: int, barrier: Barrier, spans: multiprocessing.Queue[float]) -> None:
    renderer, settings = Renderer(), Settings(count=pictures, seed=SEED + number)
    _warm_up(renderer)
    barrier.wait()
    start = time.perf_counter()
    with new_shard(path) as add:
        for index in range(pictures):
            add(f"{index:08d}", encode(*draw(settings, index, renderer, []), settings.seed))
    spans.put(time.perf_counter() - start)


def _warm_up(renderer: Renderer) -> None:
    """Compile the kernels, and prepare every hair style and every pair of spectacles, which happens once per process."""
    for hair in range(len(renderer.styles.hair)):
        for glasses in range(len(renderer.styles.eyewear)):
            renderer.render(Character(style={"hair": hair}), replace(Scene.studio(renderer.size), glasses=glasses))


def stage_times(pictures: int) -> dict[str, dict[str, float]]:
    """Milliseconds of every stage over random pictures: median, 95th percentile."""

    renderer = Renderer()
    settings = Settings(count=pictures, seed=SEED)
    times: dict[str, list[float]] = {stage: [] for stage in STAGES}
    timed = (
        (render_dataset, "sample_character", "sample"),
        (render_dataset, "sample_scene", "sample"),
        (renderer.rig, "vertices", "rig"),
        (Assembly, "place", "attach"),
        (renderer._buffers, "draw", "rasterise"),
        (renderer, "_lights", "shadow map"),
        (game.renderer, "shade_picture", "shade"),
        (renderer, "render", "draw in all"),
    )
    _warm_up(renderer)
    for index in range(pictures):
        spent = dict.fromkeys(STAGES, 0.0)
        with _stopwatches(spent, timed):
            start = time.perf_counter()
            drawn = render_dataset.draw(settings, index, renderer, [])
            before = time.perf_counter()
            render_dataset.encode(*drawn, settings.seed)
            spent["encode"] = time.perf_counter() - before
            spent["pair in all"] = time.perf_counter() - start
        for stage, seconds in spent.items():
            times[stage].append(1e3 * seconds)
    return {stage: report.summary(values) for stage, values in times.items()}


@contextmanager
def _stopwatches(spent: dict[str, float], timed: tuple[tuple[Any, str, str], ...]) -> Iterator[None]:
    """Let functions and methods add their time to a stage for a while."""
    originals = [(owner, name, getattr(owner, name)) for owner, name, _ in timed]

    def watched(call: Callable[..., Any], stage: str) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **options: Any) -> Any:
            start = time.perf_counter()
            result = call(*arguments, **options)
            spent[stage] += time.perf_counter() - start
            return result

        return wrapper

    for (owner, name, original), (_, _, stage) in zip(originals, timed, strict=True):
        setattr(owner, name, watched(original, stage))
    try:
        yield
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)


if __name__ == "__main__":
    main()
