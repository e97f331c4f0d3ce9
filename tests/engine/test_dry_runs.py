"""Policies in dry run beside those that decide, as Envoy 1.39 counts them."""

from __future__ import annotations

import pytest

from meshlib import Mesh, Workload

POLICY = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: {name}, namespace: shop, annotations: {{istio.io/dry-run: "{dry}"}}}}
spec:
  action: {action}
  rules: [{{to: [{{operation: {{paths: ["{path}"]}}}}]}}]
"""
DRY = [
    POLICY.format(name="dry-deny", dry="true", action="DENY", path="/a"),
    POLICY.format(name="dry-allow", dry="T", action="ALLOW", path="/a"),
]
DENY = POLICY.format(name="deny", dry="false", action="DENY", path="/a")
ALLOW = POLICY.format(name="allow", dry="0", action="ALLOW", path="/b")


@pytest.mark.parametrize(
    ("enforced", "path", "status", "said"),
    [
        ([], "/a", 200, "deny by shop/dry-deny rule 0; allow by shop/dry-allow rule 0"),
        ([], "/b", 200, "deny: no match; allow: no match"),
        ([DENY], "/a", 403, "deny by shop/dry-deny rule 0"),
        ([DENY], "/b", 200, "deny: no match; allow: no match"),
        ([ALLOW], "/a", 403, "deny by shop/dry-deny rule 0; allow by shop/dry-allow rule 0"),
        ([ALLOW, DENY], "/a", 403, "deny by shop/dry-deny rule 0"),
        ([ALLOW, DENY], "/b", 200, "deny: no match; allow: no match"),
    ],
)
def test_whom_a_deny_policy_denies_no_allow_policy_is_asked_about(
    enforced: list[str], path: str, status: int, said: str
) -> None:
    """Not even in dry run: it counted a result that there is not in Envoy."""
    mesh = Mesh.load("---".join([*DRY, *enforced]), workload=Workload(namespace="shop"))
    decision = mesh.authorize("GET", f"http://web.shop{path}")
    assert (decision.status, decision.dry_run) == (status, said)
