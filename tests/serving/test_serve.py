"""The real Triton on this machine, with the committed model repository: what it opens, what it tells, how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from export.serve import SHORT_LIFE, Running, TritonError, serving, shared_memory
from sdk import REFERENCE, FaceParamClient, errors
from sdk.photo_input import picture_file
from tests.serving.local_server import HANG_SECONDS, free_ports, local_options, wait_until
from tests.serving.same_answer import assert_same

ROOT = Path(__file__).parents[2]
BLACK = np.zeros((9, 9, 3), np.uint8)
MARGIN_SECONDS = 1.0
"""Beyond a deadline, for a busy machine."""


def test_a_bad_file_that_gets_to_the_server_fails_alone(
    remote: FaceParamClient, portrait: NDArray[np.uint8], server: Running
) -> None:
    client = triton.InferenceServerClient(server.grpc)
    image = triton.InferInput("image", [1, 1], "BYTES").set_data_from_numpy(np.array([[b"no picture"]], object))
    with ThreadPoolExecutor(4) as pool:
        good = [pool.submit(remote.infer, portrait) for _ in range(3)]
        with pytest.raises(InferenceServerException) as caught:
            client.infer("face_params", [image])
    assert isinstance(errors.from_message(caught.value.message()), errors.UnsupportedImageError)
    for one in good:
        assert_same(one.result(), good[0].result())


def test_the_server_tells_its_schema(remote: FaceParamClient) -> None:
    assert remote.schema == REFERENCE


@pytest.mark.parametrize("ask", ["get_model_config", "get_inference_statistics", "unload_model"])
def test_protocols_beyond_inference_are_closed(server: Running, ask: str) -> None:
    with pytest.raises(InferenceServerException, match="restricted"):
        getattr(triton.InferenceServerClient(server.grpc), ask)("align")


def test_nobody_there_is_a_connection_error() -> None:
    with pytest.raises(errors.ServiceConnectionError):
        FaceParamClient(f"127.0.0.1:{free_ports(1)[0]}", max_retries=0).infer(BLACK)


@pytest.mark.parametrize("seconds", [0.001, 0.02])
def test_a_deadline_is_kept(remote: FaceParamClient, portrait: NDArray[np.uint8], seconds: float) -> None:
    """With a photo that cannot even be sent in that time."""
    large = picture_file(portrait.repeat(8, 0).repeat(8, 1))
    start = time.monotonic()
    with pytest.raises(errors.ServiceTimeoutError, match=rf"within {seconds:g} s"):
        remote.with_options(timeout=seconds).infer(large)
    assert time.monotonic() - start < seconds + MARGIN_SECONDS


def test_a_port_in_use_is_said(server: Running, tmp_path: Path) -> None:
    taken = int(server.grpc.rpartition(":")[2])
    options = local_options(grpc_port=taken, log_file=tmp_path / "triton.log")
    with pytest.raises(TritonError, match=r"triton\.log"), serving(options):
        pass


def test_nothing_runs_on_when_the_context_ends() -> None:
    with serving(local_options()) as running:
        pass
    assert running.process.poll() is not None
    with pytest.raises(errors.ServiceConnectionError):
        FaceParamClient(running.grpc, max_retries=0).infer(BLACK)


def test_a_triton_that_crashes_is_started_again(portrait: NDArray[np.uint8], tmp_path: Path) -> None:
    """As `python -m export.serve`; Ctrl-C then ends it in order, and nothing stays in shared memory."""
    chosen = local_options()
    ports = [f"--{name}-port={getattr(chosen, f'{name}_port')}" for name in ("grpc", "http", "metrics")]
    command = [sys.executable, "-m", "export.serve", *ports, f"--log-file={tmp_path / 'triton.log'}"]
    with (
        subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as served,
        FaceParamClient(f"127.0.0.1:{chosen.grpc_port}", timeout=HANG_SECONDS) as client,
    ):
        try:
            client.wait_until_ready()
            first = client.infer(portrait)
            wait_until(lambda: bool(children(served.pid)))
            time.sleep(SHORT_LIFE)
            (server,) = children(served.pid)
            left = shared_memory(server)
            assert left
            os.kill(server, signal.SIGKILL)
            wait_until(lambda: children(served.pid) not in ([], [server]))
            client.wait_until_ready()
            assert client.infer(portrait) == first
            assert not any(region.exists() for region in left)
        finally:
            served.send_signal(signal.SIGINT)
            said = served.communicate(timeout=HANG_SECONDS)[1]
    assert served.returncode == 0
    assert "Triton ended by itself (status -9)" in said and said.count("Ready.") == 2 and said.endswith("Stopped.\n")


def children(process: int) -> list[int]:
    """Processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
