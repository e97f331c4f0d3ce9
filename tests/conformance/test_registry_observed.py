"""What Istio 1.31 and Envoy 1.39 made of services in random configurations that had shown a difference."""

from __future__ import annotations

import pytest

from meshlib import Mesh, Workload
from tests.conformance.test_routing_observed import TO_A, rule

STATIC = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: one, namespace: default, creationTimestamp: "2026-01-01T00:00:00Z"}
spec:
  hosts: [api.example.com]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.1}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: two, namespace: default, creationTimestamp: "2026-01-02T00:00:00Z"}
spec:
  hosts: [api.example.com]
  resolution: DNS
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.0.0.2}, {address: name.example.net}]
"""


def test_names_of_another_entry_are_not_for_a_cluster_of_addresses() -> None:
    """Of the DNS entry for the same host, only the address counts; the other way round both do."""
    name = "outbound|80||api.example.com"
    found = Mesh.load(STATIC).snapshot.clusters[name].endpoints
    assert [one.address for one in found] == ["10.0.0.1", "10.0.0.2"]
    younger = STATIC.replace("2026-01-01", "2026-01-03")
    found = Mesh.load(younger).snapshot.clusters[name].endpoints
    assert [one.address for one in found] == ["10.0.0.2", "name.example.net", "10.0.0.1"]


def test_entries_for_one_host_share_endpoints_by_the_name_of_the_port() -> None:
    """A port of the same number and another name is another port."""
    other = "http, protocol: HTTP}]\n  endpoints: [{address: 10.0.0.2}"
    assert other in STATIC
    renamed = STATIC.replace(other, "web, protocol: HTTP}]\n  endpoints: [{address: 10.0.0.2}")
    found = Mesh.load(renamed).snapshot.clusters["outbound|80||api.example.com"].endpoints
    assert [one.address for one in found] == ["10.0.0.1"]


def test_names_stay_where_only_the_entry_that_resolves_them_is_seen() -> None:
    """The older entry is private to its namespace; its addresses count all the same."""
    private = STATIC.replace("resolution: STATIC", "resolution: STATIC\n  exportTo: ['.']")
    cluster = Mesh.load(private, workload=Workload(namespace="other")).snapshot.clusters["outbound|80||api.example.com"]
    assert [one.address for one in cluster.endpoints] == ["10.0.0.1", "10.0.0.2", "name.example.net"]


def test_of_several_endpoints_with_one_address_the_first_counts() -> None:
    """Envoy 1.39 drops duplicates that discovery tells it."""
    twice = STATIC.replace("[{address: 10.0.0.1}]", "[{address: 10.0.0.1}, {address: 10.0.0.1, weight: 5}]")
    assert twice != STATIC
    found = Mesh.load(twice).snapshot.clusters["outbound|80||api.example.com"].endpoints
    assert [(one.address, one.weight) for one in found] == [("10.0.0.1", 1), ("10.0.0.2", 1)]


SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {clusterIP: CLUSTER_IP, selector: {app: cart}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: one, namespace: shop, labels: {app: cart, security.istio.io/tlsMode: istio}}
spec: {containers: []}
status: {podIP: 10.1.1.1, phase: Running}
---
apiVersion: v1
kind: Pod
metadata: {name: two, namespace: shop, labels: {app: cart}}
spec: {containers: []}
status: {podIP: 10.1.1.2, phase: Running}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: cart, namespace: shop, labels: {kubernetes.io/service-name: cart}}
addressType: IPv4
ports: [{name: http, port: 8000, protocol: TCP}]
endpoints:
- {addresses: [10.1.1.1], conditions: {ready: true}, targetRef: {kind: Pod, name: one, namespace: shop}}
"""
LEAVING = """
- addresses: [ADDRESS]
  conditions: {ready: false, serving: true, terminating: true}
  targetRef: {kind: Pod, name: NAME, namespace: shop}
"""
PASSING = """
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: cart, namespace: shop}
spec:
  host: cart
  subsets:
  - name: v1
    trafficPolicy: {portLevelSettings: [{port: {number: 80}, loadBalancer: {simple: PASSTHROUGH}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cart, namespace: shop}
spec: {hosts: [cart], http: [{route: [{destination: {host: cart, subset: v1}}]}]}
"""


