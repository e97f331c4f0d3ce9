"""What Istio 1.31 and Envoy 1.39 answered where a random configuration had shown a difference."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meshlib import Mesh, Workload
from tests.conformance.live import Played, play
from tests.conformance.test_routing_live import check_arrival, check_reply, check_request

ROUTES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop, namespace: default}
spec:
  hosts: [shop.example.com]
  http:
"""
TO_A = "route: [{destination: {host: a.example.com}}]"
HOST_H = "headers: {request: {set: {Host: h.example.com}}}"
CORS = "corsPolicy: {allowOrigins: [{exact: 'https://ok.example'}], allowMethods: ['*'], allowHeaders: ['*']"
PREFLIGHT = {"origin": "https://ok.example", "access-control-request-method": "PUT"}
FOREIGN = {**PREFLIGHT, "origin": "https://no.example"}
ECHOED = {
    "access-control-allow-origin": "https://ok.example",
    "access-control-allow-methods": "PUT",
    "access-control-allow-headers": "",
    "access-control-expose-headers": "x-e,x-f",
}


def observed(name: str, config: str, expect: dict[str, Any], **request: Any) -> Any:
    """A case in the shape of semantics-cases.json."""
    given = {"method": "GET", "url": "http://shop.example.com/a/b", "headers": {}, **request}
    return pytest.param({"config": config, "request": given, "expect": expect}, id=name)


def rule(text: str) -> str:
    return f"{ROUTES}  - {{{text}}}\n"


ORIGINAL_PATH = {"path": "/a/b", "upstream_headers": [["x-envoy-original-path", "/a/b"]]}
ORIGINAL_HOST = {"host": "h.example.com", "upstream_headers": [["x-envoy-original-host", "shop.example.com"]]}
TWO = f"{{destination: {{host: a.example.com}}, weight: 50, {HOST_H}}}"

