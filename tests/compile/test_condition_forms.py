"""What the forms of a value mean, field by field (asked of Istio 1.31: the RBAC filter that it makes of each)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meshlib import Mesh, Workload
from meshlib._authorize import authorize, inbound_from_json

CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: '{"trustDomain": "td", "trustDomainAliases": ["old.td"]}'}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: shop}
spec: {rules: [%s]}
"""


def lets_in(rule: dict[str, Any], **request: Any) -> bool:
    """Whether a request passes a rule."""
    mesh = Mesh.load(CONFIG % json.dumps(rule), workload=Workload(namespace="shop"))
    described = {"method": "GET", "host": "Shop.Test", "path": "/", "port": 80, "source_ip": "10.0.0.1", **request}
    return authorize(mesh.snapshot.security, inbound_from_json(described)).allowed


@pytest.mark.parametrize(
    ("value", "issuer", "subject", "is_in"),
    [
        ("*", "i", "ann", True),
        ("*/ann", "i", "ann", True),
        ("*/*", "i", "ann", False),
        ("*/*", "i", "*", True),
        ("*/a*", "i", "ann", False),
        ("*/a*", "i", "a*", True),
        ("*i/ann", "xi", "ann", True),
        ("*i/a*", "xi", "ann", False),
        ("*ann", "i", "joann", True),
        ("*/", "i", "", True),
        ("i/*", "i", "ann", True),
        ("i/a*", "i", "ann", True),
        ("i/*a*", "i", "*ann", True),
        ("i/*n", "i", "ann", False),
        ("i*/ann", "ix", "ann", False),
        ("i*/a*", "i*", "ann", True),
        ("i*/*", "ix", "ann", False),
        ("i*", "ix", "ann", True),
        ("i", "i", "", True),
        ("i", "i", "ann", False),
    ],
)
def test_a_star_in_a_request_principal_stands_at_an_end_of_all_of_it(
    value: str, issuer: str, subject: str, is_in: bool
) -> None:
    """Beside the slash it is a star: ``*/*`` lets in nobody but a subject of that name."""
    claims = {"iss": issuer, "sub": subject}
    assert lets_in({"from": [{"source": {"requestPrincipals": [value]}}]}, claims=claims) is is_in
    assert lets_in({"when": [{"key": "request.auth.principal", "values": [value]}]}, claims=claims) is is_in


@pytest.mark.parametrize(
    ("value", "domain", "is_in"),
    [
        ("*old.td/ns/a/sa/x", "x.old.td", True),
        ("*old.td/ns/a/sa/x", "td", True),
        ("*old.td/ns/a/sa/x", "x.td", False),
        ("*d/ns/a/sa/x", "other.d", True),
        ("*.td/ns/a/sa/x", "x.td", True),
        ("*.td/ns/a/sa/x", "td", True),
        ("t*/ns/a/sa/x", "old.td", True),
        ("t*/ns/a/sa/x", "tx", False),
        ("*foo/ns/a/sa/x", "td", False),
        ("*foo/ns/a/sa/x", "xfoo", True),
    ],
)
def test_a_trust_domain_with_a_star_stays_beside_our_own(value: str, domain: str, is_in: bool) -> None:
    """``*old.td`` fits our old.td, so our other one is put beside it, and every other ``…old.td`` still fits."""
    rule = {"from": [{"source": {"principals": [value]}}]}
    assert lets_in(rule, principal=f"{domain}/ns/a/sa/x") is is_in


@pytest.mark.parametrize("field", ["ipBlocks", "remoteIpBlocks"])
@pytest.mark.parametrize(
    ("block", "address", "is_in"),
    [
        ("::ffff:10.0.0.1", "10.0.0.1", False),
        ("::ffff:10.0.0.0/104", "10.0.0.1", False),
        ("::/0", "10.0.0.1", False),
        ("0.0.0.0/0", "2001:db8::1", False),
        ("10.0.0.7/24", "::ffff:10.0.0.1", True),
        ("2001:db8::7/32", "2001:db8:1::1", True),
    ],
)
def test_a_block_of_one_version_holds_no_address_of_the_other(
    field: str, block: str, address: str, is_in: bool
) -> None:
    """A block in the mapped form is one of IPv6, an address in that form is one of IPv4 (observed on Envoy 1.40)."""
    rule = {"from": [{"source": {field: [block]}}]}
    assert lets_in(rule, source_ip=address) is is_in


@pytest.mark.parametrize("key", ["request.headers[host]", "request.headers[Host]", "request.headers[:authority]"])
def test_the_host_header_is_the_authority(key: str) -> None:
    """In any protocol, and its case counts here."""
    assert lets_in({"when": [{"key": key, "values": ["Shop*"]}]})
    assert not lets_in({"when": [{"key": key, "values": ["shop.test"]}]})


@pytest.mark.parametrize(("field", "is_denied"), [("ports", False), ("notPorts", True)])
def test_the_port_0_is_one_that_nobody_has(field: str, is_denied: bool) -> None:
    """Istio accepts it; a DENY on it denied everything."""
    policy = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "p", "namespace": "shop"},
        "spec": {"action": "DENY", "rules": [{"to": [{"operation": {field: ["0"]}}]}]},
    }
    mesh = Mesh.load(json.dumps(policy), workload=Workload(namespace="shop"))
    assert mesh.authorize("GET", "http://web.shop:8080/").allowed is not is_denied
    assert [finding.code for finding in mesh.findings] == []