@pytest.mark.parametrize(
    ("config", "mode"),
    [
        pytest.param(SERVICE.replace("CLUSTER_IP", "None"), "ISTIO_MUTUAL", id="all endpoints speak it"),
        pytest.param(
            SERVICE.replace("CLUSTER_IP", "None") + LEAVING.replace("ADDRESS", "10.1.1.2").replace("NAME", "two"),
            "DISABLE",
            id="one that is going away does not",
        ),
        pytest.param(SERVICE.replace("CLUSTER_IP", "10.9.9.9"), "AUTO", id="not to dialled addresses: each by itself"),
        pytest.param(
            SERVICE.replace("CLUSTER_IP", "10.9.9.9") + PASSING, "ISTIO_MUTUAL", id="a subset dials for its port"
        ),
    ],
)
def test_mutual_tls_to_dialled_addresses_is_for_all_of_them(config: str, mode: str) -> None:
    """Headless services and PASSTHROUGH: Istio's control plane decides for the cluster, not for an endpoint."""
    mesh = Mesh.load(config, workload=Workload(namespace="shop"))
    (target,) = mesh.explain("GET", "http://cart/").targets
    assert target.policy["tls.mode"] == mode


BESIDE = """
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: further, namespace: NAMESPACE}
spec:
  hosts: [cart.shop.svc.cluster.local]
  exportTo: [elsewhere]
  resolution: RESOLUTION
  ports: [{number: NUMBER, name: NAME, protocol: HTTP}]
  endpoints: [{address: 10.2.2.2}]
"""
BOTH = [("10.2.2.2", 80), ("10.1.1.1", 8000)]


def beside(address: str, namespace: str, resolution: str, number: int, name: str) -> Mesh:
    """A Kubernetes Service and a ServiceEntry for its host."""
    values = {"NAMESPACE": namespace, "RESOLUTION": resolution, "NUMBER": str(number), "NAME": name}
    text = BESIDE
    for key, value in values.items():
        text = text.replace(key, value)
    return Mesh.load(SERVICE.replace("CLUSTER_IP", address) + text, workload=Workload(namespace="shop"))


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        pytest.param(("shop", "STATIC", 80, "http"), BOTH, id="both, though nobody here may see the entry"),
        pytest.param(("shop", "DNS", 80, "http"), BOTH, id="addresses of one that resolves names too"),
        pytest.param(("shop", "STATIC", 81, "http"), [("10.2.2.2", 81), BOTH[1]], id="by the name of the port"),
        pytest.param(("shop", "STATIC", 80, "web"), BOTH[1:], id="another name is another port"),
        pytest.param(("pay", "STATIC", 80, "http"), BOTH[1:], id="another namespace has nothing to say"),
    ],
)
def test_an_entry_adds_endpoints_to_the_service_of_its_host(
    entry: tuple[str, str, int, str], expected: list[tuple[str, int]]
) -> None:
    """Istio keeps endpoints by host and namespace, wherever they were written."""
    cluster = beside("10.9.9.9", *entry).snapshot.clusters["outbound|80||cart.shop.svc.cluster.local"]
    assert [(one.address, one.port) for one in cluster.endpoints] == expected


@pytest.mark.parametrize(
    ("entry", "mode"),
    [
        (("shop", "STATIC", 80, "http"), "DISABLE"),
        (("shop", "DNS", 80, "web"), "DISABLE"),  # here the number of the port decides
        (("shop", "STATIC", 81, "http"), "ISTIO_MUTUAL"),
        (("pay", "STATIC", 80, "http"), "ISTIO_MUTUAL"),
    ],
)
def test_an_entry_without_mesh_tls_takes_it_from_the_headless_service(
    entry: tuple[str, str, int, str], mode: str
) -> None:
    """All endpoints of the port are asked, also those that the entry has."""
    (target,) = beside("None", *entry).explain("GET", "http://cart/").targets
    assert target.policy["tls.mode"] == mode


