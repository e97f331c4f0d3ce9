"""Where tokens stand in a request, and what is left without them; observed on Envoy 1.40, configured by Istio."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meshlib import Mesh, Workload
from tests.security.targets import ISSUER, JWK, good

JWKS = json.dumps({"keys": [JWK]})
TOKEN = good()


def mesh_of(policy: dict[str, Any], *rules: dict[str, Any]) -> Mesh:
    """One with these token rules, and one policy."""
    tokens = [{"issuer": ISSUER, "jwks": JWKS, **rule} for rule in rules]
    resources = [
        {"kind": "RequestAuthentication", "metadata": {"name": "tokens"}, "spec": {"jwtRules": tokens}},
        {"kind": "AuthorizationPolicy", "metadata": {"name": "policy"}, "spec": policy},
    ]
    common = {"apiVersion": "security.istio.io/v1"}
    text = "\n---\n".join(json.dumps({**common, **resource}) for resource in resources)
    return Mesh.load(text, workload=Workload(namespace="default"))


def path_is(action: str, path: str) -> dict[str, Any]:
    return {"action": action, "rules": [{"when": [{"key": "request.headers[:path]", "values": [path]}]}]}


@pytest.mark.parametrize("action", ["DENY", "ALLOW"])
@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        (f"/p?access_token={TOKEN}", "/p"),
        (f"/p?x=1&access_token={TOKEN}&y=2", "/p?x=1&y=2"),
        ("/p?x=1", "/p?x=1"),
    ],
    ids=["alone", "among others", "none"],
)
def test_policies_see_the_path_without_the_token(action: str, sent: str, seen: str) -> None:
    """As the application does: tokens are taken out before policies are asked."""
    mesh = mesh_of(path_is(action, seen), {})
    assert mesh.authorize("GET", f"http://a{sent}").allowed is (action == "ALLOW")


def test_policies_see_a_token_that_is_passed_on() -> None:
    """There it is part of the path."""
    mesh = mesh_of(path_is("DENY", "/p"), {"forwardOriginalToken": True})
    assert mesh.authorize("GET", f"http://a/p?access_token={TOKEN}").allowed


WITH_TOKEN: dict[str, Any] = {"rules": [{"from": [{"source": {"requestPrincipals": ["*"]}}]}]}


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("t%20k={}", 200),
        ("%74%20k={}", 200),
        ("t+k={}", 403),
        ("t%20k={}+", 401),
        ("t%20k={}%20", 200),
    ],
)
def test_a_plus_sign_is_no_blank(query: str, status: int) -> None:
    """Neither in the name of a parameter nor in a token."""
    mesh = mesh_of(WITH_TOKEN, {"fromParams": ["t k"]})
    assert mesh.authorize("GET", f"http://a/?{query.format(TOKEN)}").status == status


@pytest.mark.parametrize(
    ("rules", "headers"),
    [
        ([{"fromHeaders": [{"name": "x-token"}], "outputPayloadToHeader": "X-Token"}], {"x-token": TOKEN}),
        ([{"outputClaimToHeaders": [{"header": "authorization", "claim": "a"}]}], {"authorization": f"Bearer {TOKEN}"}),
        ([{"fromCookies": ["token"], "outputPayloadToHeader": "cookie"}], {"cookie": f"token={TOKEN}"}),
        ([{}, {"outputPayloadToHeader": "authorization"}], {"authorization": f"Bearer {TOKEN}"}),
    ],
    ids=["own", "default", "cookie", "of another rule"],
)  # fmt: skip
def test_what_clients_say_in_a_header_for_claims_is_no_token(
    rules: list[dict[str, Any]], headers: dict[str, str]
) -> None:
    """It is gone before anybody looks for one."""
    assert mesh_of(WITH_TOKEN, *rules).authorize("GET", "http://a/", headers=headers).status == 403
