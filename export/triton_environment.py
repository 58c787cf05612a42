"""A real `tritonserver` without Docker: the one that PyPI's `nvidia-pytriton` carries, in an environment of its own.

The environment lies in the user's cache (``FACEPARAM_CACHE``, or ``~/.cache/faceparam``) and is made once. It is apart
from the caller's because that server's Python backend wants numpy below 2 (with numpy 2 its outputs come back empty).
Its only backend is Python; ``export/triton_backends`` adds `onnxruntime` and `tensorrt` by way of it, so that the same
model repository runs here and in NVIDIA's container.
"""

from __future__ import annotations

import hashlib
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

PACKAGES = ("nvidia-pytriton==0.7.0", "numpy==1.26.4", "onnxruntime==1.23.2", "opencv-python-headless==4.11.0.86")
BACKENDS = Path(__file__).parent / "triton_backends"
SDK = Path(sdk.__file__).parent
"""The Python models import it."""


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
    def backends(self) -> Path:
        """Its backend directory: `python`, and ours."""
        return self.root / "backends"

    def start(self, arguments: list[str], threads: int, output: BinaryIO) -> subprocess.Popen[bytes]:
        """Start the server in a session of its own, so that Ctrl-C reaches it through :mod:`export.serve` only.

        ``threads`` of each model instance; what it prints goes to ``output``. Its Python runs isolated and heeds no
        PYTHONPATH, but finds what lies in the working directory: that is ``site-packages``.
        """
        variables = {
            **os.environ,
            "LD_LIBRARY_PATH": str(self.packages / "nvidia_pytriton.libs"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "FACEPARAM_THREADS": str(threads),
            "OMP_NUM_THREADS": str(threads),
        }
        command = [str(self.server), "--backend-directory", str(self.backends), *arguments]
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
    """The environment, made now if it is not there yet (a minute, about 600 MB).

    Raises:
        TritonInstallError: a package could not be installed.
    """
    stamp = hashlib.sha256(" ".join((*PACKAGES, sys.version)).encode()).hexdigest()[:10]
    cache = Path(os.environ.get("FACEPARAM_CACHE") or Path.home() / ".cache/faceparam")
    environment = TritonEnvironment(cache / f"triton-{stamp}")
    if not (environment.root / "complete").is_file():
        _install(environment)
    _lay_out_backends(environment)
    return environment


def _install(environment: TritonEnvironment) -> None:
    log.info("Installing Triton into %s (once) ...", environment.root)
    shutil.rmtree(environment.root, ignore_errors=True)
    venv.create(environment.root, with_pip=True)
    command = [str(environment.root / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise TritonInstallError(f"Triton could not be installed: {done.stderr.strip() or done.stdout.strip()}")
    (environment.root / "complete").touch()


def _lay_out_backends(environment: TritonEnvironment) -> None:
    """Triton's Python backend with the stub for this Python, and links to ours."""
    python = environment.backends / "python"
    if not python.is_dir():
        carried = environment.packages / "pytriton/tritonserver"
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        shutil.copytree(carried / "backends/python", python)
        shutil.copy2(carried / f"python_backend_stubs/{version}/triton_python_backend_stub", python)
        _check_libraries(environment, python / "triton_python_backend_stub")
    links = {environment.packages / "sdk": SDK, **{environment.backends / b.name: b for b in BACKENDS.iterdir() if b.is_dir()}}
    for link, target in links.items():
        if link.resolve() != target.resolve():
            link.unlink(missing_ok=True)
            link.symlink_to(target)


def _check_libraries(environment: TritonEnvironment, stub: Path) -> None:
    """The stub needs Python's shared library, which some builds of Python lack."""
    variables = {**os.environ, "LD_LIBRARY_PATH": str(environment.packages / "nvidia_pytriton.libs")}
    listed = subprocess.run(["ldd", str(stub)], capture_output=True, text=True, check=False, env=variables).stdout
    missing = [line.split()[0] for line in listed.splitlines() if "not found" in line]
    if missing:
        shutil.rmtree(environment.backends, ignore_errors=True)
        raise TritonInstallError(
            f"Triton's Python backend needs {', '.join(missing)}, which this machine does not have. On Debian and Ubuntu: "
            f"apt install libpython{sys.version_info.major}.{sys.version_info.minor}"
        )
