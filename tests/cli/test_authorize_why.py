"""``meshlib authorize`` for who wants to know why a request was denied."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.cli.test_authorize import run

POLICIES = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: readers, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  rules:
  - from: [{source: {principals: [cluster.local/ns/shop/sa/web]}}]
    to: [{operation: {methods: [GET], paths: [/reviews/*], ports: ["80"]}}]
  - from: [{source: {ipBlocks: [10.0.0.0/8]}}]
    when: [{key: "request.headers[x-env]", values: [prod]}]
  - from: [{source: {requestPrincipals: [me/you]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-admin, namespace: shop}
spec:
  action: DENY
  rules:
  - to: [{operation: {hosts: [internal]}}]
  - to: [{operation: {paths: [/admin*]}}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ask, namespace: shop}
spec:
  action: CUSTOM
  provider: {name: nobody}
  rules: [{to: [{operation: {paths: [/ask]}}]}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: vault}
spec: {mtls: {mode: STRICT}}
"""
Ask: TypeAlias = Callable[..., tuple[int, str, str]]
WEB = "cluster.local/ns/shop/sa/web"


@pytest.fixture
def ask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    path = tmp_path / "mesh.yaml"
    path.write_text(POLICIES)

    def asked(*arguments: str) -> tuple[int, str, str]:
        status = run("-f", str(path), *arguments)
        out, err = capsys.readouterr()
        return status, out.replace(str(tmp_path), "."), err

    return asked


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["GET", "http://web/reviews/1"], [
            f"rule 0 (from: principal in [{WEB}] does not hold, there is none)",
            "rule 1 (from: source.ip in [10.0.0.0/8] does not hold, it is not known)",
            "rule 2 (from: request principal in [me/you] does not hold, there is no token)",
        ]),
        (["POST", "http://web/reviews/1", "--principal", WEB, "--source-ip", "10.0.0.1"], [
            "rule 0 (to: method in [GET] does not hold, it is 'POST')",
            "rule 1 (when: request.headers[x-env] in [prod] does not hold, there is none)",
        ]),
        (["GET", "http://web/x", "--source-ip", "192.168.0.1"], [
            "rule 0 (to: path in [/reviews/*] does not hold, it is '/x')",
            "rule 1 (from: source.ip in [10.0.0.0/8] does not hold, it is 192.168.0.1)",
        ]),
        (["GET", "http://web:81/reviews/1", "--principal", "cluster.local/ns/a/sa/b"], [
            "rule 0 (to: port in [80] does not hold, it is 81)",
        ]),
        (["GET", "http://web/reviews/1", "--principal", "cluster.local/ns/a/sa/b"], [
            f"rule 0 (from: principal in [{WEB}] does not hold, the peer is 'cluster.local/ns/a/sa/b')",
        ]),
        (["GET", "http://web/admin"], [
            "by AuthorizationPolicy shop/no-admin, rule 1: a rule of a DENY policy matches\n",
            "  ./mesh.yaml:21: path in [/admin*]\n",
        ]),
        (["GET", "http://web/", "-H", "Host: internal"], ["  ./mesh.yaml:20: host in [internal]\n"]),
        (["GET", "http://web/ask"], ["cannot be asked: there is no authorizer 'nobody'\n"]),
    ],
)  # fmt: skip
def test_why(ask: Ask, arguments: list[str], expected: list[str]) -> None:
    """What was wanted, what there was, and where it is written."""
    status, out, err = ask("-n", "shop", "--label", "app=web", *arguments)
    assert (status, err) == (1, "")
    for text in expected:
        assert text in out


def test_a_header_is_not_shown(ask: Ask) -> None:
    """It may be a secret."""
    workload = ("-n", "shop", "--label", "app=web")
    _, out, _ = ask(*workload, "GET", "http://web/", "--source-ip", "10.0.0.1", "-H", "x-env: hush")
    assert "x-env" in out
    assert "hush" not in out


def test_a_principal_may_be_written_as_in_a_certificate(ask: Ask) -> None:
    """It was another one with the scheme before it, and denied."""
    status, out, _ = ask(
        "-n", "shop", "--label", "app=web", "GET", "http://web/reviews/1", "--principal", f"spiffe://{WEB}"
    )
    assert status == 0
    assert out.startswith("allowed by AuthorizationPolicy shop/readers, rule 0")


def test_a_request_without_a_principal_comes_in_plain_text(ask: Ask) -> None:
    """As Mesh.authorize has it: STRICT refuses it."""
    status, out, _ = ask("-n", "vault", "GET", "http://vault/")
    assert status == 1
    assert "PeerAuthentication is STRICT" in out
    assert ask("-n", "vault", "GET", "http://vault/", "--principal", WEB)[0] == 0


def test_policies_about_others_are_mentioned(ask: Ask) -> None:
    """Who forgets to say which workload is called is not told that all is well, and no more."""
    status, out, err = ask("--label", "app=web", "GET", "http://web/admin")
    assert (status, out) == (0, "allowed: no policy is about this workload\n")
    assert err == "none of 3 AuthorizationPolicies is about default (app=web): -n and --label say who is called\n"
