"""Hosts with capital letters: Istio compares them as they are written, a client's tables are in lower case.

The answers are those of Istio 1.31's generated configuration, and of an Envoy with it.
"""

from __future__ import annotations

import pytest

from meshlib._compile import Config
from meshlib._config.load import load
from meshlib._snapshot.snapshot import Snapshot
from meshlib.diagnostics import Finding
from meshlib.sources import SourceText
from meshlib.workload import Workload

CLIENT = Workload(namespace="shop")
GATEWAY = Workload(namespace="shop", labels={"app": "gate"}, gateway=True)
REGISTRY = """
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: api, namespace: shop}
spec:
  hosts: [API.example.com]
  location: MESH_EXTERNAL
  resolution: DNS
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 9000, name: tcp, protocol: TCP}]
---
"""
RULE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: rule, namespace: shop}}
spec:
  hosts: ["{host}"]
  gateways: [{gateway}]
  http: [{{route: [{{destination: {{host: {to}}}}}]}}]
---
"""
POLICY = """
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: policy, namespace: shop}}
spec: {{host: {host}, subsets: [{{name: v1}}]}}
---
"""
SERVER = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: gate, namespace: shop}}
spec:
  selector: {{app: gate}}
  servers: [{{hosts: ["{host}"], port: {{number: 80, name: http, protocol: HTTP}}}}]
---
"""
REVIEWS = "outbound|80||reviews.shop.svc.cluster.local"


def compiled(text: str, workload: Workload = CLIENT, findings: list[Finding] | None = None) -> Snapshot:
    return Config(load([SourceText("a.yaml", text)]).resources).compile(workload, findings)


def leads_to(snapshot: Snapshot, host: str, port: int = 80) -> str:
    """The cluster of a request for a host; empty for none."""
    found = snapshot.tables[port].find(host)
    if found is None or not found.routes:
        return ""
    cluster: str = found.routes[0].action.destinations[0].cluster  # type: ignore[union-attr]
    return cluster


@pytest.mark.parametrize(
    ("host", "to", "called", "cluster"),
    [
        ("Reviews", "reviews", "reviews", REVIEWS),
        ("reviews", "Reviews", "reviews", "outbound|80||Reviews.shop.svc.cluster.local"),
        ("api.example.com", "API.example.com", "api.example.com", "outbound|80||API.example.com"),
        ("api.example.com", "api.example.com", "api.example.com", "outbound|80||api.example.com"),
        ("TWO.example.com", "reviews", "two.example.com", REVIEWS),
        ("*.EXAMPLE.org", "reviews", "a.example.org", REVIEWS),
        ("*.example.com", "reviews", "api.example.com", "outbound|80||api.example.com"),  # the wildcard has no service
        ("other", "reviews", "api.example.com", "outbound|80||api.example.com"),
    ],
)
def test_what_a_client_calls(host: str, to: str, called: str, cluster: str) -> None:
    """Rules find services whatever the letters; destinations and wildcards only as they are written."""
    snapshot = compiled(REGISTRY + RULE.format(host=host, to=to, gateway="mesh"))
    assert leads_to(snapshot, called) == cluster
    assert leads_to(snapshot, "api.example.com", 9000) == "outbound|9000||API.example.com"
    assert {REVIEWS, "outbound|80||API.example.com"} <= snapshot.clusters.keys()


@pytest.mark.parametrize(
    ("host", "subset"),
    [
        ("reviews", "outbound|80|v1|reviews.shop.svc.cluster.local"),
        ("Reviews", None),
        ("API.example.com", "outbound|80|v1|API.example.com"),
        ("api.example.com", None),
    ],
)
def test_which_destinationrule_applies(host: str, subset: str | None) -> None:
    """The one whose host is written as that of the service."""
    clusters = compiled(REGISTRY + POLICY.format(host=host)).clusters
    assert [name for name in clusters if name.startswith("outbound|80|v1|")] == ([] if subset is None else [subset])


@pytest.mark.parametrize(
    ("server", "host", "cluster"),
    [
        ("*.example.com", "a.example.com", REVIEWS),
        ("*.example.com", "A.Example.com", ""),
        ("*.example.com", "A.example.com", REVIEWS),
        ("A.Example.com", "A.Example.com", REVIEWS),
        ("A.Example.com", "a.example.com", ""),
    ],
)
def test_what_a_gateway_serves(server: str, host: str, cluster: str) -> None:
    """A VirtualService whose host is written as that of the server, or within it; clients may write it as they like."""
    text = REGISTRY + SERVER.format(host=server) + RULE.format(host=host, to="reviews", gateway="gate")
    assert leads_to(compiled(text, GATEWAY), "a.example.com") == cluster


def test_a_destination_in_other_letters_is_told() -> None:
    """Calls would be answered 503, which nobody finds out from a name that looks right."""
    findings: list[Finding] = []
    compiled(REGISTRY + RULE.format(host="reviews", to="Reviews", gateway="mesh"), CLIENT, findings)
    message = "Reviews.shop.svc.cluster.local is not reviews.shop.svc.cluster.local: hosts are compared as they are"
    assert any(one.code == "MESH067" and one.message.startswith(message) for one in findings)
