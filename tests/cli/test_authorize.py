"""``meshlib authorize``: decisions as the contract of the command line has them."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from meshlib.cli import main

POLICIES = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: deny, namespace: shop}
spec:
  action: DENY
  selector: {matchLabels: {app: web}}
  rules:
  - to: [{operation: {paths: [/admin*]}}]
    from: [{source: {notPrincipals: [cluster.local/ns/ops/sa/root]}}]
---
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens, namespace: shop}
spec: {jwtRules: [{issuer: me, jwksUri: "https://issuer.test/keys"}]}
"""


@pytest.fixture
def policies(tmp_path: Path) -> str:
    path = tmp_path / "mesh.yaml"
    path.write_text(POLICIES)
    return str(path)


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(("authorize", *arguments))
    return int(exit_.value.code or 0)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def ask(monkeypatch: pytest.MonkeyPatch, *requests: Any) -> None:
    text = "\n".join(request if isinstance(request, str) else json.dumps(request) for request in requests)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


def test_one_request_by_flags(policies: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 1 if it is denied, with the policy that did it."""
    flags = ("-f", policies, "-n", "shop", "--label", "app=web", "GET", "http://web:80/admin")
    assert run(*flags) == 1
    assert capsys.readouterr().out.startswith("denied (403) by AuthorizationPolicy shop/deny, rule 0: ")
    assert run(*flags, "--principal", "cluster.local/ns/ops/sa/root") == 0
    capsys.readouterr()
    assert run(*flags, "-o", "json") == 1
    (answer,) = lines(capsys)
    assert (answer["decision"], answer["status"], answer["policy"], answer["rule"]) == ("deny", 403, "shop/deny", 0)


def test_many_requests_are_answered_line_by_line(
    policies: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each for the workload that it names, or that of the flags; denials are answers, not failures."""
    web = {"namespace": "shop", "labels": {"app": "web"}}
    request = {"method": "GET", "host": "web", "path": "/admin/x", "port": 80}
    ask(monkeypatch, {"workload": web, "request": request}, {"request": request})
    assert run("-f", policies, "-n", "shop") == 0
    assert [answer["decision"] for answer in lines(capsys)] == ["deny", "allow"]


def test_tokens_are_judged_with_given_keys_at_a_given_time(
    policies: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a network: a URI that was not given cannot be read."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    (tmp_path / "keys.json").write_text(json.dumps({"keys": [public]}))
    token = jwt.encode({"iss": "me", "sub": "ann", "exp": 1_800_000_000}, key, algorithm="ES256")
    line = {"workload": {"namespace": "shop"}, "request": {"method": "GET", "path": "/", "token": token}}
    statuses = []
    for flags in (
        ("--jwks", f"https://issuer.test/keys={tmp_path / 'keys.json'}", "--now", "2026-11-01T00:00:00Z"),
        ("--jwks", f"https://issuer.test/keys={tmp_path / 'keys.json'}", "--now", "2030-01-01T00:00:00Z"),
        ("--now", "2026-11-01T00:00:00Z"),
    ):
        ask(monkeypatch, line)
        assert run("-f", policies, *flags) == 0
        statuses.append(lines(capsys)[0]["status"])
    assert statuses == [200, 401, 401]


def test_a_key_that_nobody_looks_at_is_told(
    policies: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A principal that is misspelt is none."""
    ask(monkeypatch, {"workload": {"lables": {}}, "request": {"pincipal": "cluster.local/ns/ops/sa/root"}})
    assert run("-f", policies) == 0
    told = capsys.readouterr().err
    assert "line 1: workload has the unknown key 'lables'" in told
    assert "line 1: request has the unknown key 'pincipal'" in told


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 1"),
        ("[]", "expected a JSON object"),
        ({"workload": {}}, 'expected {"workload"?'),
        ({"request": {"port": "x"}}, "'port' must be a number"),
        ({"request": {"port": 80, "path": 3}}, "'path' must be a text"),
        ({"request": {}, "ext_authz": "maybe"}, "'ext_authz' must be one of"),
        ({"request": {"source_ip": "10.0.0.x"}}, "'source_ip' must be an IP address"),
        ({"request": {}, "workload": {"labels": ["web"]}}, "'labels' of the workload must be a mapping"),
        ({"request": {"protocol": "udp"}}, "'protocol' must be http or tcp"),
    ],
)
def test_what_is_no_request_is_status_2(
    policies: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: Any, words: str
) -> None:
    """With the line and what was expected."""
    ask(monkeypatch, line)
    assert run("-f", policies) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    "flags",
    [
        ("--jwks", "x"),
        ("--jwks", "u=/nowhere"),
        ("--now", "yesterday"),
        ("GET",),
        ("GET", "http://web/", "--source-ip", "10.0.0.x"),
    ],
)
def test_wrong_usage_is_status_2(policies: str, flags: tuple[str, ...]) -> None:
    """Nothing is guessed."""
    assert run("-f", policies, *flags) == 2
