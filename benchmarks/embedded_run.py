"""The embedded client on some photos in a fresh process, for `benchmarks.embedded`.

``python -m benchmarks.embedded_run CORES REPEATS MODELS PHOTO...`` prints one JSON object: start-up, milliseconds per
stage and per photo, peak memory. The process is pinned to CORES cores and uses as many threads.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import defaultdict


def main() -> None:
    """Time start-up, then every stage of every photo."""
    cores, repeats, models, photos = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4:]
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    start = time.perf_counter()
    from sdk import FaceParamClient

    imported = time.perf_counter()
    client = FaceParamClient.embedded(models or None, threads=cores)
    made = time.perf_counter()
    client.infer(photos[0])
    first = time.perf_counter()
    start_up = {
        "import": imported - start,
        "client": made - imported,
        "first photo": first - made,
        "total": first - start,
    }
    times: dict[str, list[float]] = defaultdict(list)
    for _ in range(repeats):
        for photo in photos:
            cpu = time.process_time()
            timings = client.infer(photo).timings
            times["cpu"].append(1e3 * (time.process_time() - cpu))
            for stage, value in timings.items():
                times[stage].append(value)
    from benchmarks.report import peak_memory

    print(json.dumps({"times": times, "start_up_ms": {k: 1e3 * v for k, v in start_up.items()}, "peak_mb": peak_memory()}))


if __name__ == "__main__":
    main()