def test_a_destination_brings_in_the_hidden_service_of_its_own_namespace() -> None:
    """It stands in the place of the entry of another namespace that is visible."""
    hidden = SERVICE.replace("CLUSTER_IP", "10.9.9.9").replace(
        "name: cart, namespace: shop}\nspec: {cl",
        "name: cart, namespace: shop, annotations: {networking.istio.io/exportTo: pay}}\nspec: {cl",
    )
    assert "annotations" in hidden
    entry = BESIDE.replace("exportTo: [elsewhere]", "exportTo: ['*']").replace("NUMBER", "8080").replace("NAME,", "x,")
    entry = entry.replace("NAMESPACE", "pay").replace("RESOLUTION", "STATIC")
    there = Workload(namespace="shop")
    assert [*clusters_of(hidden + entry, there)] == ["outbound|8080||cart.shop.svc.cluster.local"]
    sends = "---\n" + rule("route: [{destination: {host: cart}}]").replace("namespace: default", "namespace: shop")
    assert [*clusters_of(hidden + entry + sends, there)] == ["outbound|80||cart.shop.svc.cluster.local"]


def clusters_of(config: str, workload: Workload) -> list[str]:
    """The clusters of hosts, by key."""
    found = Mesh.load(config, workload=workload).snapshot.clusters
    return [name for name in found if name.startswith("outbound|")]


ALIAS = """
apiVersion: v1
kind: Service
metadata: {name: user, namespace: default}
spec: {type: ExternalName, externalName: cart.default.svc.cluster.local, ports: [{name: tls-x, port: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: user, namespace: default}
spec: {host: user, trafficPolicy: {tls: {mode: SIMPLE}}}
---
"""


def test_an_alias_is_one_on_its_own_ports() -> None:
    """A destination that names its port stands for the other service where the request is on a port of the alias."""
    both = "ports: [{name: http, port: 80}, {name: http-alt, port: 8080}]"
    services = SERVICE.replace("CLUSTER_IP", "10.9.9.9").replace("ports: [{name: http, port: 80}]", both)
    alias = ALIAS.replace("name: tls-x, port", "name: http-alt, port").partition("---")[0] + "---"
    to_alias = rule("route: [{destination: {host: user.default.svc.cluster.local, port: {number: 8080}}}]")
    mesh = Mesh.load(services + "---" + alias + to_alias.replace("shop.example.com", "cart.shop.svc.cluster.local"))
    found = [mesh.explain("GET", f"http://cart.shop:{port}/").targets[0].host for port in (80, 8080)]
    assert found == ["user.default.svc.cluster.local", "cart.default.svc.cluster.local"]


def test_a_rule_for_an_alias_originates_no_tls() -> None:
    """What an ExternalName service stands for has its own rule: a port with TLS stays closed to HTTP routes."""
    mesh = Mesh.load(ALIAS + rule("match: [{uri: {exact: /no}}], " + TO_A).replace("shop.example.com", "user"))
    assert mesh.explain("GET", "http://user:8080/").outcome == "passthrough"


SUBSETS = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db, namespace: default}
spec:
  hosts: [db.example.com]
  resolution: DNS
  ports: [{number: 80, name: http, protocol: HTTP}]
  ENDPOINTS
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: db, namespace: default}
spec:
  host: db.example.com
  subsets:
  - {name: port, labels: {version: v3}, trafficPolicy: {portLevelSettings: [{port: {number: 80}, loadBalancer: LB}]}}
  - {name: own, labels: {version: v3}, trafficPolicy: {loadBalancer: LB}}
""".replace("LB", "{simple: PASSTHROUGH}")


@pytest.mark.parametrize(
    ("endpoints", "subsets"),
    [
        ("endpoints: [{address: one.example.net, labels: {version: v1}}]", ["", "own"]),
        ("endpoints: [{address: one.example.net, labels: {version: v3}}]", ["", "port", "own"]),
        ("workloadSelector: {labels: {app: none}}", []),
    ],
)
def test_a_subset_of_names_needs_one_unless_it_dials_by_itself(endpoints: str, subsets: list[str]) -> None:
    """What a rule has for the port comes too late for Istio; without any name nothing is made at all."""
    found = clusters_of(SUBSETS.replace("ENDPOINTS", endpoints), Workload())
    assert [name.split("|")[2] for name in found] == subsets
