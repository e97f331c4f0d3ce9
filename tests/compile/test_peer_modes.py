"""Which endpoints are offered mesh mutual TLS: rows that Istio's control plane was asked about."""

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
