"""Conditions on what HTTP/2 calls pseudo headers, as Envoy 1.39 matches them."""

from __future__ import annotations

import pytest

from meshlib import Mesh, Workload
from meshlib._http import NO_HEADERS, RequestHead
from meshlib._snapshot.inbound import InboundRequest

POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: p, namespace: shop}}
spec:
  action: DENY
  rules: [{{when: [{{key: "request.headers[{key}]", values: ["{value}"]}}]}}]
"""


@pytest.mark.parametrize(
    ("key", "value", "is_denied"),
    [
        (":method", "P*", True),
        (":method", "GET", False),
        (":path", "/a?x=1", True),
        (":path", "/b*", False),
        (":authority", "web*", True),
        (":authority", "other", False),
        (":scheme", "http", True),
    ],
)
def test_a_pseudo_header_is_matched(key: str, value: str, is_denied: bool) -> None:
    """A DENY on one of them is a DENY."""
    mesh = Mesh.load(POLICY.format(key=key, value=value), workload=Workload(namespace="shop"))
    request = InboundRequest(RequestHead("PUT", "http", "web.shop", "/a?x=1", NO_HEADERS, port=80), port=80)
    assert (mesh.snapshot.security.deny[0].find(request) is not None) is is_denied


@pytest.mark.parametrize(
    ("key", "value", "sent", "is_denied"),
    [
        ("x-forwarded-proto", "http", {}, True),
        ("x-forwarded-proto", "https", {}, False),
        ("x-forwarded-proto", "http", {"x-forwarded-proto": "https"}, False),
        ("x-forwarded-proto", "https", {"x-forwarded-proto": "https"}, True),
        ("x-request-id", "*", {}, True),
        ("x-request-id", "id", {}, False),
        ("x-request-id", "id", {"x-request-id": "id"}, True),
        ("transfer-encoding", "*", {"transfer-encoding": "chunked"}, False),
        ("Keep-Alive", "*", {"keep-alive": "5"}, False),
        ("te", "*", {"te": "trailers"}, True),
        ("expect", "*", {"expect": "100-continue"}, True),
    ],
)
def test_what_envoy_gives_and_takes_before_policies_see_it(
    key: str, value: str, sent: dict[str, str], is_denied: bool
) -> None:
    """A DENY on plain HTTP did not see requests that came without a proxy."""
    mesh = Mesh.load(POLICY.format(key=key, value=value), workload=Workload(namespace="shop"))
    decision = mesh.authorize("GET", "http://web.shop/", headers=sent)
    assert decision.allowed is not is_denied
