"""Trust domains in rules, where the mesh has several names for its own (asked of Istio 1.31)."""

from __future__ import annotations

import json

import pytest

from meshlib import Mesh, Workload

CONFIG = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: '{"trustDomain": "%s", "trustDomainAliases": %s}'}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: shop}
spec: {rules: [%s]}
"""


def lets_in(rule: object, domain: str, own: str = "cluster.local", aliases: tuple[str, ...] = ("old.td",)) -> bool:
    """Whether a peer of a trust domain passes a rule."""
    text = CONFIG % (own, json.dumps(aliases), json.dumps(rule))
    mesh = Mesh.load(text, workload=Workload(namespace="shop"))
    return mesh.authorize("GET", "http://web.shop/", principal=f"{domain}/ns/a/sa/x").allowed


@pytest.mark.parametrize(
    ("values", "domain", "is_in"),
    [
        (["cluster.local"], "old.td", True),
        (["old.td"], "cluster.local", True),
        (["x", "old.td"], "cluster.local", True),
        (["x"], "old.td", False),
        (["cluster*"], "old.td", False),
        (["*.td"], "cluster.local", False),
        (["*"], "old.td", True),
    ],
)
def test_a_trust_domain_of_ours_stands_for_all_of_them(values: list[str], domain: str, is_in: bool) -> None:
    """Where it is written out, in a source and in a condition, and the other way round in a ``not`` list."""
    assert lets_in({"from": [{"source": {"trustDomains": values}}]}, domain) is is_in
    assert lets_in({"when": [{"key": "source.trustDomain", "values": values}]}, domain) is is_in
    assert lets_in({"from": [{"source": {"notTrustDomains": values}}]}, domain) is not is_in
    assert lets_in({"when": [{"key": "source.trustDomain", "notValues": values}]}, domain) is not is_in


def test_cluster_local_is_a_trust_domain_like_others() -> None:
    """It stands for a mesh of another name in principals only."""
    rule = {"from": [{"source": {"trustDomains": ["cluster.local"]}}]}
    assert not lets_in(rule, "new.td", own="new.td")
    assert lets_in({"from": [{"source": {"principals": ["cluster.local/ns/a/sa/x"]}}]}, "new.td", own="new.td")