OBSERVED = [
    observed(
        "a rewrite that leaves the path as it is tells it too",
        rule(f"match: [{{uri: {{prefix: /a}}}}], rewrite: {{uri: /a}}, {TO_A}"),
        ORIGINAL_PATH,
    ),
    observed(
        "and so does a substitution that finds nothing",
        rule(f"rewrite: {{uriRegexRewrite: {{match: zz, rewrite: q}}}}, {TO_A}"),
        ORIGINAL_PATH,
    ),
    observed(
        "a rewritten authority tells the one before",
        rule(f"rewrite: {{authority: h.example.com}}, {TO_A}"),
        {**ORIGINAL_HOST, "upstream_headers_absent": ["x-envoy-original-path"]},
    ),
    observed(
        "a Host header of the only destination does",
        rule(f"route: [{{destination: {{host: a.example.com}}, {HOST_H}}}]"),
        ORIGINAL_HOST,
    ),
    observed(
        "one of several destinations does not",
        rule(f"route: [{TWO}, {TWO}]"),
        {"host": "h.example.com", "upstream_headers_absent": ["x-envoy-original-host"]},
    ),
    observed(
        "but the host of one of several is what a rewrite finds",
        rule(f"rewrite: {{authority: rw.example.com}}, route: [{TWO}, {TWO}]"),
        {"host": "rw.example.com", "upstream_headers": [["x-envoy-original-host", "h.example.com"]]},
    ),
    observed(
        "a preflight is told what responses expose, and echoed what it did not ask for",
        rule(f"{CORS}, exposeHeaders: [x-e, x-f]}}, {TO_A}"),
        {"status": 200, "upstream_calls": 0, "headers": ECHOED, "route": ""},
        method="OPTIONS",
        headers=PREFLIGHT,
    ),
    observed(
        "a foreign preflight is not told what responses expose",
        rule(f"{CORS}, exposeHeaders: [x-e], unmatchedPreflights: IGNORE}}, {TO_A}"),
        {"status": 200, "upstream_calls": 0, "headers_absent": ["access-control-expose-headers"]},
        method="OPTIONS",
        headers=FOREIGN,
    ),
    observed(
        "header operations pass by the answer to a preflight",
        rule(f"{CORS}, unmatchedPreflights: IGNORE}}, headers: {{response: {{set: {{x-r: '1'}}}}}}, {TO_A}"),
        {"status": 200, "upstream_calls": 0, "headers_absent": ["x-r"]},
        method="OPTIONS",
        headers=FOREIGN,
    ),
    observed(
        "operations on the response see the request as it was sent",
        rule(
            "rewrite: {uri: /q, authority: h.example.com}, headers: {request: {set: {x-a: '1'}}, "
            "response: {set: {x-seen: '%REQ(:path)% %REQ(:authority)% %REQ(x-a)%'}}}, "
            f"match: [{{uri: {{prefix: /a}}}}], {TO_A}"
        ),
        {"status": 200, "path": "/q/b", "headers": {"x-seen": "/q/b h.example.com 1"}},
    ),
    observed(
        "operations on a redirect see the path with its prefix replaced",
        rule(
            "match: [{uri: {prefix: /a}}], redirect: {prefixRewrite: /p}, "
            "headers: {response: {set: {x-seen: '%REQ(:path)%'}}}"
        ),
        {"status": 301, "headers": {"location": "http://shop.example.com/p/b", "x-seen": "/p/b"}},
    ),
    observed(
        "but not where all of it is replaced",
        rule("redirect: {uri: /p}, headers: {response: {set: {x-seen: '%REQ(:path)%'}}}"),
        {"status": 301, "headers": {"location": "http://shop.example.com/p", "x-seen": "/a/b"}},
    ),
    observed(
        "an empty occurrence of a joined field adds nothing",
        rule(f"name: found, match: [{{headers: {{user-agent: {{exact: 'a,b'}}}}}}], {TO_A}"),
        {"status": 200, "route": "found"},
        headers=[["user-agent", ""], ["user-agent", "a"], ["user-agent", ""], ["user-agent", "b"]],
    ),
    *(
        observed(
            f"origins of {kind} {value} are any, since it matches a star",
            rule(f"corsPolicy: {{allowOrigins: [{{{kind}: '{value}'}}]}}, {TO_A}"),
            {"status": 200, "headers": {"access-control-allow-origin": "https://no.example"}},
            headers={"origin": "https://no.example"},
        )
        for kind, value in (("exact", "*"), ("prefix", "*"), ("regex", r"\*"), ("regex", r"[^a-z]*"))
    ),
    observed(
        "a redirect has no content, and so no type",
        rule("redirect: {uri: /p}, headers: {response: {set: {content-type: v, x-r: '1'}, add: {Content-Type: w}}}"),
        {"status": 301, "headers": {"x-r": "1"}, "headers_absent": ["content-type"]},
    ),
    observed(
        "nor has a direct response without body",
        rule("directResponse: {status: 404}, headers: {response: {set: {content-type: v}}}"),
        {"status": 404, "headers_absent": ["content-type"]},
    ),
    observed(
        "a redirect is no answer to gRPC: the status is unknown",
        rule("redirect: {uri: /p}"),
        {
            "status": 200,
            "headers": {
                "content-type": "application/grpc",
                "grpc-status": "2",
                "location": "http://shop.example.com/p",
            },
        },
        headers={"content-type": "application/grpc"},
    ),
    observed(
        "an empty Origin is none",
        rule(f"corsPolicy: {{allowOrigins: [{{exact: '*'}}], allowCredentials: true}}, {TO_A}"),
        {"status": 200, "headers_absent": ["access-control-allow-origin", "access-control-allow-credentials"]},
        headers={"origin": ""},
    ),
    observed(
        "a direct response without content keeps its type only",
        rule("directResponse: {status: 204, body: {string: hi}}"),
        {"status": 204, "body": "", "headers": {"content-type": "text/plain"}},
    ),
    observed(
        "a fault without a percentage hits nobody",
        rule(
            f"fault: {{abort: {{httpStatus: 500}}, delay: {{fixedDelay: 9s, percentage: {{}}, percent: 100}}}}, {TO_A}"
        ),
        {"status": 200, "flags": []},
    ),
    observed(
        "a UDP port is no service to a VirtualService",
        rule("route: [{destination: {host: nowhere.example.com, subset: v1}}]").replace("shop.example.com", "udp")
        + "---\napiVersion: v1\nkind: Service\nmetadata: {name: udp, namespace: default}\n"
        "spec: {clusterIP: 10.0.0.9, ports: [{name: http, port: 80, protocol: UDP}]}\n",
        {"status": 503, "flags": ["NC"], "cluster": "outbound|80|v1|nowhere.example.com"},
        url="http://udp.default.svc.cluster.local/",
    ),
]

