"""The manifests fit together, and what is Istio's in them loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from meshlib import Mesh, Workload
from meshlib.telemetry.families import DESCRIPTIONS

HERE = Path(__file__).parent


def read(name: str) -> list[dict[str, Any]]:
    """The documents of a file."""
    return [document for document in yaml.safe_load_all((HERE / name).read_text(encoding="utf-8")) if document]


def test_the_mesh_of_the_workload_loads_without_a_doubt() -> None:
    """Strictly: every field of it works."""
    mesh = Mesh.load(HERE / "mesh.yaml", workload=Workload(namespace="shop", labels={"app": "web"}), strict=True)
    (log,) = mesh.snapshot.telemetry.client_logs
    assert log.filter == "response.code >= 400"


def test_the_whole_directory_can_be_read() -> None:
    """Kinds of others are skipped, not refused."""
    mesh = Mesh.load([HERE / path.name for path in HERE.glob("*.yaml")])
    assert {one.kind for one in mesh.skipped} >= {"ServiceMonitor", "HorizontalPodAutoscaler", "NetworkPolicy"}


def test_ports_and_labels_fit_together() -> None:
    """Service, monitor, policy and autoscaler are about the pods of the Deployment."""
    deployment, service = read("deployment.yaml")
    pod = deployment["spec"]["template"]
    ports = {port["name"] for port in pod["spec"]["containers"][0]["ports"]}
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    assert {port["targetPort"] for port in service["spec"]["ports"]} == ports
    (monitor,) = read("service-monitor.yaml")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}
    (policy,) = read("network-policy.yaml")
    assert {rule["ports"][0]["port"] for rule in policy["spec"]["ingress"]} == ports
    autoscaler, rules = read("autoscaler.yaml")
    assert autoscaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    (rule,) = yaml.safe_load(rules["data"]["rules.yaml"])["rules"]
    assert rule["name"]["as"] == autoscaler["spec"]["metrics"][0]["pods"]["metric"]["name"]
    assert rule["seriesQuery"].partition("{")[0] in DESCRIPTIONS
