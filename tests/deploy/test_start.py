"""deploy/start.sh: with a tritonserver that only prints its arguments, and with the real one."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
import skimage.data
import tritonclient.grpc as triton
import trustme
from tritonclient.utils import InferenceServerException

from export import serve
from export.triton_environment import TritonEnvironment, triton_environment
from sdk import contract
from sdk.errors import UnsupportedImageError, from_message
from sdk.models import SCHEMA_FILE
from sdk.photo_input import picture_file

ROOT = Path(__file__).parents[2]
START = ROOT / "deploy/start.sh"
MODELS = ROOT / "model_repository"
ADMIN = "triton-grpc-protocol-faceparam-admin"
KEY = "k" * 32


@pytest.fixture
def here(tmp_path: Path) -> dict[str, str]:
    """The environment for start.sh: nothing given, and a tritonserver that prints its arguments."""
    fake = tmp_path / "bin/tritonserver"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    (tmp_path / "tls").mkdir()
    (tmp_path / "secrets").mkdir()
    return {
        "PATH": f"{fake.parent}:{os.environ['PATH']}",
        "FACEPARAM_MODELS": str(MODELS),
        "FACEPARAM_TLS": str(tmp_path / "tls"),
        "FACEPARAM_SECRETS": str(tmp_path / "secrets"),
    }


def arguments(environment: dict[str, str]) -> list[str]:
    done = subprocess.run([START], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def complaint(environment: dict[str, str]) -> str:
    done = subprocess.run([START], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, ""), done
    return done.stderr


def give(environment: dict[str, str], *names: str) -> None:
    for name in names:
        folder = "FACEPARAM_SECRETS" if name == "admin-key" else "FACEPARAM_TLS"
        Path(environment[folder], name).write_text(f"{KEY}\n")


@pytest.mark.parametrize("certificates", [(), ("tls.crt", "tls.key"), ("tls.crt", "tls.key", "client-ca.crt")])
def test_flags_are_those_of_the_local_server(here: dict[str, str], certificates: tuple[str, ...]) -> None:
    give(here, "admin-key", *certificates)
    files = [Path(here["FACEPARAM_TLS"], name) for name in certificates] + [None] * (3 - len(certificates))
    options = serve.Options(host="0.0.0.0", tls_certificate=files[0], tls_key=files[1], tls_client_ca=files[2])
    local = serve.arguments(options, MODELS, KEY, "onnxruntime")
    closed = [flag.replace("logging:", "logging,inference:") if "http-restricted" in flag else flag for flag in local]
    assert sorted(arguments(here)) == sorted(closed)


def test_without_a_key_file_the_key_is_random(here: dict[str, str]) -> None:
    keys = {argument for _ in range(2) for argument in arguments(here) if "grpc-restricted" in argument}
    assert len(keys) == 2
    assert all(len(key.rpartition("=")[2]) == 64 for key in keys)


def test_tensorrt_takes_the_other_configuration(here: dict[str, str], tmp_path: Path) -> None:
    models = tmp_path / "models"
    for name in contract.models():
        (models / name / "configs").mkdir(parents=True)
        (models / name / "configs/tensorrt.pbtxt").touch()
        (models / name / "1").mkdir()
        (models / name / "1/model.plan").touch()
    shutil.copy(MODELS / SCHEMA_FILE, models)
    here |= {"FACEPARAM_MODELS": str(models), "FACEPARAM_BACKEND": "tensorrt"}
    assert "--model-config-name=tensorrt" in arguments(here)
    (models / "align/1/model.plan").unlink()
    assert "align has no model.plan" in complaint(here)
    (models / SCHEMA_FILE).unlink()
    assert "build the plans on this kind of GPU first" in complaint(here)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["tls.crt"], "tls.key belong together"),
        (["tls.key"], "tls.key belong together"),
        (["client-ca.crt"], "client-ca.crt needs"),
    ],
)
def test_half_of_tls_is_an_error(here: dict[str, str], given: list[str], said: str) -> None:
    give(here, *given)
    assert said in complaint(here)


@pytest.mark.parametrize("key", ["", "short", "sixteen letters, one space", "x" * 16 + ":y=z"])
def test_a_bad_key_is_an_error(here: dict[str, str], key: str) -> None:
    Path(here["FACEPARAM_SECRETS"], "admin-key").write_text(key)
    assert "admin-key" in complaint(here)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_what_may_not_be_read_is_an_error(here: dict[str, str]) -> None:
    give(here, "tls.crt", "tls.key")
    Path(here["FACEPARAM_TLS"], "tls.key").chmod(0)
    assert "may not read it" in complaint(here)
    Path(here["FACEPARAM_TLS"]).chmod(0)
    assert "may not look into" in complaint(here)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [("FACEPARAM_BACKEND", "torch", "not 'torch'"), ("FACEPARAM_MODELS", "/nowhere", "no model repository in /nowhere")],
)
def test_wrong_settings_are_errors(here: dict[str, str], variable: str, value: str, said: str) -> None:
    assert said in complaint(here | {variable: value})


@pytest.mark.parametrize("script", sorted((ROOT / "deploy").glob("*.sh")), ids=lambda path: path.name)
def test_shellcheck(script: Path) -> None:
    assert os.access(script, os.X_OK)
    done = subprocess.run(
        [Path(sysconfig.get_path("scripts"), "shellcheck"), script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


# With the real server.


@pytest.fixture(scope="module")
def installed() -> TritonEnvironment:
    return triton_environment()


@contextmanager
def started(installed: TritonEnvironment, folder: Path) -> Iterator[dict[str, int]]:
    """start.sh with PyPI's tritonserver, `tls` and `secrets` of a folder; yields the ports."""
    real = folder / "bin/tritonserver"
    real.parent.mkdir()
    backends = installed.lay_out(folder)
    libraries = installed.packages / "nvidia_pytriton.libs"
    real.write_text(
        f"#!/bin/sh\ncd {installed.packages}\n"
        f'LD_LIBRARY_PATH={libraries} exec {installed.server} --backend-directory {backends} "$@"\n'
    )
    real.chmod(0o755)
    sockets = {name: socket.create_server(("127.0.0.1", 0)) for name in ("GRPC", "HTTP", "METRICS")}
    ports = {name: s.getsockname()[1] for name, s in sockets.items()}
    for s in sockets.values():
        s.close()
    environment = {
        "PATH": f"{real.parent}:{os.environ['PATH']}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "FACEPARAM_MODELS": str(MODELS),
        "FACEPARAM_ADDRESS": "127.0.0.1",
        "FACEPARAM_TLS": str(folder / "tls"),
        "FACEPARAM_SECRETS": str(folder / "secrets"),
        **{f"FACEPARAM_{name}_PORT": str(port) for name, port in ports.items()},
    }
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen([START], env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
        until = time.monotonic() + 60
        while ask(ports["HTTP"], "/v2/health/ready") != 200:
            assert process.poll() is None and time.monotonic() < until, log.read_text(errors="replace")[-3000:]
            time.sleep(0.1)
        yield ports
        process.terminate()
        assert process.wait(20) == 0  # bash became tritonserver: it heard SIGTERM
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def ask(port: int, path: str, body: bytes | None = None) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", data=body, timeout=2) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def images(*files: bytes) -> list[triton.InferInput]:
    data = np.array([[file] for file in files], object)
    return [triton.InferInput(contract.IMAGE.name, list(data.shape), "BYTES").set_data_from_numpy(data)]


def test_the_real_server_takes_the_flags(installed: TritonEnvironment, tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/admin-key").write_text(f"{KEY}\n")
    portrait = picture_file(skimage.data.astronaut())
    with started(installed, tmp_path) as ports, triton.InferenceServerClient(f"127.0.0.1:{ports['GRPC']}") as client:
        assert client.infer("face_params", images(portrait)).as_numpy("face_count").item() == 1
        assert client.infer("schema", []).as_numpy("schema").item() == (MODELS / SCHEMA_FILE).read_bytes()

        with pytest.raises(InferenceServerException) as caught:
            client.infer("decode", images(portrait, b"no picture", portrait))
        error = from_message(caught.value.message())
        assert isinstance(error, UnsupportedImageError) and error.photo == 1

        with pytest.raises(InferenceServerException, match="restricted"):
            client.get_model_config("align")
        assert client.get_model_config("align", headers={ADMIN: KEY}).config.name == "align"

        http = ports["HTTP"]
        assert ask(http, "/v2/health/live") == ask(ports["METRICS"], "/metrics") == 200
        assert ask(http, "/v2/models/schema/infer", b'{"inputs": []}') == ask(http, "/v2/models/align/config") == 403
    assert KEY not in (tmp_path / "log").read_text(errors="replace")


@pytest.mark.parametrize("mutual", [False, True], ids=["TLS", "mutual TLS"])
def test_the_real_server_speaks_tls(installed: TritonEnvironment, tmp_path: Path, mutual: bool) -> None:
    tls, authority, clients = tmp_path / "tls", trustme.CA(), trustme.CA()
    tls.mkdir()
    server = authority.issue_cert("localhost")
    server.private_key_pem.write_to_path(tls / "tls.key")
    for pem in server.cert_chain_pems:
        pem.write_to_path(tls / "tls.crt", append=True)
    if mutual:
        clients.cert_pem.write_to_path(tls / "client-ca.crt")
    root, client = authority.cert_pem.bytes(), clients.issue_cert("game-server")
    shown = grpc.ssl_channel_credentials(root, client.private_key_pem.bytes(), client.cert_chain_pems[0].bytes())
    strange = trustme.CA().issue_cert("game-server")
    forged = grpc.ssl_channel_credentials(root, strange.private_key_pem.bytes(), strange.cert_chain_pems[0].bytes())
    with started(installed, tmp_path) as ports:
        target = f"localhost:{ports['GRPC']}"
        assert answers(grpc.secure_channel(target, shown))
        assert answers(grpc.secure_channel(target, grpc.ssl_channel_credentials(root))) is not mutual
        assert answers(grpc.secure_channel(target, forged)) is not mutual
        assert not answers(grpc.insecure_channel(target))
        assert not answers(grpc.secure_channel(target, grpc.ssl_channel_credentials(clients.cert_pem.bytes())))


def answers(channel: grpc.Channel) -> bool:
    with channel:
        live = triton.service_pb2_grpc.GRPCInferenceServiceStub(channel).ServerLive
        try:
            return bool(live(triton.service_pb2.ServerLiveRequest(), timeout=5).live)
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE, error
            return False
