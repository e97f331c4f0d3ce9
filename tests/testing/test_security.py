"""Identities, tokens, locked-down namespaces and decision tables in a simulation."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshlib.testing import Simulation
from tests.testing.meshes import LOCKED, TOKENS

VAULT = "http://keys.vault.svc.cluster.local:8080"
ISSUER = "https://issuer.example"


@pytest.mark.parametrize(
    ("principal", "method", "path", "status"),
    [
        ("cluster.local/ns/shop/sa/web", "GET", "/keys/1", 200),
        ("cluster.local/ns/shop/sa/web", "POST", "/keys/1", 403),
        ("cluster.local/ns/shop/sa/web", "GET", "/other", 403),
        ("cluster.local/ns/shop/sa/batch", "GET", "/keys/1", 403),
    ],
)
def test_a_locked_down_namespace_lets_in_whom_its_policy_names(
    principal: str, method: str, path: str, status: int
) -> None:
    """By the identity of the workload that calls, whatever it claims."""
    with Simulation(LOCKED) as sim:
        keys = sim.deploy("keys", namespace="vault", port=8080)
        call = sim.peer(principal).request(method, VAULT + path)
        assert call.status == status
        assert keys.received == 1
        assert ("refused" in str(sim.timeline)) is (status == 403)


def test_plaintext_does_not_get_into_a_strict_namespace() -> None:
    """The connection is closed, as Istio does it; who enforces nothing sees the upstream's answer."""
    rule = """
    apiVersion: networking.istio.io/v1
    kind: DestinationRule
    metadata: {name: keys, namespace: default}
    spec: {host: keys.vault.svc.cluster.local, trafficPolicy: {tls: {mode: DISABLE}}}
    """
    with Simulation([LOCKED, rule]) as sim:
        sim.deploy("keys", namespace="vault", port=8080)
        assert "UC" in sim.get(f"{VAULT}/keys/1").flags
    with Simulation([LOCKED, rule], enforce=False) as sim:
        sim.deploy("keys", namespace="vault", port=8080)
        assert sim.get(f"{VAULT}/keys/1").status == 200


def test_tokens_are_those_of_the_issuer_that_the_yaml_names() -> None:
    """Good, absent, forged, expired, of another issuer."""
    with Simulation(TOKENS) as sim:
        sim.deploy("web")

        def status(token: str | None) -> int:
            return sim.get("http://web/", headers={} if token is None else {"authorization": f"Bearer {token}"}).status

        good = sim.token(ISSUER, sub="jason")
        assert status(good) == 200
        assert status(None) == 403
        assert status(sim.token(ISSUER, forged=True)) == 401
        assert status(sim.token("https://other.example")) == 401
        sim.advance(3600 + 61)  # its hour, and the minute that Istio grants
        assert status(good) == 401
        assert status(sim.token(ISSUER)) == 200


def test_keys_are_read_again_on_virtual_time() -> None:
    """Every twenty minutes; a key that is not known brings it forward, at most once a minute."""
    with Simulation(TOKENS) as sim:
        sim.deploy("web")

        def status(token: str) -> int:
            return sim.get("http://web/", headers={"authorization": f"Bearer {token}"}).status

        old = sim.token(ISSUER)
        sim.advance(60)
        sim.rotate_keys()
        assert status(old) == 200  # nobody knows yet
        sim.advance(20 * 60 - 61)
        assert status(old) == 200
        sim.advance(1)
        assert status(old) == 401
        sim.advance(60)
        before = sim.token(ISSUER)
        sim.rotate_keys()
        assert status(before) == 200
        assert status(sim.token(ISSUER)) == 200  # a new key: they are read at once
        assert status(before) == 401
        sim.rotate_keys()
        assert status(sim.token(ISSUER)) == 401  # but not twice in a minute
        sim.advance(60)
        assert status(sim.token(ISSUER)) == 200


def test_keys_of_an_issuer_that_is_down_stay_in_use_for_a_day() -> None:
    """And where there never were any, they are tried for until they come."""
    with Simulation(TOKENS) as sim, sim.keys_unreachable():
        sim.deploy("web")
        headers = {"authorization": f"Bearer {sim.token(ISSUER, expires_in=1e6)}"}
        assert sim.get("http://web/", headers=headers).text == "Jwks remote fetch is failed"
    with Simulation(TOKENS) as sim:
        sim.deploy("web")
        headers = {"authorization": f"Bearer {sim.token(ISSUER, expires_in=1e6)}"}
        assert sim.get("http://web/", headers=headers).status == 200
        with sim.keys_unreachable():
            sim.advance(24 * 3600 - 60)
            assert sim.get("http://web/", headers=headers).status == 200
            sim.advance(3600)
            assert sim.get("http://web/", headers=headers).status == 401
        sim.advance(3600)
        assert sim.get("http://web/", headers=headers).status == 200


def test_a_token_is_the_same_text_in_every_run() -> None:
    """And another one with another seed."""
    tokens = []
    for seed in (1, 1, 2):
        with Simulation(seed=seed) as sim:
            tokens.append(sim.token(ISSUER, aud=["a", "b"], claims={"role": "admin"}))
    assert tokens[0] == tokens[1] != tokens[2]


TABLE = """name,to,method,path,principal,expect
web reads,keys,GET,/keys/1,cluster.local/ns/shop/sa/web,allow
web writes,keys,POST,/keys/1,cluster.local/ns/shop/sa/web,deny
others read,keys,GET,/keys/1,cluster.local/ns/shop/sa/other,deny
nobody reads,keys,GET,/keys/1,,deny
"""


def test_a_decision_table_is_answered_with_the_rule_that_decided(tmp_path: Path) -> None:
    """From a file; a wrong expectation fails with the whole table."""
    file = tmp_path / "table.csv"
    file.write_text(TABLE, encoding="utf-8")
    with Simulation(LOCKED) as sim:
        sim.deploy("keys", namespace="vault", port=8080)
        decisions = sim.authorize(file)
        decisions.check()
        assert [row.name for row in decisions.allowed] == ["web reads"]
        assert (decisions[0].policy, decisions[0].rule) == ("vault/web-reads", 0)
        assert len(decisions.denied) == 3
        wrong = sim.authorize([{"to": "keys", "path": "/keys/1", "expect": "allow", "name": "anybody"}])
        with pytest.raises(AssertionError, match="1 of 1 decisions are not as expected\ndeny   anybody"):
            wrong.check()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"to": "keys", "colour": "red"}, "there is no column 'colour'"),
        ({"to": "keys", "expect": "maybe"}, "not allow or deny"),
    ],
)
def test_a_table_with_a_mistake_is_refused(row: dict[str, str], message: str) -> None:
    """With its row and what may stand there."""
    with Simulation(LOCKED) as sim:
        sim.deploy("keys", namespace="vault", port=8080)
        with pytest.raises(ValueError, match=f"row 1: .*{message}"):
            sim.authorize([row])


def test_a_row_can_have_a_token_or_claims() -> None:
    """An ``iss`` mints one, which is then verified; ``claims`` are taken as verified."""
    with Simulation(TOKENS) as sim:
        sim.deploy("web")
        rows = [
            {"to": "web", "iss": ISSUER, "sub": "jason", "expect": "allow"},
            {"to": "web", "iss": "https://other.example", "expect": "deny"},
            {"to": "web", "claims": '{"iss": "https://issuer.example", "sub": "a"}', "expect": "allow"},
            {"to": "web", "token": sim.token(ISSUER, forged=True), "expect": "deny"},
        ]
        sim.authorize(rows).check()
