"""Serve the models with Triton, here: no Docker, no GPU.

    python -m export.serve                      # gRPC on 127.0.0.1:8001, until Ctrl-C
    python -m export.serve --grpc-port 9001 --log-file triton.log
    python -m export.serve --backend tensorrt   # the plans of export.build_engines, or an error that says what is missing

It is the real tritonserver with the model repository that NVIDIA's container loads too. The first start installs it.
Started hardened: no model control, no auto-complete, strict readiness, and of Triton's gRPC protocols only those that
inference, health and metadata need."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import tyro

from export.gpu import first_gpu
from export.plan import FP16_FILE, PLAN_FILE, PlanError, check_plan
from export.triton_config import TENSORRT_CONFIG_FILE
from export.triton_environment import TritonInstallError, triton_environment
from sdk.errors import ModelError
from sdk.models import ModelFiles, find_models

log = logging.getLogger(__name__)

RESTRICTED = ("shared-memory", "model-config", "model-repository", "statistics", "trace", "logging")
STOP_SECONDS = 15
SHORT_LIFE = 5.0
"""A Triton that ended so many seconds after it was ready would end again: it is not started anew."""


class TritonError(RuntimeError):
    """Triton did not become ready; the message holds what it said last."""


@dataclass(frozen=True)
class Options:
    """Options; each is a flag of the command line."""

    model_repository: Path | None = None  # default: $FACEPARAM_MODELS, then this clone's
    host: str = "127.0.0.1"
    grpc_port: int = 8001
    http_port: int = 8000  # health and metrics for orchestrators too
    metrics_port: int = 8002
    backend: Literal["auto", "onnxruntime", "tensorrt"] = "auto"  # auto: TensorRT if all plans fit this machine
    threads: int = 1  # CPU threads per model instance
    log_file: Path | None = None  # default: a new file in the temporary folder
    tls_certificate: Path | None = None  # PEM; with --tls-key the server speaks TLS only
    tls_key: Path | None = None
    tls_client_ca: Path | None = None  # PEM; clients must show a certificate that it signed (mutual TLS)
    ready_seconds: float = 120.0  # how long starting may take

    def __post_init__(self) -> None:
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("--tls-certificate and --tls-key belong together")
        if self.tls_client_ca and not self.tls_certificate:
            raise ValueError("--tls-client-ca needs --tls-certificate and --tls-key")


@dataclass(frozen=True)
class Running:
    """A server that is ready. Addresses are ``host:port``."""

    process: subprocess.Popen[bytes]
    grpc: str
    http: str
    metrics: str
    log_file: Path
    admin_key: str
    """Callers of restricted protocols send it as the header ``triton-grpc-protocol-faceparam-admin``."""


@contextlib.contextmanager
def serving(options: Options) -> Iterator[Running]:
    """A server for as long as the context lasts.

    Raises:
        TritonInstallError: Triton could not be installed.
        ModelNotFoundError: there is no model repository.
        PlanError: ``backend`` is "tensorrt", and a plan is missing or does not fit this machine.
        TritonError: it did not become ready.
    """
    files = find_models(options.model_repository)
    backend = choose_backend(options.backend, files)
    environment, repository = triton_environment(), files.root.resolve()
    if " " in str(repository):  # the processes of its models would die, and it would wait for them
        raise TritonError(f"Triton cannot serve from a path with spaces: {str(repository)!r}; move or link the model repository")
    log_file = options.log_file or Path(tempfile.mkstemp(prefix="triton-", suffix=".log")[1])
    key = secrets.token_hex(16)
    grpc, http, metrics = (f"{options.host}:{port}" for port in (options.grpc_port, options.http_port, options.metrics_port))
    with tempfile.TemporaryDirectory(prefix="faceparam-") as work:
        with log_file.open("ab") as output:
            flags = arguments(options, repository, key, backend)
            process = environment.start(flags, options.threads, output, Path(work))
        running = Running(process, grpc, http, metrics, log_file, key)
        memory: set[Path] = set()
        try:
            _wait_until_ready(running, options.ready_seconds)
            memory = shared_memory(process.pid)
            yield running
        finally:
            _stop(process)
            for region in memory:  # a server that crashed leaves it behind, photos in it
                region.unlink(missing_ok=True)


def choose_backend(wish: str, files: ModelFiles) -> str:
    """What runs the networks: "tensorrt" if every plan fits this machine, else "onnxruntime"; logs which and why.

    Raises:
        PlanError: the wish is "tensorrt", and it cannot be.
    """
    if wish == "onnxruntime":
        return wish
    try:
        gpu, version = first_gpu(), tensorrt_version()
        if gpu is None or version is None:
            raise PlanError("there is no " + ("NVIDIA GPU" if gpu is None else "TensorRT: pip install tensorrt cuda-python"))
        for path in files.paths.values():
            check_plan(path.with_name(PLAN_FILE), version, gpu.compute_capability, path.with_name(FP16_FILE))
    except PlanError as error:
        if wish == "tensorrt":
            raise
        log.info("The networks run on ONNX Runtime: %s", error)
        return "onnxruntime"
    log.info("The networks run on TensorRT %s, %s", version, gpu.name)
    return "tensorrt"


def tensorrt_version() -> str | None:
    """Version of the installed package `tensorrt`, which is not imported."""
    owners = metadata.packages_distributions().get("tensorrt", [])
    return metadata.version(owners[0]) if owners else None


def arguments(options: Options, repository: Path, admin_key: str, backend: str) -> list[str]:
    """tritonserver's command line."""
    flags = {
        "model-repository": repository.resolve(),
        "http-address": options.host,
        "grpc-address": options.host,
        "metrics-address": options.host,
        "http-port": options.http_port,
        "grpc-port": options.grpc_port,
        "metrics-port": options.metrics_port,
        "model-control-mode": "none",
        "strict-readiness": "true",
        "exit-on-error": "true",
        "exit-timeout-secs": STOP_SECONDS,
        "grpc-restricted-protocol": f"{','.join(RESTRICTED)}:faceparam-admin={admin_key}",
        "http-restricted-api": f"{','.join(RESTRICTED)}:faceparam-admin={admin_key}",
    }
    if backend == "tensorrt":
        flags["model-config-name"] = Path(TENSORRT_CONFIG_FILE).stem
    if options.tls_certificate and options.tls_key:
        flags |= {
            "grpc-use-ssl": "true",
            "grpc-server-cert": options.tls_certificate.resolve(),
            "grpc-server-key": options.tls_key.resolve(),
        }
    if options.tls_client_ca:
        flags |= {"grpc-use-ssl-mutual": "true", "grpc-root-cert": options.tls_client_ca.resolve()}
    return ["--disable-auto-complete-config", *(f"--{name}={value}" for name, value in flags.items())]


