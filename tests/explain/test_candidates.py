"""VirtualServices that were not asked, each with file, line and the first reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshlib import Mesh, Workload

SHOP = Workload(namespace="shop", labels={"app": "web"})

SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec:
  clusterIP: 10.0.0.1
  selector: {app: cart}
  ports: [{name: http, port: 80}, {name: http-alt, port: 8080}, {name: tcp, port: 7000}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: shop}
spec:
  selector: {istio: ingress}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["shop/cart.example.com", "pay/*.example.com"]}
---
"""
WINNER = "namespace: shop, name: winner, creationTimestamp: '2026-01-01T00:00:00Z'"


def rules(hosts: str, meta: str = "namespace: shop, name: other", more: str = "", match: str = "") -> str:
    return (
        f"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{{meta}}}\n"
        f"spec:\n  hosts: {hosts}\n  {more}\n"
        f"  http: [{{{match}route: [{{destination: {{host: cart.shop.svc.cluster.local}}}}]}}]\n---\n"
    )


def passed(text: str, url: str = "http://cart/", workload: Workload = SHOP) -> list[str]:
    """The reasons, of VirtualServices alone, without their place."""
    found = Mesh.load(SERVICES + text, workload=workload).explain("GET", url)
    return [step.reason for step in found.passed_over()]


OTHER_HOST = rules("[pay]")
LOADED = rules("[cart]", WINNER)
LATER = "namespace: shop, name: other, creationTimestamp: '2026-02-01T00:00:00Z'"


@pytest.mark.parametrize(
    ("text", "url", "reason"),
    [
        pytest.param(OTHER_HOST, "http://cart/", "it is for pay.shop.svc.cluster.local", id="host"),
        pytest.param(
            rules("[cart]", "namespace: pay, name: other"), "http://cart/", "it is for cart.pay.svc", id="short"
        ),
        pytest.param(
            rules("[cart]", more="gateways: [gw]"),
            "http://cart/",
            "it is bound to shop/gw, not to the mesh",
            id="gateways",
        ),
        pytest.param(
            rules("[cart.shop.svc.cluster.local]", "namespace: pay, name: other", "exportTo: [.]"),
            "http://cart/",
            "it is exported to namespace pay only, not to shop",
            id="exportTo",
        ),
        pytest.param(
            "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: narrow, namespace: shop}\n"
            "spec: {egress: [{hosts: ['pay/*']}]}\n---\n" + rules("[cart]"),
            "http://cart/",
            "Sidecar shop/narrow (<text>:",
            id="Sidecar",
        ),
        pytest.param(
            rules("[api.example.com]"),
            "http://api.example.com:8080/",
            "no service with one of its hosts listens on port 8080",
            id="port",
        ),
        pytest.param(
            rules("[cart]", match="match: [{sourceLabels: {app: other}}], "),
            "http://cart/",
            "none of its rules is left here: sourceLabels",
            id="no rule",
        ),
        pytest.param(
            rules("[cart]"), "http://cart:7000/", "port 7000 carries no HTTP: only tcp and tls rules count", id="TCP"
        ),
        pytest.param(
            rules(
                "[cart]", more="tcp: [{match: [{sourceLabels: {app: other}}], route: [{destination: {host: cart}}]}]"
            ),
            "http://cart:7000/",
            "none of its tcp and tls rules is for this client",
            id="no TCP rule",
        ),
        pytest.param(rules("[lost]"), "http://lost/", "is no service here: it is known by", id="no service"),
        pytest.param(
            LOADED + rules("[cart]", LATER), "http://cart/", "VirtualService shop/winner (<text>:", id="second"
        ),
        pytest.param(
            rules("['*.local']", WINNER) + rules("[cart]", LATER),
            "http://cart/",
            "has a more specific host",
            id="wildcard",
        ),
    ],
)
def test_the_first_reason(text: str, url: str, reason: str) -> None:
    """Host, gateways, exportTo, the Sidecar's imports, port, rules, precedence."""
    (found,) = passed(text, url)
    assert reason in found


@pytest.mark.parametrize(
    ("text", "url", "reason"),
    [
        (rules("[cart.example.com]", more="gateways: [gw]"), "http://cart.example.com:81/", "has a server on port 81"),
        (rules("[cart.example.com]"), "http://cart.example.com/", "bound to mesh, not to shop/gw, which listen on"),
        (rules("[a.example.com]", more="gateways: [gw]"), "http://a.example.com/", "for namespace shop"),
        (
            rules("[cart.example.com]", more="gateways: [gw]", match="match: [{port: 443}], "),
            "http://cart.example.com/",
            "none of its rules is left here: port",
        ),
        (
            rules("[a.example.com]", "namespace: pay, name: other", "gateways: [shop/gw]\n  exportTo: [pay]"),
            "http://a.example.com/",
            "exported to namespace pay only",
        ),
        (
            rules("[cart.example.com]", WINNER, "gateways: [shop/gw]")
            + rules("['*.example.com']", "namespace: pay, name: other", "gateways: [shop/gw]"),
            "http://cart.example.com/",
            "the host cart.example.com is more specific",
        ),
    ],
)
def test_the_first_reason_at_a_gateway(text: str, url: str, reason: str) -> None:
    """Its servers, their hosts by namespace, exportTo, rules; what has the same host is put together."""
    gateway = Workload(namespace="shop", labels={"istio": "ingress"}, gateway=True)
    (found,) = passed(text, url, gateway)
    assert reason in found


def test_who_is_asked_is_not_passed_over() -> None:
    """The winner stands in the trace, and nowhere else."""
    assert passed(LOADED) == []
    both = rules("[cart.example.com]", WINNER, "gateways: [gw]") + rules("[cart.example.com]", LATER, "gateways: [gw]")
    gateway = Workload(namespace="shop", labels={"istio": "ingress"}, gateway=True)
    assert passed(both, "http://cart.example.com/", gateway) == []


def test_people_see_where_each_one_is_written(tmp_path: Path) -> None:
    """Those for the host of the request come first; of very many others only the number is told."""
    (tmp_path / "cart.yaml").write_text(SERVICES + LOADED)
    (tmp_path / "late.yaml").write_text(rules("[cart]", LATER))
    (tmp_path / "many.yaml").write_text("".join(rules(f"[h{n}]", f"namespace: shop, name: h{n}") for n in range(30)))
    mesh = Mesh.load(tmp_path, workload=SHOP)
    lines = str(mesh.explain("GET", "http://cart/")).splitlines()
    start = lines.index("  not asked")
    assert lines[start + 1].startswith(f"  · VirtualService shop/other ({tmp_path / 'late.yaml'}:1): ")
    assert f"winner ({tmp_path / 'cart.yaml'}:" in lines[start + 1]
    assert lines[start + 2].endswith(f"({tmp_path / 'many.yaml'}:1): it is for h0.shop.svc.cluster.local")
    assert lines[-1] == "  · 10 more VirtualServices: for other hosts"
