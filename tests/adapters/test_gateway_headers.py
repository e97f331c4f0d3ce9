"""What a gateway makes of single headers, each row as Envoy 1.39 did when it was asked."""

from __future__ import annotations

import pytest

from meshlib.adapters.gateway.headers import Hops, request_headers


@pytest.mark.parametrize(
    "name",
    [
        "x-envoy-decorator-operation",
        "x-envoy-downstream-service-cluster",
        "x-envoy-internal",
        "x-envoy-original-host",
        "x-envoy-original-path",
        "x-envoy-upstream-stream-duration-ms",
    ],
)
def test_nobody_outside_says_what_only_a_gateway_may(name: str) -> None:
    """Services and policies would believe it."""
    headers = request_headers([(name.encode(), b"/admin")], source="10.0.0.9", scheme="http", hops=Hops(0))
    assert name not in headers


@pytest.mark.parametrize(
    ("sent", "passed"),
    [
        ("trailers", "trailers"),
        ("gzip,trailers", "trailers"),
        ("gzip, trailers;q=0.5", None),
        ("Trailers", None),
        ("gzip", None),
    ],
)
def test_te_says_trailers_or_nothing(sent: str, passed: str | None) -> None:
    """Other codings of a transfer end at the gateway."""
    headers = request_headers([(b"te", sent.encode())], source="10.0.0.9", scheme="http", hops=Hops(0))
    assert headers.get("te") == passed
