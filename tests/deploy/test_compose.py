"""The compose file and the Dockerfile, without Docker."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose

from export.serve import STOP_SECONDS
from export.triton_environment import PACKAGES

FOLDER = Path(__file__).parents[2] / "deploy"
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
COMPOSE = yaml.safe_load(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (FOLDER / "compose.yaml").read_text()))


def test_it_follows_the_specification() -> None:
    assert set(PyCompose.from_yaml(yaml.safe_dump(COMPOSE)).service_names()) == {"server", "engines"}


@pytest.mark.parametrize("service", COMPOSE["services"].values(), ids=COMPOSE["services"])
def test_services_may_do_nothing(service: dict[str, Any]) -> None:
    assert service["user"].split(":")[0] != "0" and service["read_only"] is True and service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "network_mode", "pid", "ipc"} & service.keys() or service["network_mode"] == "none"
    assert re.search(r":\d+\.\d+\.\d+$", service["image"])
    assert f"AS {service['build']['target']}\n" in DOCKERFILE
    assert service["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]


def test_only_grpc_is_published_and_only_to_this_machine() -> None:
    server = COMPOSE["services"]["server"]
    assert server["ports"] == ["127.0.0.1:8001:8001"]
    assert int(server["stop_grace_period"].removesuffix("s")) > STOP_SECONDS
    assert "8000/v2/health/ready" in server["healthcheck"]["test"][-1]
    targets = {volume.split(":")[1] for volume in server["volumes"]}
    script = (FOLDER / "start.sh").read_text()
    assert targets == {"/engines", "/tls", "/run/secrets/faceparam"} and all(t in script for t in targets - {"/engines"})


def test_the_images_belong_together() -> None:
    bases = re.findall(r"^FROM (\S+) AS (\w+)", DOCKERFILE, re.MULTILINE)
    assert bases == [
        ("nvcr.io/nvidia/tensorrt:${RELEASE}-py3", "engines"),
        ("nvcr.io/nvidia/tritonserver:${RELEASE}-py3", "server"),
    ]
    assert len(re.findall(r"^ARG RELEASE=\d\d\.\d\d$", DOCKERFILE, re.MULTILINE)) == 1
    assert re.findall(r"^USER (\S+)", DOCKERFILE, re.MULTILINE) == [COMPOSE["services"]["server"]["user"]] * 2
    here = {package for package in PACKAGES if package.startswith(("numpy", "opencv"))}
    assert all(package in DOCKERFILE for package in here)


def test_what_is_copied_is_sent_to_docker() -> None:
    copied = {source for line in re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE) for source in line.split()}
    sent = {line[1:] for line in (FOLDER / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == sent and all((FOLDER.parent / source).exists() for source in copied)
