"""The load of `benchmarks.serving`, in a process of its own: photos through one client, many at a time.

``python -m benchmarks.serving_load server HOST:PORT``, ``... embedded`` or ``... torch`` says `{"ready": true}`, then
answers each line of JSON, the arguments of :func:`closed` or :func:`open_loop` and which of them, with one line: a
:class:`Load`. Photos are read before the clock starts.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sdk import AsyncFaceParamClient, FaceParamClient, FaceParamError

TIMEOUT_SECONDS = 60.0
"""Of a photo: far longer than the server lets it wait in its queues, so that a server with too much to do says so itself.
The tritonserver of PyPI (2.51) may crash when a client gives up first (triton-inference-server/server#7368)."""


Infer: TypeAlias = "Callable[[Any], Awaitable[Any]]"


@dataclass
class Load:
    """What one run saw.

    Attributes:
        seconds: that count.
        latencies_ms: of the photos that were answered within them.
        errors: how many of the others failed, by the error's name.
        late_ms: open loop: how much later than meant each photo was sent (this process had no processor).
        photos: answered in all, those that do not count included.
        cpu_seconds: processor time that this process took for them.
    """

    seconds: float
    latencies_ms: list[float] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)
    late_ms: list[float] = field(default_factory=list)
    photos: int = 0
    cpu_seconds: float = 0.0


async def closed(infer: Infer, photo: Any, concurrency: int, seconds: float) -> Load:
    """So many players, each of whom sends the next photo when the last is answered.

    What counts begins when every player has had an answer: before, the queues are shorter than they will be.
    """
    load = Load(seconds)
    begin = end = math.inf
    fresh = concurrency

    async def play() -> None:
        nonlocal begin, end, fresh
        first = True
        while (sent := time.perf_counter()) < end:
            error = await _error_of(infer, photo)
            done = time.perf_counter()
            load.photos += not error
            if begin < done < end:
                _count(load, error, done - sent)
            fresh -= first
            if first and not fresh:
                begin, end = done, done + seconds
            first = False

    await asyncio.gather(*(play() for _ in range(concurrency)))
    return load


async def open_loop(infer: Infer, photo: Any, rate: float, seconds: float, seed: int) -> Load:
    """Photos that arrive by themselves, `rate` a second, whether or not earlier ones have been answered.

    A photo's latency begins when it should have been sent: what delays the sender delays the player.
    """
    load = Load(seconds)
    start = time.perf_counter()

    async def play(meant: float) -> None:
        load.late_ms.append(1e3 * (time.perf_counter() - meant))
        error = await _error_of(infer, photo)
        load.photos += not error
        _count(load, error, time.perf_counter() - meant)

    players = []
    for meant in start + arrivals(rate, seconds, seed):
        await asyncio.sleep(meant - time.perf_counter())
        players.append(asyncio.create_task(play(meant)))
    await asyncio.gather(*players)
    return load


def arrivals(rate: float, seconds: float, seed: int) -> NDArray[np.float64]:
    """Times in [0, seconds) of a Poisson process, ascending: `rate` a second on average, the same for the same seed."""
    rng = np.random.default_rng(seed)
    return np.sort(rng.uniform(0, seconds, rng.poisson(rate * seconds)))


async def _error_of(infer: Infer, photo: Any) -> str:
    """Solve a photo; the name of the error, empty if there was none."""
    try:
        await infer(photo)
    except FaceParamError as error:
        return type(error).__name__
    return ""


def _count(load: Load, error: str, seconds: float) -> None:
    if error:
        load.errors[error] = load.errors.get(error, 0) + 1
    else:
        load.latencies_ms.append(round(1e3 * seconds, 3))


async def _solver(system: str, url: str) -> Infer:
    """What solves a photo, ready to."""
    if system == "server":
        server = AsyncFaceParamClient(url, timeout=TIMEOUT_SECONDS)
        await server.wait_until_ready()
        return server.infer
    if system == "torch":
        from benchmarks.serving_torch import torch_client

        client = torch_client()
    else:
        client = FaceParamClient.embedded()
    client.wait_until_ready()
    threads = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
    return partial(asyncio.get_running_loop().run_in_executor, threads, client.infer)


def _photo(path: Path) -> Any:
    """The bytes of a file, or the array of an .npy file."""
    return np.load(path) if path.suffix == ".npy" else path.read_bytes()


async def _main(system: str, url: str = "") -> None:
    infer = await _solver(system, url)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        loop = {"closed": closed, "open": open_loop}[request.pop("loop")]
        photo = _photo(Path(request.pop("photo")))
        cpu = time.process_time()
        load = await loop(infer, photo, **request)
        load.cpu_seconds = time.process_time() - cpu
        print(json.dumps(asdict(load)), flush=True)


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
