"""The Kubernetes manifests, without a cluster: against the schemas of a release, and against each other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from export.serve import STOP_SECONDS, Options

FOLDER = Path(__file__).parents[2] / "deploy/kubernetes"
RELEASE = "1.37"
MERGE_KEYS = ("name", "mountPath")
"""By which Kubernetes merges the lists that the patch has."""


def documents(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


def kustomized(name: str) -> list[dict[str, Any]]:
    return [doc for file in yaml.safe_load((FOLDER / name / "kustomization.yaml").read_text())["resources"]
            for doc in documents(FOLDER / name / file)]  # fmt: skip


BASE = kustomized("base")
PATCH = documents(FOLDER / "tensorrt/engines.yaml")[0]


def only(kind: str, name: str = "faceparam") -> dict[str, Any]:
    (found,) = [doc for doc in BASE if (doc["kind"], doc["metadata"]["name"]) == (kind, name)]
    return found


def merged(old: Any, patch: Any) -> Any:
    """A strategic merge, as far as the patch needs one."""
    if isinstance(old, dict) and isinstance(patch, dict):
        return {**old, **{key: merged(old[key], value) if key in old else value for key, value in patch.items()}}
    if isinstance(old, list) and isinstance(patch, list):
        key = next(key for key in MERGE_KEYS[::-1] if key in patch[0])
        by_key = {item[key]: item for item in old}
        return list({**by_key, **{item[key]: merged(by_key.get(item[key], {}), item) for item in patch}}.values())
    return patch


DEPLOYMENTS = {"onnxruntime": only("Deployment"), "tensorrt": merged(only("Deployment"), PATCH)}


@pytest.fixture(params=DEPLOYMENTS)
def deployment(request: pytest.FixtureRequest) -> dict[str, Any]:
    return DEPLOYMENTS[request.param]


@pytest.fixture
def pod(deployment: dict[str, Any]) -> dict[str, Any]:
    return deployment["spec"]["template"]["spec"]


@pytest.fixture
def server(pod: dict[str, Any]) -> dict[str, Any]:
    (container,) = pod["containers"]
    return container


def selects(selector: dict[str, str]) -> bool:
    """Whether a selector finds the server's pods."""
    labels = DEPLOYMENTS["onnxruntime"]["spec"]["template"]["metadata"]["labels"]
    return selector.items() <= labels.items()


@pytest.mark.parametrize("doc", [*BASE, DEPLOYMENTS["tensorrt"]], ids=lambda doc: f"{doc['kind']}-{doc['metadata']['name']}")
def test_schema(doc: dict[str, Any]) -> None:
    kubernetes_validate.validate(doc, RELEASE, strict=True)
    assert doc["kind"] == "Namespace" or doc["metadata"]["namespace"] == only("Namespace")["metadata"]["name"]


def test_every_file_is_used() -> None:
    for folder in ("base", "tensorrt"):
        kustomization = yaml.safe_load((FOLDER / folder / "kustomization.yaml").read_text())
        used = {*kustomization["resources"], *(patch["path"] for patch in kustomization.get("patches", ()))} - {"../base"}
        assert used == {path.name for path in (FOLDER / folder).glob("*.yaml")} - {"kustomization.yaml"}


def test_the_pod_may_do_nothing(deployment: dict[str, Any], pod: dict[str, Any]) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False is only("ServiceAccount")["automountServiceAccountToken"]
    assert pod["serviceAccountName"] == only("ServiceAccount")["metadata"]["name"]
    for container in (*pod["containers"], *pod.get("initContainers", ())):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert re.search(r":\d+\.\d+\.\d+$", container["image"])
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1" and "memory" in container["resources"]["limits"]
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert only("Namespace")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_volumes_are_mounted_where_start_sh_looks(pod: dict[str, Any], server: dict[str, Any]) -> None:
    mounts = {mount["name"]: mount for mount in server["volumeMounts"]}
    assert mounts.keys() == {volume["name"] for volume in pod["volumes"]}
    script = (FOLDER.parent / "start.sh").read_text()
    for name, variable in {"tls": "FACEPARAM_TLS", "secrets": "FACEPARAM_SECRETS"}.items():
        assert f"{variable}:-{mounts[name]['mountPath']}" in script
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    files = [item["path"] for source in volumes["tls"]["projected"]["sources"] for item in source["secret"]["items"]]
    assert [f"$tls/{file}" in script for file in files] == [True] * 3
    assert volumes["shared-memory"]["emptyDir"]["medium"] == "Memory" and mounts["shared-memory"]["mountPath"] == "/dev/shm"


