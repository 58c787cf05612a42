"""The same three networks in eager torch, for `benchmarks.embedded`.

``python -m benchmarks.embedded_torch CORES REPEATS PHOTO`` prints one JSON object: milliseconds per network for one photo
at a time."""

from __future__ import annotations

import json
import os
import sys
import time
from collections import defaultdict
from functools import partial
from pathlib import Path


def main() -> None:
    """Time `align`, `regressor` and `encoder`."""
    cores, repeats, photo = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])
    import torch

    from benchmarks.report import milliseconds
    from benchmarks.torch_networks import served
    from sdk import contract
    from sdk.image import decode
    from sdk.letterbox import letterbox

    torch.set_num_threads(cores)
    canvas = torch.from_numpy(letterbox(decode(Path(photo)).pixels)[0])[None]
    modules = served()
    times: dict[str, list[float]] = defaultdict(list)
    with torch.inference_mode():
        known = {contract.CANVAS.name: canvas}
        known |= dict(zip(contract.ALIGN.output_names, modules["align"](canvas), strict=True))
        models = contract.models()
        networks = {name: partial(module, *(known[n] for n in models[name].input_names)) for name, module in modules.items()}
        for _ in range(repeats + 1):
            begin_cpu, total = time.process_time(), 0.0
            for name, network in networks.items():
                (took,) = milliseconds(network, repeats=1, warm_up=0)
                times[name].append(took)
                total += took
            times["total"].append(total)
            times["cpu"].append(1e3 * (time.process_time() - begin_cpu))
    times = {name: series[1:] for name, series in times.items()}  # the first round warms up
    print(json.dumps({"version": torch.__version__, "times": times}))


if __name__ == "__main__":
    main()
