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
