"""Random small configurations of all kinds, in which names meet often: for tests that compare two ways to compile."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from hypothesis import strategies as st

__all__ = ["RESOURCES", "Doc", "identity", "text"]

Doc = dict[str, Any]

# Most are the same, so that what is drawn has to do with what was drawn before.
NAMESPACES = st.sampled_from(("default", "default", "default", "shop"))
NAMES = st.sampled_from(("a", "a", "b"))
HOSTS = st.sampled_from(("a", "a", "b", "a.shop.svc.cluster.local", "c.example.com", "*.example.com", "*", "10.0.0.9"))
PLAIN_HOSTS = st.sampled_from(("a", "a", "a", "b", "a.shop.svc.cluster.local", "c.example.com", "nowhere"))
EXPORTS = st.sampled_from((None, None, None, ["*"], ["."], ["shop"]))
PORTS = st.sampled_from((80, 80, 8080))
LABELS = st.sampled_from(({}, {"app": "a"}, {"app": "a", "version": "v1"}))
PORT_NAMES = st.sampled_from(("http", "http", "grpc-web", "tcp", "tls", "odd"))


def sometimes(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), strategy)


@st.composite
def resource(draw: st.DrawFn, version: str, kind: str, spec: st.SearchStrategy[Doc], key: str = "spec") -> Doc:
    meta = {"name": draw(NAMES), "namespace": draw(NAMESPACES)}
    if draw(st.integers(0, 4)) == 0:
        meta["creationTimestamp"] = draw(st.sampled_from(("2024-01-01T00:00:00Z", "2023-01-01T00:00:00Z")))
    return {"apiVersion": version, "kind": kind, "metadata": meta, key: without_nothing(draw(spec))}


def without_nothing(value: Any) -> Any:
    """Without the keys that have no value."""
    if isinstance(value, Mapping):
        return {key: without_nothing(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nothing(item) for item in value]
    return value


DESTINATIONS = st.fixed_dictionaries(
    {
        "host": PLAIN_HOSTS,
        "subset": sometimes(st.sampled_from(("v1", "v2"))),
        "port": sometimes(st.builds(lambda port: {"number": port}, PORTS)),
    }
)
MATCHES = st.fixed_dictionaries(
    {
        "uri": sometimes(st.sampled_from(({"prefix": "/x"}, {"exact": "/"}, {"regex": "/.*"}))),
        "port": sometimes(PORTS),
        "sourceLabels": sometimes(st.just({"app": "a"})),
        "sourceNamespace": sometimes(NAMESPACES),
        "gateways": sometimes(st.sampled_from((["mesh"], ["edge"]))),
    }
)
FORWARDS = st.fixed_dictionaries(
    {
        "match": sometimes(st.lists(MATCHES, min_size=1, max_size=2)),
        "route": st.lists(
            st.builds(
                lambda to, weight: {"destination": to, "weight": weight}, DESTINATIONS, st.sampled_from((20, 80))
            ),
            min_size=1,
            max_size=2,
        ),
        "timeout": sometimes(st.sampled_from(("1s", "2s"))),
        "retries": sometimes(st.just({"attempts": 1})),
        "mirror": sometimes(DESTINATIONS),
        "fault": sometimes(st.sampled_from(({"delay": {"percentage": {"value": 1}, "fixedDelay": "1s"}},))),
    }
)
RULES = st.one_of(
    FORWARDS,
    FORWARDS,
    FORWARDS,
    st.builds(lambda name, place: {"delegate": {"name": name, "namespace": place}}, NAMES, NAMESPACES),
    st.builds(lambda match: {"match": [match], "redirect": {"uri": "/y", "derivePort": "FROM_REQUEST_PORT"}}, MATCHES),
    st.just({"directResponse": {"status": 200}}),
)
OPAQUE = st.lists(
    st.builds(lambda to: {"match": [{"port": 8080}], "route": [{"destination": to}]}, DESTINATIONS), max_size=1
)
ROOTS = st.fixed_dictionaries(
    {
        "hosts": st.lists(HOSTS, min_size=1, max_size=2, unique=True),
        "gateways": sometimes(st.sampled_from((["mesh"], ["mesh", "edge"], ["mesh", "default/a"]))),
        "exportTo": EXPORTS,
        "http": st.lists(RULES, min_size=1, max_size=3),
        "tcp": OPAQUE,
    }
)
LEAVES = st.fixed_dictionaries({"exportTo": EXPORTS, "http": st.lists(FORWARDS, min_size=1, max_size=2)})
VIRTUAL_SERVICES = st.one_of(ROOTS, ROOTS, ROOTS, LEAVES)
POLICIES = st.fixed_dictionaries(
    {
        "loadBalancer": sometimes(
            st.sampled_from(
                (
                    {"simple": "ROUND_ROBIN"},
                    {"simple": "PASSTHROUGH"},
                    {"consistentHash": {"httpHeaderName": "x"}},
                    {"consistentHash": {"useSourceIp": True}},
                )
            )
        ),
        "outlierDetection": sometimes(st.just({"consecutive5xxErrors": 3, "minHealthPercent": 30})),
        "tls": sometimes(st.sampled_from(({"mode": "DISABLE"}, {"mode": "ISTIO_MUTUAL"}, {"mode": "SIMPLE"}))),
        "timeout": sometimes(st.sampled_from(("3s", "4s"))),
        "connectionPool": sometimes(st.just({"tcp": {"maxConnections": 7}})),
    }
)
DESTINATION_RULES = st.fixed_dictionaries(
    {
        "host": HOSTS.filter(lambda host: host != "10.0.0.9"),
        "exportTo": EXPORTS,
        "trafficPolicy": sometimes(POLICIES),
        "subsets": st.lists(
            st.builds(
                lambda name, policy: {"name": name, "labels": {"version": name}, "trafficPolicy": policy},
                st.sampled_from(("v1", "v2")),
                sometimes(POLICIES),
            ),
            max_size=2,
            unique_by=lambda subset: subset["name"],
        ),
        "workloadSelector": st.sampled_from((None, None, {"matchLabels": {"app": "a"}})),
    }
)
ENTRIES = st.fixed_dictionaries(
    {
        "hosts": st.lists(st.sampled_from(("c.example.com", "d.example.com", "*.example.com")), min_size=1, max_size=2),
        "ports": st.lists(
            st.builds(
                lambda number, protocol: {"number": number, "name": f"p{number}", "protocol": protocol},
                PORTS,
                st.sampled_from(("HTTP", "TLS", "TCP")),
            ),
            min_size=1,
            max_size=2,
            unique_by=lambda port: port["number"],
        ),
        "resolution": st.sampled_from(("STATIC", "DNS", "NONE")),
        "location": st.sampled_from(("MESH_INTERNAL", "MESH_EXTERNAL")),
        "exportTo": EXPORTS,
        "endpoints": st.lists(
            st.builds(
                lambda address, labels: {"address": address, "labels": labels},
                st.sampled_from(("10.0.0.1", "10.0.0.2")),
                LABELS,
            ),
            max_size=2,
        ),
    }
)
SERVICE_ENTRIES = ENTRIES.map(lambda spec: spec | {"endpoints": None} if spec["resolution"] == "NONE" else spec)
SERVICES = st.fixed_dictionaries(
    {
        "type": st.sampled_from((None, None, "ExternalName")),
        "externalName": sometimes(st.sampled_from(("c.example.com", "b.default.svc.cluster.local"))),
        "clusterIP": sometimes(st.sampled_from(("10.9.0.1", "None"))),
        "selector": sometimes(LABELS),
        "ports": st.lists(
            st.builds(lambda number, name: {"port": number, "name": f"{name}-{number}"}, PORTS, PORT_NAMES),
            max_size=2,
            unique_by=lambda port: port["port"],
        ),
    }
)


@st.composite
def slices(draw: st.DrawFn) -> Doc:
    name = draw(NAMES)
    addresses = draw(st.lists(st.sampled_from(("10.1.0.1", "10.1.0.2", "10.1.0.3")), unique=True, max_size=2))
    ready = draw(st.booleans())
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name}-{draw(st.sampled_from('xy'))}",
            "namespace": draw(NAMESPACES),
            "labels": {"kubernetes.io/service-name": name},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": ready}} for address in addresses],
        "ports": [{"port": 8000, "name": draw(PORT_NAMES)}],
    }


PODS = st.builds(
    lambda name, place, labels, address: {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": place, "labels": labels},
        "spec": {"containers": [{"name": "a"}], "serviceAccountName": name},
        "status": {"podIP": address, "phase": "Running"},
    },
    NAMES,
    NAMESPACES,
    LABELS,
    st.sampled_from(("10.1.0.1", "10.1.0.2")),
)
SIDECARS = st.fixed_dictionaries(
    {
        "egress": st.lists(
            st.builds(
                lambda hosts, port: {"hosts": hosts, **({"port": port} if port else {})},
                st.lists(
                    st.sampled_from(("*/*", "./*", "shop/a.shop.svc.cluster.local", "~/*")), min_size=1, max_size=2
                ),
                sometimes(st.just({"number": 8080, "protocol": "HTTP", "name": "x"})),
            ),
            min_size=1,
            max_size=2,
        ).map(lambda listeners: sorted(listeners, key=lambda one: "port" not in one)),
        "outboundTrafficPolicy": sometimes(st.sampled_from(({"mode": "REGISTRY_ONLY"}, {"mode": "ALLOW_ANY"}))),
    }
)
GATEWAYS = st.fixed_dictionaries(
    {
        "selector": st.just({"app": "a"}),
        "servers": st.lists(
            st.builds(
                lambda number, hosts: {
                    "port": {"number": number, "name": f"http-{number}", "protocol": "HTTP"},
                    "hosts": hosts,
                },
                PORTS,
                st.lists(st.sampled_from(("*", "*.example.com", "shop/*")), min_size=1, max_size=1),
            ),
            min_size=1,
            max_size=2,
            unique_by=lambda server: server["port"]["number"],
        ),
    }
)
AUTHORIZATION = st.fixed_dictionaries(
    {
        "action": st.sampled_from(("ALLOW", "DENY")),
        "rules": st.just([{"to": [{"operation": {"paths": ["/x*"]}}]}]),
    }
)
MESH_CONFIGS = st.fixed_dictionaries(
    {
        "defaultHttpRetryPolicy": sometimes(st.just({"attempts": 5})),
        "outboundTrafficPolicy": sometimes(st.just({"mode": "REGISTRY_ONLY"})),
        "defaultVirtualServiceExportTo": sometimes(st.just(["."])),
        "rootNamespace": sometimes(st.just("shop")),
        "enableAutoMtls": sometimes(st.booleans()),
    }
).map(without_nothing)
NETWORKING, SECURITY = "networking.istio.io/v1", "security.istio.io/v1"
HTTP_KINDS = st.one_of(
    resource(NETWORKING, "VirtualService", VIRTUAL_SERVICES),
    resource(NETWORKING, "VirtualService", VIRTUAL_SERVICES),
    resource(NETWORKING, "VirtualService", VIRTUAL_SERVICES),
    resource(NETWORKING, "DestinationRule", DESTINATION_RULES),
)
SERVICE_KINDS = st.one_of(
    resource("v1", "Service", SERVICES), resource(NETWORKING, "ServiceEntry", SERVICE_ENTRIES), slices(), PODS
)
OTHER_KINDS = st.one_of(
    resource(NETWORKING, "Sidecar", SIDECARS),
    resource(NETWORKING, "Gateway", GATEWAYS),
    resource(SECURITY, "PeerAuthentication", st.sampled_from(({"mtls": {"mode": "DISABLE"}}, {}))),
    resource(SECURITY, "AuthorizationPolicy", AUTHORIZATION),
    resource("telemetry.istio.io/v1", "Telemetry", st.just({"accessLogging": [{"providers": [{"name": "envoy"}]}]})),
    resource("meshlib.dev/v1alpha1", "ClientPolicy", st.builds(lambda host: {"hosts": [host], "deadline": {}}, HOSTS)),
    MESH_CONFIGS,
)
RESOURCES = st.integers(0, 9).flatmap(
    lambda draw: HTTP_KINDS if draw < 5 else SERVICE_KINDS if draw < 8 else OTHER_KINDS
)


def identity(resource: Doc) -> tuple[str, str, str]:
    """What there can be one of."""
    meta = resource.get("metadata", {})
    return resource.get("kind", "MeshConfig"), meta.get("namespace", ""), meta.get("name", "")


def text(resources: Iterable[Doc]) -> str:
    """As one YAML text, a line and a separator for each: one that changes moves no other."""
    return "".join(f"---\n{json.dumps(one)}\n" for one in resources)
