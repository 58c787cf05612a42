"""A Triton of one's own for a test: ports, options, what it says about itself, what it leaves when it is killed."""

from __future__ import annotations

import contextlib
import os
import random
import re
import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from export.serve import Options, Running, serving
from export.triton_config import CONFIG_FILE
from sdk.models import find_models

HANG_SECONDS = 180
"""What takes longer hangs; on a free machine nothing that is tested needs a tenth of it."""
PATIENT = {"default_timeout_microseconds": 20_000_000}
"""Queue policy for busy machines: the models' own gives up after 2 seconds, and then answers would depend on the machine."""


def free_ports(count: int) -> list[int]:
    """Ports below those that Linux gives to outgoing connections: a client that looks for a server that is gone must not
    find itself there, nor take the port away."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.SystemRandom().randrange(15_000, 32_000)
        with socket.socket() as probe:
            if port not in ports and probe.connect_ex(("127.0.0.1", port)):
                ports.append(port)
    return ports


def local_options(**changes: Any) -> Options:
    """Options of a server beside any others on this machine."""
    grpc, http, metrics = free_ports(3)
    return replace(Options(grpc_port=grpc, http_port=http, metrics_port=metrics), **changes)


def with_queues(folder: Path, *models: str, **policy: int) -> Path:
    """The committed model repository with another queue policy (fields of Triton's ``ModelQueuePolicy``) of these models, or of
    all."""
    for source in find_models(None).root.iterdir():
        if not source.is_dir():
            (folder / source.name).symlink_to(source.resolve())
            continue
        (folder / source.name).mkdir()
        for part in source.iterdir():
            (folder / source.name / part.name).symlink_to(part.resolve())
        path = folder / source.name / CONFIG_FILE
        config = text_format.Parse(path.read_text(), model_config_pb2.ModelConfig())
        if config.HasField("dynamic_batching") and (not models or config.name in models):
            for field, value in policy.items():
                setattr(config.dynamic_batching.default_queue_policy, field, value)
        path.unlink()
        path.write_text(text_format.MessageToString(config))
    return folder


@contextlib.contextmanager
def mortal(options: Options) -> Iterator[Running]:
    """A server that the test may kill, and that is not waited for at the end."""
    with serving(options) as running:
        yield running
        running.process.kill()


def processes(server: Running) -> list[int]:
    """A server's process, and those of its models."""
    alive = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    return [process for process in alive if _session(process) == server.process.pid]


def _session(process: int) -> int | None:
    with contextlib.suppress(ProcessLookupError):
        return os.getsid(process)
    return None


def metric(server: Running, name: str, *labels: str) -> float:
    """Sum of one of Triton's metrics over the models and reasons that have all these labels (`model="decode"`)."""
    with urllib.request.urlopen(f"http://{server.metrics}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    lines = re.findall(rf"^{name}{{(.*)}} (.*)$", text, re.MULTILINE)
    return sum(float(value) for found, value in lines if all(label in found for label in labels))


def wait_until(condition: Callable[[], bool]) -> None:
    """Return as soon as it is so."""
    until = time.monotonic() + HANG_SECONDS
    while not condition():
        assert time.monotonic() < until, "hangs"
        time.sleep(0.01)
