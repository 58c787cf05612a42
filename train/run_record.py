"""``run.json``: what a run was, so that it can be repeated and its weights can be accounted for."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import torch

from train.provenance import commit, processor, version

FILE = "run.json"
PACKAGES = ("torch", "lightning-fabric", "numpy", "opencv-python-headless", "onnxruntime")


def write_record(options: Any, data: dict[str, Any], processes: int) -> None:
    """Add this start of a run to ``run.json`` in its folder: one entry per start, the latest last.

    Args:
        options: a dataclass with the field ``out``.
        data: what the data are (:meth:`train.loop.Task.fingerprint`).
    """
    path = Path(options.out) / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    starts = json.loads(path.read_text()) if path.is_file() else []
    starts.append(
        {
            "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
            "options": {name: _plain(value) for name, value in dataclasses.asdict(options).items()},
            "data": data,
            "commit": commit(),
            "versions": {name: version(name) for name in PACKAGES} | {"python": platform.python_version()},
            "machine": _machine(processes),
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
    )
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(starts, indent=1) + "\n", encoding="utf-8")
    temporary.rename(path)


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float | str | bool | type(None)) else str(value)


def _machine(processes: int) -> dict[str, Any]:
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {"processor": processor(), "cores": os.cpu_count(), "gpus": gpus, "processes": processes}