DYNAMIC = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild, namespace: default}
spec: {hosts: ["*.example.com"], resolution: DYNAMIC_DNS, ports: [{number: 8080, name: http, protocol: HTTP}]}
"""
ANYWHERE = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: "outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS}"
"""


@pytest.mark.parametrize("case", OBSERVED)
def test_request(case: dict[str, Any]) -> None:
    """Through a governed client, with upstreams on loopback."""
    played = play(case)
    check_arrival(case, played)
    check_request(case["expect"], played)
    check_reply(case["expect"], played)


@pytest.mark.parametrize(
    ("config", "cluster", "headers", "place"),
    [
        pytest.param(DYNAMIC, "outbound|8080||*.example.com", {}, ("x.example.com", 8080), id="the name called"),
        pytest.param(
            DYNAMIC,
            "outbound|8080||*.example.com",
            {"host": "y.example.com"},
            ("y.example.com", 8080),
            id="the Host header",
        ),
        pytest.param(
            DYNAMIC,
            "outbound|8080||*.example.com",
            {"host": "y.example.com:81"},
            ("y.example.com", 81),
            id="and its port",
        ),
        pytest.param(ANYWHERE, "AllowAnyDynamicDNSCluster", {}, ("x.example.com", 8080), id="for unknown hosts"),
    ],
)
def test_the_host_header_is_resolved_per_request(
    config: str, cluster: str, headers: dict[str, str], place: tuple[str, int]
) -> None:
    """DYNAMIC_DNS, and ALLOW_ANY_DYNAMIC_DNS, send to the name in the Host header."""
    request = {"method": "GET", "url": "http://x.example.com:8080/", "headers": headers}
    played: Played = play({"config": config, "request": request, "expect": {}})
    assert [one.place for one in played.seen] == [place]
    assert (played.answers[0].status, played.answers[0].event.cluster) == (200, cluster)


def test_explain_looks_at_the_path_that_clients_send() -> None:
    """Dot segments are resolved and unreserved characters decoded before routes are tried."""
    mesh = Mesh.load(rule(f"match: [{{uri: {{exact: /a/b}}}}], name: found, {TO_A}"))
    found = mesh.explain("GET", "http://shop.example.com/x/../a/%62?q=%62")
    assert (found.route, found.targets[0].upstream.path) == ("found", "/a/b?q=%62")
    assert found.request.endswith("/x/../a/%62?q=%62")


GATEWAYS = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: one, namespace: shop}
spec:
  selector: {istio: ingress}
  servers:
  - {port: {number: 443, name: https, protocol: HTTPS}, hosts: [a.example.com], tls: {mode: SIMPLE, credentialName: c}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: two, namespace: shop}
spec:
  selector: {istio: ingress}
  servers:
  - {port: {number: 443, name: https, protocol: HTTPS}, hosts: [HOSTS], tls: {mode: SIMPLE, credentialName: c}}
"""


@pytest.mark.parametrize(
    ("hosts", "outcome"),
    [
        ("a.example.com, b.example.com", "no_listener"),  # the whole server is left out
        ("'*/a.example.com', b.example.com", "no_listener"),  # another spelling of the same
        ("'shop/a.example.com', b.example.com", "not_found"),  # with a namespace it is another host
    ],
)
def test_servers_of_a_gateway_collide_by_what_is_written(hosts: str, outcome: str) -> None:
    """Istio compares the hosts of servers with their namespaces."""
    mesh = Mesh.load(
        GATEWAYS.replace("HOSTS", hosts),
        workload=Workload(namespace="shop", labels={"istio": "ingress"}, gateway=True),
    )
    assert mesh.explain("GET", "https://b.example.com/").outcome == outcome


SIDECAR = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: default}
spec:
  egress:
  - {port: {number: 80, protocol: HTTP, name: http}, hosts: ["*/*"]}
  - {hosts: ["*/shop.example.com"]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a, namespace: default}
spec:
  hosts: [a.example.com]
  resolution: DNS
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 8080, name: more, protocol: HTTP}]
---
"""


