"""Extension providers as authorizers: what Istio 1.31 denies at once, and what is told of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meshlib import Mesh, Workload

ME = Workload(namespace="shop", labels={"app": "web"})
BASE = {"service": "authz.test", "port": 9000}


def load(*providers: dict[str, Any], name: str = "own", more: str = "", account: str = "") -> Mesh:
    """A mesh in which everything is asked about."""
    mesh = json.dumps({"extensionProviders": list(providers)})
    return Mesh.load(
        f"""
apiVersion: v1
kind: ConfigMap
metadata: {{name: istio, namespace: istio-system}}
data:
  mesh: '{mesh}'
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: authz, namespace: shop}}
spec:
  hosts: [authz.test]
  location: MESH_INTERNAL
  ports: [{{number: 9000, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1, serviceAccount: "{account}"}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: ask, namespace: shop}}
spec:
  action: CUSTOM
  provider: {{name: {name}}}
  rules: [{{}}]
{more}""",
        workload=ME,
    )


def own(**fields: Any) -> dict[str, Any]:
    """The provider that is asked."""
    return {"name": "own", "envoyExtAuthzHttp": {**BASE, **fields}}


def told(mesh: Mesh) -> str:
    """What is told of the authorizer."""
    return "; ".join(finding.message for finding in mesh.findings if finding.code == "MESH091")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"port": 0}, "the port 0 is not between 1 and 65535"),
        ({"service": ""}, "the service is missing"),
        ({"pathPrefix": "x"}, "the pathPrefix 'x' does not begin with /"),
        ({"statusOnError": "299"}, "the statusOnError '299' is no HTTP status that Envoy knows"),
        ({"timeout": "-1s"}, "the timeout is negative"),
        ({"includeRequestBodyInCheck": {"allowPartialMessage": True}}, "needs a maxRequestBytes above 0"),
        ({"includeAdditionalHeadersInCheck": {"x": "50%"}}, "the percent sign at 2 begins no operator"),
        ({"includeRequestHeadersInCheck": ["*"]}, 'a header "*" is not supported'),
        ({"includeHeadersInCheck": ["*"]}, 'a header "*" is not supported'),
        ({"headersToUpstreamOnAllow": ["x", "*"]}, 'a header "*" is not supported'),
        ({"headersToDownstreamOnDeny": ["*"]}, 'a header "*" is not supported'),
        ({"headersToDownstreamOnAllow": ["*"]}, 'a header "*" is not supported'),
    ],
)
def test_a_provider_that_istio_refuses_denies(fields: dict[str, Any], expected: str) -> None:
    """With failOpen, too; a lone star was taken for all headers."""
    mesh = load(own(failOpen=True, **fields))
    assert expected in told(mesh)
    assert not mesh.authorize("GET", "http://web.shop/").allowed


@pytest.mark.parametrize("name", ["Own", "o_n", "a" * 64])
def test_a_name_that_istio_refuses_denies(name: str) -> None:
    """It must be a label of DNS."""
    mesh = load({"name": name, "envoyExtAuthzHttp": BASE}, name=name)
    assert "at most 63 lower-case letters, digits and hyphens" in told(mesh)
    assert not mesh.authorize("GET", "http://web.shop/").allowed


def test_of_two_providers_with_one_name_the_last_counts() -> None:
    """The first did."""
    mesh = load(own(pathPrefix="x"), own())
    assert told(mesh) == ""
    assert mesh.authorize("GET", "http://web.shop/").allowed


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"service": "shop/authz.test"}, ""),
        ({"service": "other/authz.test"}, "the service 'other/authz.test' of the authorizer 'own' is not known"),
        ({"service": "unknown.test"}, "the service 'unknown.test' of the authorizer 'own' is not known"),
        ({"port": 9001}, "the authorizer 'own': the service 'authz.test' has no port 9001"),
    ],
)
def test_an_authorizer_that_is_nowhere_is_told(fields: dict[str, Any], expected: str) -> None:
    """Before it is asked."""
    assert told(load(own(**fields))) == expected


def test_an_authorizer_behind_tls_is_told() -> None:
    """It is not asked in plain text."""
    rule = """---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: authz, namespace: shop}
spec:
  host: authz.test
  trafficPolicy: {tls: {mode: SIMPLE}}
"""
    assert "its DestinationRule asks for TLS (SIMPLE)" in told(load(own(), more=rule))


@pytest.mark.parametrize(
    ("mode", "account", "is_asked"), [("STRICT", "a", False), ("STRICT", "", True), ("PERMISSIVE", "a", True)]
)
def test_an_authorizer_that_takes_mutual_tls_only_is_not_asked(mode: str, account: str, is_asked: bool) -> None:
    """In plain text it is never there, which failOpen would forgive every time."""
    peers = """---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: shop}
spec: {mtls: {mode: %s}}
"""
    mesh = load(own(failOpen=True), more=peers % mode, account=account)
    security = mesh.snapshot.security
    assert security.authorizer is not None
    assert security.authorizer.is_usable is is_asked
    assert ("its PeerAuthentication is STRICT" in told(mesh)) is not is_asked


@pytest.mark.parametrize(
    ("answer", "fields", "reason"),
    [
        ("allow", {}, "the authorizer 'own' said yes; no policy is about this workload"),
        (
            "unavailable",
            {"failOpen": True},
            "the authorizer 'own' could not be asked, which failOpen forgives; no policy",
        ),
        ("deny", {}, "the authorizer 'own' said no"),
    ],
)
def test_the_reason_tells_of_the_authorizer(answer: Any, fields: dict[str, Any], reason: str) -> None:
    """Also of its yes: it said that there was no policy."""
    decision = load(own(**fields)).authorize("GET", "http://web.shop/", authorizer=answer)
    assert decision.reason.startswith(reason)