def test_tensorrt_serves_what_its_init_container_built() -> None:
    pod = DEPLOYMENTS["tensorrt"]["spec"]["template"]["spec"]
    (server,), (builder,) = pod["containers"], pod["initContainers"]
    assert server["env"] == [{"name": "FACEPARAM_BACKEND", "value": "tensorrt"}]
    for script in ("start.sh", "build_engines.sh"):
        assert "FACEPARAM_MODELS:-/engines" in (FOLDER.parent / script).read_text()
    for container in (server, builder):
        assert {"engines": "/engines"}.items() <= {m["name"]: m["mountPath"] for m in container["volumeMounts"]}.items()


def test_ports_and_probes(server: dict[str, Any]) -> None:
    ports = {port["name"]: port["containerPort"] for port in server["ports"]}
    options = Options()
    assert ports == {"grpc": options.grpc_port, "health": options.http_port, "metrics": options.metrics_port}
    paths = {kind: server[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")}
    assert {kind: (get["port"], get["path"]) for kind, get in paths.items()} == {
        "startup": ("health", "/v2/health/ready"),
        "readiness": ("health", "/v2/health/ready"),
        "liveness": ("health", "/v2/health/live"),
    }


def test_requests_in_flight_are_finished(pod: dict[str, Any], server: dict[str, Any]) -> None:
    assert pod["terminationGracePeriodSeconds"] > STOP_SECONDS + server["lifecycle"]["preStop"]["sleep"]["seconds"]


@pytest.mark.parametrize("name", ["faceparam", "faceparam-pods"])
def test_services_offer_grpc_only(name: str) -> None:
    spec = only("Service", name)["spec"]
    assert spec.get("type", "ClusterIP") == "ClusterIP" and selects(spec["selector"])
    assert [(port["port"], port["targetPort"]) for port in spec["ports"]] == [(Options().grpc_port, "grpc")]
    assert (spec.get("clusterIP") == "None") == (name == "faceparam-pods")


def test_the_network_is_closed_but_for_clients_and_prometheus() -> None:
    closed, opened = only("NetworkPolicy", "closed")["spec"], only("NetworkPolicy")["spec"]
    assert closed == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert selects(opened["podSelector"]["matchLabels"]) and "egress" not in opened
    rules = {port["port"]: rule["from"] for rule in opened["ingress"] for port in rule["ports"]}
    assert rules.keys() == {"grpc", "metrics"}
    assert all("faceparam-client" in peer["podSelector"]["matchLabels"] for peer in rules["grpc"])
    assert all(peer["namespaceSelector"]["matchLabels"] for peer in rules["metrics"])


def test_the_autoscaler_reads_the_metric_that_the_adapter_makes() -> None:
    spec, deployment = only("HorizontalPodAutoscaler")["spec"], only("Deployment")
    target = spec["scaleTargetRef"]
    assert (target["apiVersion"], target["kind"], target["name"]) == ("apps/v1", "Deployment", deployment["metadata"]["name"])
    assert "replicas" not in deployment["spec"]  # else every `apply` would undo the autoscaler
    (rule,) = yaml.safe_load((FOLDER / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
    (metric,) = spec["metrics"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]
    assert "nv_inference_queue_duration_us" in rule["seriesQuery"] and "nv_inference_queue_duration_us" in rule["metricsQuery"]
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(Options().metrics_port)


def test_a_node_may_be_drained() -> None:
    budget = only("PodDisruptionBudget")["spec"]
    assert (
        selects(budget["selector"]["matchLabels"])
        and budget["maxUnavailable"] < only("HorizontalPodAutoscaler")["spec"]["minReplicas"]
    )
    spec = only("Deployment")["spec"]
    assert selects(spec["selector"]["matchLabels"])
    assert all(
        selects(spread["labelSelector"]["matchLabels"]) for spread in spec["template"]["spec"]["topologySpreadConstraints"]
    )