def test_a_virtual_service_brings_in_further_ports_of_an_imported_service() -> None:
    """One egress listener imports port 80 only; the destination of another one's rule has port 8080."""
    to_more = "route: [{destination: {host: a.example.com, port: {number: 8080}}}]"
    mesh = Mesh.load(SIDECAR + rule(to_more))
    assert mesh.explain("GET", "http://shop.example.com/").targets[0].endpoints == 1


PASSING = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: one, namespace: shop}
spec:
  selector: {istio: ingress}
  servers: [{port: {number: 443, name: tls, protocol: TLS}, hosts: ["*"], tls: {mode: PASSTHROUGH}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: one, namespace: shop}
spec:
  hosts: ["*.example.com"]
  gateways: [one]
  tls:
  - {match: [{sniHosts: [a.example.com]}], route: [{destination: {host: a.example.com}}]}
  - match: [{sniHosts: [b.example.com, a.example.com]}, {sniHosts: [c.example.com]}]
    route: [{destination: {host: b.example.com}}]
"""


@pytest.mark.parametrize(("name", "host"), [("a", ["a.example.com"]), ("b", []), ("c", ["b.example.com"])])
def test_a_match_with_a_server_name_that_is_taken_is_left_out(name: str, host: list[str]) -> None:
    """Whole, with its other names: Envoy would refuse the listener."""
    mesh = Mesh.load(PASSING, workload=Workload(namespace="shop", labels={"istio": "ingress"}, gateway=True))
    found = mesh.explain("GET", f"https://{name}.example.com/")
    assert [target.host for target in found.targets] == host


DELEGATED = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: leaf, namespace: default}
spec:
  http:
  - {name: leaf, match: [{uri: {prefix: /a}}], route: [{destination: {host: a.example.com}}]}
"""


@pytest.mark.parametrize(("prefix", "route"), [("/", "leaf"), ("", "allow_any")])
def test_an_empty_prefix_of_the_root_conflicts_with_any_of_the_delegate(prefix: str, route: str) -> None:
    """Istio takes it for a condition without a value."""
    root = rule(f"match: [{{uri: {{prefix: '{prefix}'}}}}], delegate: {{name: leaf, namespace: default}}")
    found = Mesh.load(root + "---" + DELEGATED).explain("GET", "http://shop.example.com/a/b")
    assert found.route == route


OPAQUE = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db, namespace: default}
spec:
  hosts: [db.example.com]
  ADDRESSES
  resolution: STATIC
  ports: [{number: 3306, name: tcp, protocol: TCP}, {number: 443, name: tls, protocol: TLS}]
  endpoints: [{address: 10.0.0.1}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: db, namespace: default}
spec:
  hosts: ["*.example.com"]
