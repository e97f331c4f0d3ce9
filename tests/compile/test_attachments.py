"""Policies with targets: about the gateways of the Gateway API that they name, as Istio 1.31 has it."""

from __future__ import annotations

import pytest

from meshlib import Mesh, Workload

POLICIES = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: p, namespace: {namespace}}}
spec: {{action: DENY, {target}, rules: [{{}}]}}
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: r, namespace: {namespace}}}
spec: {{{target}, jwtRules: [{{issuer: me, jwksUri: "https://me.test/keys"}}]}}
"""
NAME = "gateway.networking.k8s.io/gateway-name"
GROUP = "group: gateway.networking.k8s.io"
TARGET = f"targetRefs: [{{kind: Gateway, {GROUP}, name: front}}]"


@pytest.mark.parametrize(
    ("target", "namespace", "labels", "is_about"),
    [
        (TARGET, "shop", {NAME: "front"}, True),
        (f"targetRef: {{kind: Gateway, {GROUP}, name: front}}", "shop", {NAME: "front"}, True),
        (TARGET.replace("[", "[{kind: Service, group: \"\", name: a}, "), "shop", {NAME: "front"}, True),
        (TARGET, "shop", {NAME: "back"}, False),
        (TARGET, "shop", {"app": "front"}, False),
        (TARGET, "istio-system", {NAME: "front"}, False),
        ('targetRefs: [{kind: Service, group: "", name: front}]', "shop", {NAME: "front"}, False),
        (f"targetRefs: [{{kind: GatewayClass, {GROUP}, name: front}}]", "istio-system", {NAME: "front"}, False),
        ("selector: {matchLabels: {app: web}}", "shop", {NAME: "front", "app": "web"}, True),
    ],
)  # fmt: skip
def test_a_policy_with_targets(target: str, namespace: str, labels: dict[str, str], is_about: bool) -> None:
    """It was about nobody, so that a DENY at a gateway denied nothing."""
    yaml = POLICIES.format(namespace=namespace, target=target)
    security = Mesh.load(yaml, workload=Workload(namespace="shop", labels=labels)).snapshot.security
    assert bool(security.deny) is is_about
    assert (security.authentication is not None) is is_about
