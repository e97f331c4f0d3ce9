"""Which endpoints are offered mesh mutual TLS, and as whom: rows that Istio's control plane was asked about."""

from __future__ import annotations

import pytest

from meshlib import Mesh, Workload

SERVICE = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ratings, namespace: shop}
spec:
  hosts: [ratings.shop.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]
  endpoints:
  - {address: 10.0.0.1, labels: {version: v1}, serviceAccount: ratings}
  - {address: 10.0.0.2, labels: {version: v2}, serviceAccount: ratings}
  - {address: 10.0.0.3, labels: {version: v1}}
"""


def policy(name: str, spec: str, namespace: str = "shop") -> str:
    head = "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"
    return f"{head}metadata: {{name: {name}, namespace: {namespace}}}\nspec: {{{spec}}}\n"


V1 = "selector: {matchLabels: {version: v1}}, "
PORT = "portLevelMtls: {8080: {mode: %s}}"
RULE = """---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ratings, namespace: shop}
spec:
  host: ratings.shop.svc.cluster.local
  trafficPolicy: {loadBalancer: {simple: RANDOM}, portLevelSettings: [{port: {number: 80}, %s}]}
"""


@pytest.mark.parametrize(
    ("policies", "offered"),
    [
        ("", [True, True, False]),
        (policy("a", V1 + "mtls: {mode: DISABLE}"), [False, True, False]),
        (policy("a", V1 + PORT % "DISABLE"), [False, True, False]),
        (policy("a", V1 + "mtls: {mode: DISABLE}, " + PORT % "STRICT"), [True, True, False]),
        (policy("a", V1 + "mtls: {mode: DISABLE}, " + PORT % "UNSET"), [False, True, False]),
        (policy("a", V1 + "mtls: {mode: STRICT}") + policy("b", V1 + "mtls: {mode: DISABLE}"), [True, True, False]),
        (policy("a", V1 + "mtls: {mode: UNSET}") + policy("b", V1 + "mtls: {mode: DISABLE}"), [True, True, False]),
        (policy("a", V1 + "mtls: {mode: DISABLE}", "pay"), [True, True, False]),
        (policy("a", V1 + "mtls: {mode: DISABLE}", "istio-system"), [True, True, False]),
        (policy("a", V1 + "mtls: {mode: DISABLE}") + RULE % "tls: {mode: ISTIO_MUTUAL}", None),
    ],
)
def test_workloads_without_mutual_tls_are_called_in_plaintext(policies: str, offered: list[bool] | None) -> None:
    """Also where the rest of their namespace has it; a DestinationRule has the last word."""
    mesh = Mesh.load(SERVICE + policies, workload=Workload(namespace="shop"))
    cluster = mesh.snapshot.clusters["outbound|80||ratings.shop.svc.cluster.local"]
    if offered is None:
        assert cluster.policy.tls.mode == "ISTIO_MUTUAL"
    else:
        assert cluster.policy.tls.mode == "AUTO"
        assert [endpoint.mesh_tls for endpoint in cluster.endpoints] == offered


MESH = """---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    trustDomain: new.org
    trustDomainAliases: [old.org]
"""


def test_servers_may_be_of_an_alias_of_the_trust_domain() -> None:
    """While a mesh moves from one to the other; other names stay as they are."""
    names = "subjectAltNames: [web.test, 'spiffe://x/ns/a/sa/b', 'spiffe://x/b']"
    service = SERVICE.replace("resolution:", f"{names}\n  resolution:")
    mesh = Mesh.load(service + MESH, workload=Workload(namespace="shop"))
    assert mesh.snapshot.clusters["outbound|80||ratings.shop.svc.cluster.local"].accounts == (
        "spiffe://new.org/ns/shop/sa/ratings",
        "spiffe://old.org/ns/a/sa/b",
        "spiffe://old.org/ns/shop/sa/ratings",
        "spiffe://x/b",
        "spiffe://x/ns/a/sa/b",
        "web.test",
    )
