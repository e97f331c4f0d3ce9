"""Tokens and claims do not stand in what a debugger, a log or a failed assertion shows."""

from __future__ import annotations

import time

import jwt
import pytest

from meshlib._engine.decisions import Decision
from meshlib._engine.jwt import TokenCache, authenticate
from meshlib._engine.jwt_locations import find_tokens
from meshlib._http import Headers, RequestHead
from meshlib._snapshot.authentication import Authentication
from meshlib._snapshot.inbound import InboundRequest
from tests.security.targets import ISSUER, KEY
from tests.security.test_tokens_as_envoy import Keys, rule


@pytest.mark.parametrize("ending", ["", "x"])
def test_no_repr_shows_a_token(ending: str) -> None:
    """Good or not, in a query or passed on as a payload."""
    token = jwt.encode({"iss": ISSUER, "sub": "hidden"}, KEY, algorithm="RS256", headers={"kid": "k"}) + ending
    its = rule(params=("tok",), payload_header="x-payload")
    head = RequestHead("GET", "http", "a", f"/p?tok={token}", Headers(), port=80)
    answer = authenticate(Authentication(rules=(its,)), head, Keys(), time.time(), TokenCache())
    assert answer.is_valid is not bool(ending)
    decision = Decision(allowed=answer.is_valid, claims={"sub": "hidden"}, request_principal=f"{ISSUER}/hidden")
    if answer.is_valid:
        decision.set_headers = answer.set_headers
    else:
        decision.headers, decision.reason = answer.headers, answer.reason
    shown = repr([answer, decision, head, InboundRequest(head, port=80), *find_tokens(its, head)])
    assert "/p" in shown
    assert "hidden" not in shown
    assert not any(part in shown for part in token.split("."))
