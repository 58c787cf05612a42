"""A real `tritonserver` without Docker: the one that PyPI's `nvidia-pytriton` carries, in an environment of its own.

The environment lies in the user's cache (``FACEPARAM_CACHE``, or ``~/.cache/faceparam``) and is made once. It is apart
from the caller's because that server's Python backend wants numpy below 2 (with numpy 2 its outputs come back empty).
Nothing in it belongs to one clone of this repository, so that clones may share it.
Its only backend is Python; ``export/triton_backends`` adds `onnxruntime` and `tensorrt` by way of it, so that the same
model repository runs here and in NVIDIA's container.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import sdk

log = logging.getLogger(__name__)

ONNX_RUNTIME = "onnxruntime==1.31.1" if sys.version_info >= (3, 11) else "onnxruntime==1.23.2"
"""As in constraints.txt: `align` takes 0.7 of the time that it took with 1.23, which is the last for Python 3.10."""
PACKAGES = ("nvidia-pytriton==0.7.0", "numpy==1.26.4", ONNX_RUNTIME, "opencv-python-headless==4.11.0.86")
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(2**28), "MALLOC_TRIM_THRESHOLD_": str(2**30)}
"""Memory of pictures is used again rather than given back to the system and zeroed anew: a tenth of a photo's time."""
BACKENDS = Path(__file__).parent / "triton_backends"
OURS = (Path(sdk.__file__).parent, Path(__file__).parent)
"""The packages `sdk` and `export`, which Python models and backends import."""


class TritonInstallError(RuntimeError):
    """The environment could not be made; the message holds what pip said."""


@dataclass(frozen=True)
class TritonEnvironment:
    """Where the server and what belongs to it lie."""

    root: Path

    @property
    def packages(self) -> Path:
        """``site-packages`` of the environment."""
        return self.root / f"lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"

    @property
    def server(self) -> Path:
        """The program."""
        return self.packages / "pytriton/tritonserver/bin/tritonserver"

    @property
    def python_backend(self) -> Path:
        """Triton's Python backend with the stub for this Python."""
        return self.root / "python"

    def lay_out(self, work: Path) -> Path:
        """A server's backend directory, made in ``work``, an empty folder of its own that stays for as long as it runs.

        Its Python runs isolated and heeds no PYTHONPATH. But it looks for packages in the folder of the Python backend,
        where ours are linked, and in the working directory: that must be :attr:`packages`.
        """
        backends = work / "backends"
        shutil.copytree(self.python_backend, backends / "python")
        for package in OURS:
            (backends / "python" / package.name).symlink_to(package)
        for backend in BACKENDS.iterdir():
            if backend.is_dir():
                (backends / backend.name).symlink_to(backend)
        return backends

    def start(self, arguments: list[str], threads: int, output: BinaryIO, work: Path) -> subprocess.Popen[bytes]:
        """Start the server in a session of its own, so that Ctrl-C reaches it through :mod:`export.serve` only.

        ``threads`` of each model instance; what it prints goes to ``output``. ``work`` is as in :meth:`lay_out`.
        """
        backends = self.lay_out(work)
        variables = {
            **os.environ,
            **MALLOC,
            "LD_LIBRARY_PATH": str(self.packages / "nvidia_pytriton.libs"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "FACEPARAM_THREADS": str(threads),
            "OMP_NUM_THREADS": str(threads),
            "FACEPARAM_TENSORRT_PATH": os.pathsep.join(_folders_of("tensorrt", "cuda")),
        }
        command = [str(self.server), "--backend-directory", str(backends), *arguments]
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=variables,
            cwd=self.packages,
            start_new_session=True,
        )


def triton_environment() -> TritonEnvironment:
    """The environment, made now if it is not there yet (a minute, about 650 MB).

    Raises:
        TritonInstallError: a package could not be installed.
    """
    stamp = hashlib.sha256(" ".join((*PACKAGES, sys.version)).encode()).hexdigest()[:10]
    cache = Path(os.environ.get("FACEPARAM_CACHE") or Path.home() / ".cache/faceparam")
    environment = TritonEnvironment(cache / f"triton-{stamp}")
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # others wait until it is whole
        if not (environment.root / "complete").is_file():
            _install(environment)
    return environment


def _install(environment: TritonEnvironment) -> None:
    log.info("Installing Triton into %s (once, 650 MB) ...", environment.root)
    shutil.rmtree(environment.root, ignore_errors=True)
    venv.create(environment.root, with_pip=True)
    pip = [str(environment.root / "bin/python"), "-m", "pip", "install", "--disable-pip-version-check", *PACKAGES]
    said = []
    with subprocess.Popen(pip, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        for line in running.stdout or ():
            said.append(line.strip())
            if line.lstrip().startswith(("Downloading", "Installing")):
                log.info("  %s", line.strip())
    if running.returncode:
        raise TritonInstallError(f"Triton could not be installed: {' | '.join(said[-5:])}")
    carried = environment.packages / "pytriton/tritonserver"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copytree(carried / "backends/python", environment.python_backend)
    stub = environment.python_backend / "triton_python_backend_stub"
    shutil.copy2(carried / f"python_backend_stubs/{version}/triton_python_backend_stub", stub)
    _check_libraries(environment, stub)
    (environment.root / "complete").touch()


def _folders_of(*packages: str) -> list[str]:
    """Where packages of this environment lie; those that are not installed are left out."""
    found = [spec for name in packages if (spec := importlib.util.find_spec(name)) is not None]
    return sorted({str(Path(place).parent) for spec in found for place in spec.submodule_search_locations or ()})


def _check_libraries(environment: TritonEnvironment, stub: Path) -> None:
    """The stub needs Python's shared library, which some builds of Python lack."""
    variables = {**os.environ, "LD_LIBRARY_PATH": str(environment.packages / "nvidia_pytriton.libs")}
    listed = subprocess.run(["ldd", str(stub)], capture_output=True, text=True, check=False, env=variables).stdout
    missing = [line.split()[0] for line in listed.splitlines() if "not found" in line]
    if missing:
        raise TritonInstallError(
            f"Triton's Python backend needs {', '.join(missing)}, which this machine does not have. On Debian and Ubuntu: "
            f"apt install libpython{sys.version_info.major}.{sys.version_info.minor}"
        )
