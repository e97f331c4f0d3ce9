"""The pinned cases of semantics areas authz, jwt, peerauth and pathnorm."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from meshlib._authorize import GivenKeys, authorize, inbound_from_json, token_check
from meshlib._compile.snapshot import Config
from meshlib._config.load import load
from meshlib._engine.decisions import Decision
from meshlib._engine.path_normalization import normalize_path
from meshlib._snapshot.security import Security
from meshlib.sources import SourceText
from meshlib.workload import Workload
from tests.corpus import CORPUS

CASES = CORPUS.parent / "semantics-cases.json"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def cases(area: str) -> list[Any]:
    if not CASES.is_file():
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"conformance corpus not found at {CORPUS}"))]
    document = json.loads(CASES.read_text(encoding="utf-8"))
    entries = document if isinstance(document, list) else document["cases"]
    return [pytest.param(entry, id=entry["id"]) for entry in entries if entry["area"] == area]


def security_of(config: str, described: dict[str, Any] | None) -> Security:
    described = described or {"namespace": "foo", "labels": {"app": "web"}}
    workload = Workload(namespace=described["namespace"], labels=described.get("labels") or {})
    loaded = load([SourceText("case.yaml", config)], default_namespace="default")
    return Config(loaded.resources).compile(workload).security


@pytest.mark.parametrize("case", cases("authz"))
def test_authorization(case: dict[str, Any]) -> None:
    """Who may do what."""
    asked = case["request"]
    described = {
        **asked,
        "principal": asked.get("peer_principal"),
        "claims": asked.get("jwt_claims"),
        "headers": asked.get("headers") or {},
    }
    security = security_of(case["config"], asked.get("workload"))
    if described["claims"] is None:
        del described["claims"]
    decision = authorize(security, inbound_from_json(described), answer=asked.get("ext_authz", "allow"))
    expected = case["expect"]
    assert decision.allowed == (expected["decision"] == "allow"), decision.reason
    if "status" in expected:
        assert (decision.status or None) == expected["status"]
    if expected.get("body"):
        assert decision.body.decode() == expected["body"]


@pytest.mark.parametrize("case", cases("peerauth"))
def test_peer_authentication(case: dict[str, Any]) -> None:
    """Which mode a port has."""
    given = case["given"]
    assert security_of(case["config"], given["workload"]).mode_of(given["port"]) == case["expect"]["mode"]


@pytest.mark.parametrize("case", cases("pathnorm"))
def test_path_normalization(case: dict[str, Any]) -> None:
    """Which path is seen."""
    security = security_of(case["config"], None)
    assert normalize_path(case["given"]["path"], security.normalization) == case["expect"]["path"]


@pytest.mark.parametrize("case", cases("jwt"))
def test_token(case: dict[str, Any]) -> None:
    """Which tokens are accepted, and what the application sees of them."""
    given, expected = case["given"], case["expect"]
    security = security_of(case["config"], given.get("workload"))
    described = describe(given)
    decision = authorize(
        security, inbound_from_json(described), authenticate=token_check(security, keys_of(security), given["now"])
    )
    if expected["status"] == "forwarded":
        assert decision.allowed, decision.reason
        if "principal" in expected:
            assert (decision.request_principal or None) == expected["principal"]
        check_headers(described["headers"], decision, expected)
        return
    assert (decision.status, decision.body.decode()) == (expected["status"], expected["body"])
    for name, value in (expected.get("headers") or {}).items():
        assert dict(decision.headers)[name] == value


def describe(given: dict[str, Any]) -> dict[str, Any]:
    """The request of a case, with its tokens made."""
    host, _, path = given["url"].partition("://")[2].partition("/")
    headers = dict(given.get("headers") or {})
    path = f"/{path}"
    if "authorization_bearer" in given:
        headers["authorization"] = f"Bearer {mint(given['authorization_bearer'])}"
    for located in [*given.get("header_tokens", ()), *([given["header_token"]] if "header_token" in given else [])]:
        headers[located["name"]] = located.get("value_prefix", "") + mint(located["token"])
    if "query_token" in given:
        mark = "&" if "?" in path else "?"
        path += f"{mark}{given['query_token']['name']}={mint(given['query_token']['token'])}"
    if "cookie_token" in given:
        headers["cookie"] = f"{given['cookie_token']['name']}={mint(given['cookie_token']['token'])}"
    return {"method": given["method"], "host": host, "path": path, "port": 80, "headers": headers}


def mint(token: dict[str, Any]) -> str:
    """A token with the claims, signed as the case says."""
    key = OTHER_KEY if token["signature"] == "invalid" else KEY
    kid = "unknown" if token["signature"] == "unknown-kid" else "k"
    return jwt.encode(token["claims"], key, algorithm="RS256", headers={"kid": kid})


def keys_of(security: Security) -> GivenKeys:
    """Every URI of the rules answers with our key."""
    public = {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key())), "kid": "k"}
    rules = security.authentication.rules if security.authentication else ()
    return GivenKeys({rule.keys.uri: json.dumps({"keys": [public]}) for rule in rules if rule.keys.uri})


def check_headers(sent: dict[str, str], decision: Decision, expected: dict[str, Any]) -> None:
    seen = {name: value for name, value in sent.items() if name not in decision.remove_headers}
    seen |= dict(decision.set_headers)
    for name in expected.get("app_headers_absent", ()):
        assert name not in seen
    for name in expected.get("app_headers_present", ()):
        assert name in seen
    for name, value in expected.get("app_headers", {}).items():
        assert seen[name] == value
