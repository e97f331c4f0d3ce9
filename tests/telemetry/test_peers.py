"""How the other end of a call is named, beside what Istio 1.31 says of the same endpoints to its proxies."""

from __future__ import annotations

import pytest

from meshlib import Mesh, Workload
from meshlib.telemetry.labels import endpoint_peer, service

CONFIG = """\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: rev-v1-5f7b8d-abcde
  namespace: shop
  labels: {app: web, version: v1, pod-template-hash: 5f7b8d}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: rev-v1-5f7b8d, controller: true, uid: a}]
spec: {serviceAccountName: rev, containers: [{name: a, ports: [{containerPort: 8080}]}]}
status: {podIP: 10.0.0.5, phase: Running, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: lone, namespace: shop, labels: {app: web}}
spec: {serviceAccountName: rev, containers: [{name: a}]}
status: {podIP: 10.0.0.6, phase: Running, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: st-0
  namespace: shop
  labels: {app: web, service.istio.io/workload-name: named, service.istio.io/canonical-name: canon}
  ownerReferences: [{apiVersion: apps/v1, kind: StatefulSet, name: st, controller: true, uid: a}]
spec: {serviceAccountName: rev, containers: [{name: a}]}
status: {podIP: 10.0.0.7, phase: Running, conditions: [{type: Ready, status: "True"}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-x, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints:
- {addresses: [10.0.0.5], conditions: {ready: true}, targetRef: {kind: Pod, name: rev-v1-5f7b8d-abcde, namespace: shop}}
- {addresses: [10.0.0.6], conditions: {ready: true}, targetRef: {kind: Pod, name: lone, namespace: shop}}
- {addresses: [10.0.0.7], conditions: {ready: true}, targetRef: {kind: Pod, name: st-0, namespace: shop}}
- {addresses: [10.0.0.8], conditions: {ready: true}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: w, namespace: shop, labels: {service.istio.io/workload-name: wn}}
spec: {address: 10.0.0.9, labels: {app: web, version: v7}, serviceAccount: web}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: dns, namespace: shop}
spec:
  hosts: [dns.example.com]
  resolution: DNS
  ports: [{number: 80, name: http, protocol: HTTP}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: nolabels, namespace: shop}
spec:
  hosts: [nolabels.example.com]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.1.0.1}, {address: 10.1.0.2, labels: {app: yy}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: sel, namespace: shop}
spec:
  hosts: [sel.example.com]
  resolution: STATIC
  location: MESH_INTERNAL
  ports: [{number: 8080, name: http, protocol: HTTP}]
  workloadSelector: {labels: {app: web}}
"""

# The metadata "istio: {services, workload}" of clusters and endpoints: name;namespace;service;revision, where Istio
# leaves an unknown revision empty and its metrics say "latest".
OBSERVED = [
    ("web.shop.svc.cluster.local", "web", "10.0.0.5", "rev-v1;shop;web;v1"),
    ("web.shop.svc.cluster.local", "web", "10.0.0.6", "lone;shop;web;latest"),
    ("web.shop.svc.cluster.local", "web", "10.0.0.7", "named;shop;canon;latest"),
    ("web.shop.svc.cluster.local", "web", "10.0.0.8", "unknown;unknown;unknown;latest"),
    ("web.shop.svc.cluster.local", "web", "10.0.0.9", "wn;shop;web;v7"),
    ("nolabels.example.com", "nolabels.example.com", "10.1.0.1", "nolabels-0;shop;nolabels-0;latest"),
    ("nolabels.example.com", "nolabels.example.com", "10.1.0.2", "nolabels-1;shop;yy;latest"),
    ("sel.example.com", "sel.example.com", "10.0.0.5", "rev-v1;shop;web;v1"),
    ("sel.example.com", "sel.example.com", "10.0.0.9", "wn;shop;web;v7"),
    ("dns.example.com", "dns.example.com", "dns.example.com", "dns;shop;dns;latest"),
]


@pytest.mark.parametrize(("host", "name", "address", "workload"), OBSERVED)
def test_destinations_are_named_as_in_istio(host: str, name: str, address: str, workload: str) -> None:
    """Service, workload, canonical service and revision."""
    mesh = Mesh.load(CONFIG, workload=Workload(namespace="shop", cluster="here"))
    (cluster,) = [one for one in mesh.snapshot.clusters.values() if one.host == host]
    (endpoint,) = [one for one in cluster.endpoints if one.address == address]
    peer = endpoint_peer(endpoint, cluster.namespace, "here")
    assert service(cluster, "", "") == (host, name, "shop")
    assert ";".join((peer.workload, peer.namespace, peer.canonical_service, peer.canonical_revision)) == workload
    assert peer.cluster == "here"


@pytest.mark.parametrize(
    ("name", "labels", "workload"),
    [
        ("ratings-v1-5f7b8d-abcde", {"pod-template-hash": "5f7b8d"}, "ratings-v1"),
        ("ratings", {"pod-template-hash": "5f7b8d"}, "ratings"),
        ("db-0", {"statefulset.kubernetes.io/pod-name": "db-0", "controller-revision-hash": "db-7f"}, "db"),
        ("agent-x7kqz", {"controller-revision-hash": "7f"}, "agent"),
        ("nightly-28-abcde", {"batch.kubernetes.io/job-name": "nightly-28"}, "nightly-28"),
        ("lone", {}, "lone"),
    ],
)
def test_a_pod_is_named_after_its_controller(name: str, labels: dict[str, str], workload: str) -> None:
    """As Istio finds it by the owner references, which exports often leave out."""
    written = ", ".join(f"{key}: '{value}'" for key, value in {"app": "x", **labels}.items())
    mesh = Mesh.load(
        "{apiVersion: v1, kind: Service, metadata: {name: x}, spec: {selector: {app: x}, ports: [{port: 80}]}}\n---\n"
        f"{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, labels: {{{written}}}}}, status: {{podIP: 10.0.0.1}}}}"
    )
    (endpoint,) = mesh.snapshot.clusters["outbound|80||x.default.svc.cluster.local"].endpoints
    assert endpoint.workload == workload