"""
KNOWN, UNKNOWN = "addresses: [10.1.2.3]", ""


def to(host: str, **match: Any) -> dict[str, Any]:
    """A TCP or TLS rule with one match, or with none."""
    rule: dict[str, Any] = {"route": [{"destination": {"host": f"{host}.example.com"}}]}
    return {"match": [match], **rule} if match else rule


WIDE, NARROW, OTHER = ({"destinationSubnets": [one]} for one in ("10.0.0.0/8", "10.1.0.0/16", "192.168.0.0/16"))
EXACT, SUFFIX = {"sniHosts": ["db.example.com"]}, {"sniHosts": ["*.example.com"]}


@pytest.mark.parametrize(
    ("addresses", "section", "rules", "expected"),
    [
        pytest.param(KNOWN, "tcp", [to("a", **WIDE), to("b", **NARROW), to("c")], "b", id="the smallest subnet"),
        pytest.param(KNOWN, "tcp", [to("a", **OTHER), to("b")], "b", id="another subnet"),
        pytest.param(KNOWN, "tcp", [to("a"), to("b", **NARROW)], "a", id="nothing follows a rule without subnets"),
        pytest.param(KNOWN, "tcp", [to("a", **OTHER)], "db", id="else the service itself"),
        pytest.param(UNKNOWN, "tcp", [to("a", **WIDE), to("b")], "b", id="no address is in no subnet"),
        pytest.param(UNKNOWN, "tcp", [to("a", destinationSubnets=["0.0.0.0/0"]), to("b")], "a", id="all addresses"),
        pytest.param(KNOWN, "tls", [to("a", **SUFFIX), to("b", **EXACT)], "b", id="the most specific name"),
        pytest.param(KNOWN, "tls", [to("a", **EXACT), to("b", **EXACT, **WIDE)], "b", id="addresses before names"),
        pytest.param(KNOWN, "tls", [to("a", **SUFFIX, **OTHER), to("b", **EXACT)], "", id="subnets hold on"),
        pytest.param(UNKNOWN, "tls", [to("a", **EXACT, port=8443)], "db", id="no rule for the port"),
        pytest.param(KNOWN, "tls", [to("a", sniHosts=["DB.example.com"])], "a", id="the case of a name is nothing"),
        pytest.param(KNOWN, "tls", [to("a", sniHosts=["x.example.com"])], "", id="another name is an unknown host"),
    ],
)
def test_connections_go_as_a_listener_sends_them(
    addresses: str, section: str, rules: list[dict[str, Any]], expected: str
) -> None:
    """Read from the listeners that Istio makes: the address first, then the server name, the most specific of each."""
    mesh = Mesh.load(OPAQUE.replace("ADDRESSES", addresses) + f"  {section}: {json.dumps(rules)}\n")
    port, scheme = (443, "https") if section == "tls" else (3306, "http")
    found = mesh.explain("GET", f"{scheme}://db.example.com:{port}/")
    assert [target.host for target in found.targets] == ([f"{expected}.example.com"] if expected else [])
    assert found.outcome == ("route" if expected else "passthrough")


def test_a_listener_for_a_port_hides_no_addresses_behind_it() -> None:
    """A port with TLS that only the listener for all ports imports, at an address of its own."""
    entry = OPAQUE.partition("---")[0].replace("tls, protocol", "https, protocol").replace("number: 443", "number: 80")
    sidecar = SIDECAR.partition("---")[0].replace('["*/*"]', '["*/other.test"]').replace('["*/shop', '["*/db')
    found = [
        Mesh.load(sidecar + "---" + entry.replace("ADDRESSES", addresses)).explain("GET", "https://db.example.com:80/")
        for addresses in (KNOWN, UNKNOWN)
    ]
    assert [one.outcome for one in found] == ["route", "passthrough"]


TWICE = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: istio-system}
spec:
  selector: {istio: ingress}
  servers:
  - {hosts: [db.example.com], port: {number: 3306, name: tcp, protocol: TCP}}
  - {hosts: [db.example.com], port: {number: 80, name: http, protocol: HTTP}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: older, namespace: istio-system, creationTimestamp: "2026-01-01T00:00:00Z"}
spec: {hosts: [db.example.com], resolution: DNS, ports: [{number: 8080, name: tcp, protocol: TCP}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: younger, namespace: shop, creationTimestamp: "2026-01-02T00:00:00Z"}
spec:
  hosts: [db.example.com]
  resolution: DNS
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 5000, name: tcp, protocol: TCP}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: db, namespace: shop}
spec:
  hosts: [db.example.com]
  gateways: [istio-system/gw]
  tcp: [{route: [{destination: {host: db.example.com}}]}]
  http: [{route: [{destination: {host: db.example.com}}]}]
"""


@pytest.mark.parametrize(("port", "sent_to"), [(3306, 8080), (80, 80)], ids=["a connection", "a request"])
def test_a_gateway_finds_services_of_connections_by_what_it_sees(port: int, sent_to: int) -> None:
    """For requests the namespace of the VirtualService comes first (both read from what Istio 1.31 generates)."""
    mesh = Mesh.load(TWICE, workload=Workload(namespace="istio-system", labels={"istio": "ingress"}, gateway=True))
    found = mesh.explain("GET", f"http://db.example.com:{port}/")
    assert [target.port for target in found.targets] == [sent_to]
