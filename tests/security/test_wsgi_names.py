"""WSGI makes one name of ``x-user`` and ``x_user``: no way around what the configuration says of either."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meshlib import Mesh, Workload
from meshlib.adapters.wsgi import MeshMiddleware
from tests.security.targets import ISSUER, JWK, good

TOKEN = good()


def serve(environ: dict[str, str], *resources: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    """The status of a request, and what the application saw of it, under these resources."""
    made = [
        {"apiVersion": "security.istio.io/v1", "kind": kind, "metadata": {"name": f"n{number}"}, "spec": spec}
        for number, (kind, spec) in enumerate(resources)
    ]
    mesh = Mesh.load("\n---\n".join(map(json.dumps, made)), workload=Workload(namespace="default"))
    seen: dict[str, Any] = {}
    statuses: list[str] = []

    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        seen.update(environ, principal=environ["meshlib"].request_principal)
        start_response("200 OK", [])
        return [b""]

    common = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "SERVER_PORT": "80", "HTTP_HOST": "a"}
    body = MeshMiddleware(app, mesh)({**common, **environ}, lambda status, _: statuses.append(status))
    assert list(body) is not None
    return statuses[0][:3], seen


def tokens(**rule: Any) -> tuple[str, dict[str, Any]]:
    jwks = json.dumps({"keys": [JWK]})
    return "RequestAuthentication", {"jwtRules": [{"issuer": ISSUER, "jwks": jwks, **rule}]}


def denied(*headers: str) -> tuple[str, dict[str, Any]]:
    rules = [{"when": [{"key": f"request.headers[{header}]", "values": ["bad"]}]} for header in headers]
    return "AuthorizationPolicy", {"action": "DENY", "rules": rules}


USER = tokens(outputClaimToHeaders=[{"header": "x_user", "claim": "sub"}])


@pytest.mark.parametrize(
    ("environ", "user"),
    [
        ({"HTTP_X_USER": "root"}, None),
        ({"HTTP_X_USER": "root", "HTTP_AUTHORIZATION": f"Bearer {TOKEN}"}, "ann"),
        ({"HTTP_AUTHORIZATION": f"Bearer {TOKEN}"}, "ann"),
        ({}, None),
    ],
    ids=["none", "both", "token", "nothing"],
)
def test_nobody_can_say_what_claims_say(environ: dict[str, str], user: str | None) -> None:
    """Whatever the client called the header."""
    status, seen = serve(environ, USER)
    assert (status, seen.get("HTTP_X_USER")) == ("200", user)


@pytest.mark.parametrize("headers", [("x_role",), ("x-role",), ("x_role", "x-other"), ("x-role", "x_role")], ids=str)
def test_policies_see_what_the_application_does(headers: tuple[str, ...]) -> None:
    """Under the name that they have for it."""
    assert serve({"HTTP_X_ROLE": "bad"}, denied(*headers))[0] == "403"
    status, seen = serve({"HTTP_X_ROLE": "good"}, denied(*headers))
    assert (status, seen["HTTP_X_ROLE"]) == ("200", "good")


def test_tokens_are_found_in_such_a_header() -> None:
    """And taken out of it."""
    status, seen = serve({"HTTP_X_TOK": TOKEN}, tokens(fromHeaders=[{"name": "x_tok"}]))
    assert (status, seen["principal"], "HTTP_X_TOK" in seen) == ("200", f"{ISSUER}/ann", False)


def test_forwarded_headers_keep_their_names() -> None:
    """A policy that asks for another spelling takes nothing away from who looks at them."""
    seen = serve({"HTTP_X_FORWARDED_FOR": "10.0.0.1"}, denied("x_forwarded_for"))[1]
    assert seen["HTTP_X_FORWARDED_FOR"] == "10.0.0.1"
