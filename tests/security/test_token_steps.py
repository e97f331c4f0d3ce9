"""Several rules and several tokens, of which some are good: what one rule accepts is gone for the next.

Observed on Envoy 1.40, configured by Istio, with every combination of five tokens in three places.
"""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from meshlib._engine.jwt import Authenticated, TokenCache, Unauthorized, authenticate
from meshlib._engine.jwt_keys import KeySet, parse_keys
from meshlib._http import Headers, RequestHead
from meshlib._snapshot.authentication import Authentication, KeyOrigin, TokenHeader, TokenRule
from tests.security.targets import JWK, good

KEYS = parse_keys(json.dumps({"keys": [JWK]}))
BEARER, PLAIN = TokenHeader("authorization", "Bearer "), TokenHeader("x-tok")
A, B, EXPIRED = good(iss="a"), good(iss="b"), good(iss="a", exp=1)
UNKNOWN, LATE = "Jwt issuer is not configured", "Jwt is expired"


class Keys:
    """The same for every rule."""

    def find(self, _: KeyOrigin) -> KeySet:
        return KEYS


def rule(issuer: str, *headers: TokenHeader, output: str = "", **more: Any) -> TokenRule:
    """As of Istio: without places in the usual ones."""
    claim_headers = ((output, "iss"),) if output else ()
    places = {"headers": headers or (BEARER,), "params": () if headers else ("access_token",)}
    return TokenRule(issuer=issuer, keys=KeyOrigin(uri="http://keys"), claim_headers=claim_headers, **places, **more)


def check(rules: tuple[TokenRule, ...], bearer: str = "", param: str = "", plain: str = "") -> Any:
    headers = Headers({"authorization": f"Bearer {bearer}"} if bearer else {})
    if plain:
        headers["x-tok"] = plain
    head = RequestHead("GET", "http", "a", f"/p?access_token={param}" if param else "/p", headers, port=80)
    outputs = tuple({header: 1 for one in rules for header, _ in one.claim_headers})
    return authenticate(Authentication(rules=rules, output_headers=outputs), head, Keys(), time.time(), TokenCache())


BOTH = (rule("a", output="x-a"), rule("b", output="x-b"))
KEPT = (rule("a", output="x-a", forwards_token=True), rule("b", output="x-b", forwards_token=True))
TWICE = (rule("a", BEARER, PLAIN), rule("a", PLAIN))


@pytest.mark.parametrize(
    ("rules", "tokens", "expected"),
    [
        # The last rule finds only what the one before has left, or each finds its own the second time.
        (BOTH, {"bearer": B, "param": A}, ("b", {"x-a": "a", "x-b": "b"}, {"authorization"}, "/p")),
        (BOTH, {"bearer": A, "param": B}, ("a", {"x-a": "a"}, {"authorization"}, "/p")),
        (BOTH, {"bearer": B, "param": B}, ("b", {"x-b": "b,b"}, {"authorization"}, "/p")),
        (BOTH, {"bearer": EXPIRED, "param": B}, LATE),
        (BOTH, {"bearer": B, "param": EXPIRED}, LATE),
        (BOTH, {"bearer": good(iss="c"), "param": A}, UNKNOWN),
        # Tokens that are passed on are found by everybody.
        (KEPT, {"bearer": B, "param": A}, UNKNOWN),
        (KEPT, {"bearer": A, "param": A}, ("a", {"x-a": "a,a"}, set(), None)),
        # A good token that another rule has taken does not vouch for a bad one.
        (TWICE, {"bearer": B, "plain": A}, UNKNOWN),
        (TWICE, {"bearer": EXPIRED, "plain": A}, LATE),
        (TWICE, {"bearer": A, "plain": B}, UNKNOWN),
        (TWICE, {"bearer": A, "plain": A}, ("a", {}, {"authorization", "x-tok"}, None)),
        ((*TWICE, rule("b", BEARER)), {"bearer": B, "plain": A}, ("b", {}, {"authorization", "x-tok"}, None)),
    ],
)
def test_rules_go_on_with_what_is_left(rules: tuple[TokenRule, ...], tokens: dict[str, str], expected: Any) -> None:
    """The verdict; of an accepted request the issuer, the headers it gets and loses, and its path."""
    answer: Authenticated | Unauthorized = check(rules, **tokens)
    if isinstance(expected, str):
        assert (answer.is_valid, getattr(answer, "body", "")) == (False, expected)
        return
    assert answer.is_valid is True
    issuer, given, lost, path = expected
    outputs = {header for one in rules for header, _ in one.claim_headers}
    assert (answer.claims["iss"], dict(answer.set_headers)) == (issuer, given)
    assert (set(answer.remove_headers) - outputs, answer.path) == (lost, path)


FILLED = TokenHeader("x-a")


@pytest.mark.parametrize(("places", "is_valid"), [((BEARER,), True), ((FILLED, BEARER), False)])
def test_what_is_made_of_a_token_is_none(places: tuple[TokenHeader, ...], is_valid: bool) -> None:
    """A rule that looks for tokens where another one puts claims refuses these, as in Envoy; it did not see them."""
    first, found = rule("a", BEARER, PLAIN, output="x-a", forwards_token=True), rule("b", BEARER)
    headers = Headers({"authorization": f"Bearer {B}", "x-tok": A, "x-a": B})
    head = RequestHead("GET", "http", "a", "/p", headers, port=80)
    rules = Authentication(rules=(first, found), output_headers=("x-a",), written=(first, rule("b", *places)))
    assert authenticate(rules, head, Keys(), time.time(), TokenCache()).is_valid is is_valid


def test_what_came_of_several_rules_is_not_remembered() -> None:
    """Each of its tokens may be over at another time."""
    answer = check(BOTH, bearer=B, param=A)
    assert answer.until < answer.since
