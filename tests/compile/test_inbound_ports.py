"""Limits and listeners of the workload's own ports, as Istio 1.31 generates its inbound clusters."""

from __future__ import annotations

import pytest

from meshlib import Mesh, Workload
from meshlib._snapshot.clusters import UNLIMITED
from meshlib._snapshot.inbound_ports import InboundPorts

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: other, port: 81, targetPort: 8081}]
"""
RULE = """---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec:
  host: web
  trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}, http: {http2MaxRequests: 8, http1MaxPendingRequests: 9}}}
"""
PORT_LEVEL = RULE.replace("{connectionPool:", "{portLevelSettings: [{port: {number: 80}, connectionPool:").replace(
    "9}}}", "9}}}]}"
)
SIDECAR = """---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: web, namespace: shop}
spec:
  workloadSelector: {labels: {app: web}}
  egress: [{hosts: ["*/*"]}]
  inboundConnectionPool: {http: {http2MaxRequests: 18, http1MaxPendingRequests: 19}}
"""
INGRESS = """  ingress:
  - port: {number: 8080, protocol: HTTP, name: http}
    defaultEndpoint: 127.0.0.1:9000
    connectionPool: {http: {http2MaxRequests: 28}}
  - {port: {number: 7070, protocol: HTTP, name: other}, bind: 0.0.0.0, defaultEndpoint: "unix:///var/run/app.sock"}
"""


def compiled(text: str, app: str = "web") -> InboundPorts | None:
    return Mesh.load(text, workload=Workload(namespace="shop", labels={"app": app})).snapshot.inbound


def limits(text: str, port: int) -> tuple[int, int, int] | None:
    found = compiled(text)
    pool = found.pool(port) if found is not None else None
    return None if pool is None else (pool.max_connections, pool.max_pending_requests, pool.max_requests)


NO = UNLIMITED


# Each row as the oracle's control plane answered for the clusters inbound|8080|| and inbound|7070||.
@pytest.mark.parametrize(
    ("text", "port", "expected"),
    [
        (SERVICE, 8080, None),
        (SERVICE + RULE, 8080, (7, 9, 8)),
        (SERVICE + RULE, 8081, (7, 9, 8)),
        (SERVICE + PORT_LEVEL, 8080, (7, 9, 8)),
        (SERVICE + PORT_LEVEL, 8081, None),
        (SERVICE + SIDECAR, 8080, (NO, 19, 18)),
        (SERVICE + RULE + SIDECAR, 8080, (NO, 19, 18)),
        (SERVICE + RULE + SIDECAR + INGRESS, 8080, (NO, NO, 28)),
        (SERVICE + RULE + SIDECAR + INGRESS, 7070, (NO, 19, 18)),
    ],
)
def test_the_limits_of_a_port(text: str, port: int, expected: tuple[int, int, int] | None) -> None:
    """Ingress listener, then Sidecar, then DestinationRule; whole blocks."""
    assert limits(text, port) == expected


def test_listeners_and_what_stands_behind_them() -> None:
    """A server on the port of ``defaultEndpoint`` is the one that policies know by the listener's port."""
    found = compiled(SERVICE + SIDECAR + INGRESS)
    assert found is not None
    assert [(one.port, one.bind) for one in found.listeners] == [(8080, ""), (7070, "0.0.0.0")]
    assert (found.port(9000), found.port(8080), found.port(1234)) == (8080, 8080, 1234)


def test_a_sidecar_of_another_workload_says_nothing() -> None:
    """Its selector decides."""
    assert compiled(SERVICE + SIDECAR, app="other") is None
