"""What spans and metrics say of refusals, and of policies in dry run."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from tests.telemetry.calls import serve
from tests.telemetry.test_tracing import Traced, sampled

POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {name}, namespace: shop, annotations: {{istio.io/dry-run: "{dry}"}}}}
spec:
  action: {action}
  rules: [{{to: [{{operation: {{paths: ["/never"]}}}}]}}, {{to: [{{operation: {{paths: ["/a"]}}}}]}}]
"""
DRY_DENY = POLICY.format(name="deny", dry="true", action="DENY")
DRY_ALLOW = POLICY.format(name="allow", dry="true", action="ALLOW")
DENY = POLICY.format(name="denied", dry="false", action="DENY")
OFF = """
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: tracing, namespace: shop}
spec: {tracing: [{providers: [{name: otel}], enableIstioTags: false, randomSamplingPercentage: 100}]}
"""
PREFIX = "istio.authorization.dry_run."


@pytest.mark.parametrize(
    ("documents", "path", "expected"),
    [
        ([], "/a", {}),
        ([DRY_DENY, DRY_ALLOW], "/a", {
            "deny_policy.result": "denied", "deny_policy.name": "ns[shop]-policy[deny]-rule[1]",
            "allow_policy.result": "allowed", "allow_policy.name": "ns[shop]-policy[allow]-rule[1]",
        }),
        ([DRY_DENY, DRY_ALLOW], "/b", {"deny_policy.result": "allowed", "allow_policy.result": "denied"}),
        ([DRY_ALLOW, DENY], "/a", {}),
        ([DRY_DENY, DENY], "/a", {
            "deny_policy.result": "denied", "deny_policy.name": "ns[shop]-policy[deny]-rule[1]",
        }),
        ([DRY_DENY, OFF, sampled(100)], "/a", {}),
    ],
)  # fmt: skip
def test_the_span_of_a_request_tells_of_policies_in_dry_run(
    documents: list[str], path: str, expected: dict[str, str]
) -> None:
    """As Istio's tags do, on every request; also where nothing matched."""
    traced = Traced(*documents)
    for _ in range(3):
        serve(traced.mesh, path=path)
    for span in traced.spans():
        tags: dict[str, Any] = dict(span.attributes or {})
        assert {name.removeprefix(PREFIX): tags[name] for name in tags if name.startswith(PREFIX)} == expected
    assert len(traced.spans()) == 3


def test_a_refused_grpc_request_is_counted_as_one() -> None:
    """With the status that the client reads."""
    traced = Traced(DENY)
    metrics = traced.mesh.metrics(CollectorRegistry())
    sent = serve(traced.mesh, path="/a", headers=(("content-type", "application/grpc"),))
    assert sent[0]["status"] == 200
    assert (b"grpc-status", b"7") in sent[0]["headers"]
    assert (b"grpc-message", b"RBAC: access denied") in sent[0]["headers"]
    lines = [line for line in metrics.text().splitlines() if line.startswith("istio_requests_total{")]
    assert len(lines) == 1
    assert 'grpc_response_status="7"' in lines[0]
    assert 'response_code="200"' in lines[0]