def _wait_until_ready(running: Running, seconds: float) -> None:
    """Raises :class:`TritonError` with the end of the log if the server ends or takes too long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if running.process.poll() is not None:
            raise TritonError(f"Triton ended before it was ready. {_last_words(running.log_file)}")
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{running.http}/v2/health/ready", timeout=1) as answer:
            if answer.status == 200:
                return
        time.sleep(0.1)
    raise TritonError(f"Triton was not ready after {seconds:.0f} s. {_last_words(running.log_file)}")


def _last_words(log_file: Path) -> str:
    lines = log_file.read_text(errors="replace").splitlines()
    errors = [line for line in lines if line.startswith(("E", "error")) and "CUDA" not in line and "NVML" not in line]
    return f"Its log is {log_file}; it ends: " + " | ".join(errors[-3:] or lines[-3:])


def shared_memory(server: int) -> set[Path]:
    """The files in memory by which a server (its process number) exchanges tensors with the processes of its models."""
    maps = Path(f"/proc/{server}/maps").read_text()
    return {Path(path) for path in re.findall(r"(/dev/shm/triton_\S+)", maps)}


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Let it finish what it has begun; then end it, with the processes of its models."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def main(options: Options) -> int:
    """Serve until Ctrl-C or SIGTERM, starting a Triton that crashed anew; returns the exit status."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while True:
            with serving(options) as running:
                ready = time.monotonic()
                log.info("gRPC %s, HTTP %s, metrics %s; log: %s", running.grpc, running.http, running.metrics, running.log_file)
                log.info("Ready. Ctrl-C stops it.")
                status = running.process.wait()
            log.error("Triton ended by itself (status %d). %s", status, _last_words(running.log_file))
            if time.monotonic() - ready < SHORT_LIFE:
                return status or 1
            log.error("Starting it again ...")
    except KeyboardInterrupt:
        log.info("Stopped.")
        return 0
    except (TritonError, TritonInstallError, ModelError, PlanError) as error:
        log.error("%s", error)
        return 1


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    raise SystemExit(main(tyro.cli(Options, description=__doc__)))
