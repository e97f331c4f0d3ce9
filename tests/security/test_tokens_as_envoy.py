"""Tokens, their claims and their refusals as Envoy has them; observed on Envoy 1.39 with Istio's configuration."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from meshlib._engine.claim_texts import claim_text
from meshlib._engine.jwt import Authenticated, TokenCache, Unauthorized, authenticate
from meshlib._engine.jwt_keys import KeySet, parse_keys
from meshlib._http import Headers, RequestHead
from meshlib._snapshot.authentication import Authentication, KeyOrigin, TokenHeader, TokenRule
from tests.security.targets import ISSUER, JWK, KEY, good
from tests.security.test_token_attacks import forged

BEARER = TokenHeader("authorization", "Bearer ")
KEYS = parse_keys(json.dumps({"keys": [JWK]}))


class Keys:
    """Hands out the same keys for every rule."""

    def __init__(self, keys: KeySet = KEYS) -> None:
        self.keys = keys

    def find(self, _: KeyOrigin) -> KeySet | None:
        return self.keys


def rule(issuer: str = ISSUER, *headers: TokenHeader, **more: Any) -> TokenRule:
    return TokenRule(issuer=issuer, keys=KeyOrigin(uri="http://keys"), headers=headers or (BEARER,), **more)


def check(*rules: TokenRule, keys: KeySet = KEYS, path: str = "/", **headers: str) -> Authenticated | Unauthorized:
    pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
    head = RequestHead("GET", "http", "a", path, Headers(pairs), port=80)
    return authenticate(Authentication(rules=rules), head, Keys(keys), time.time(), TokenCache())


def body(answer: Authenticated | Unauthorized) -> str:
    return "" if answer.is_valid else answer.body


@pytest.mark.parametrize("form", ["{}.", ".{}", "{}...", "..{}"])
def test_empty_sections_do_not_count(form: str) -> None:
    """What is signed is what stands between the dots."""
    assert body(check(rule(), authorization=f"Bearer {form.format(good())}")) == ""
    assert body(check(rule(), authorization=f"Bearer {form.format(forged())}")) == "Jwt verification fails"


@pytest.mark.parametrize(
    ("padding", "is_taken"), [("", True), ("=", False), ("==", True), ("===", False), ("====", False)]
)
def test_padding_is_taken_where_it_is_right(padding: str, is_taken: bool) -> None:
    """As some issuers write it; the signature is one of 256 bytes (Envoy 1.40)."""
    assert check(rule(), authorization=f"Bearer {good()}{padding}").is_valid is is_taken


@pytest.mark.parametrize("after", [" x", ",", ".x", ' "', "; c"])
def test_what_follows_a_token_spoils_it(after: str) -> None:
    """It is part of the token."""
    assert check(rule(), authorization=f"Bearer {good()}{after}").is_valid is False


@pytest.mark.parametrize(
    ("claims", "blamed"),
    [
        ({"jti": ["x"], "iat": "x"}, "[iat] field is not an integer"),
        ({"jti": ["x"], "exp": -1}, "[exp] field is not a positive 64 bit integer"),
        ({"jti": ["x"], "aud": 1}, "[jti] field is not a string"),
        ({"sub": 1, "iat": "x"}, "[sub] field is not a string"),
    ],
)
def test_of_several_broken_claims_the_first_is_blamed(claims: dict[str, Any], blamed: str) -> None:
    """Issuer and subject, the times, the id, the audience: Envoy's order (observed on 1.40)."""
    token = jwt.encode({"iss": ISSUER, **claims}, KEY, algorithm="RS256", headers={"kid": "k"})
    assert body(check(rule(), authorization=f"Bearer {token}")) == f"Jwt payload {blamed}"


def test_repeated_authorization_headers_are_one() -> None:
    """Envoy puts them together, and a good token does not vouch for another."""
    head = RequestHead(
        "GET",
        "http",
        "a",
        "/",
        Headers([("authorization", f"Bearer {good()}"), ("authorization", f"Bearer {good()}")]),
        port=80,
    )
    answer = authenticate(Authentication(rules=(rule(),)), head, Keys(), time.time(), TokenCache())
    assert answer.is_valid is False


SEVERAL = rule(
    ISSUER, TokenHeader("x-a"), TokenHeader("x-b"), payload_header="x-payload", claim_headers=(("x-n", "n"),)
)


def test_of_several_tokens_the_first_gives_the_claims() -> None:
    """And all of them the headers, the last one first."""
    first, last = good(n=1), good(n=2)
    answer = check(SEVERAL, x_a=first, x_b=last)
    assert answer.is_valid is True
    assert answer.claims["n"] == 1
    headers = dict(answer.set_headers)
    assert headers["x-n"] == "2,1"
    assert headers["x-payload"] == ",".join(text.split(".")[1] for text in (last, first))


def test_of_several_tokens_the_last_one_is_refused_first() -> None:
    """It is the one that Envoy looks at first."""
    assert body(check(SEVERAL, x_a="x", x_b=forged())) == "Jwt verification fails"
    assert body(check(SEVERAL, x_a=forged(), x_b="x")).startswith("Jwt is not in the form")


A, B, C = (TokenHeader(f"x-{name}") for name in "abc")
EXPIRED = {"exp": 1}
NO_TOKEN = "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        # Which rule speaks: the first that failed, unless the token was of another issuer; then the last whose it was.
        ({"x_a": "x", "x_b": good(**EXPIRED)}, NO_TOKEN),
        ({"x_a": good(iss="z"), "x_b": good(**EXPIRED), "x_c": forged()}, "Jwt verification fails"),
        ({"x_a": good(iss="z"), "x_b": forged(), "x_c": good(**EXPIRED)}, "Jwt is expired"),
        ({"x_a": good(iss="z"), "x_c": good(iss="z")}, "Jwt issuer is not configured"),
        ({"x_b": good(iss="z"), "x_c": good(**EXPIRED)}, "Jwt is expired"),
        ({"x_a": forged(), "x_b": good(iss="z")}, "Jwt verification fails"),
    ],
)  # fmt: skip
def test_which_of_several_rules_refuses(tokens: dict[str, str], expected: str) -> None:
    """One answer, of one rule."""
    assert body(check(rule(ISSUER, A), rule(ISSUER, B), rule(ISSUER, C), **tokens)) == expected


def test_one_good_rule_is_enough() -> None:
    """Wherever it stands."""
    assert body(check(rule(ISSUER, A), rule(ISSUER, B), x_a="x", x_b=good())) == ""


def signed(key: Any, algorithm: str, **header: str) -> str:
    claims = json.dumps({"iss": ISSUER, "sub": "ann"}).encode()
    return jwt.api_jws.encode(claims, key, algorithm=algorithm, headers=header)


ELLIPTIC, EDWARDS = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()
EC_JWK = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(ELLIPTIC.public_key()))
ED_JWK = json.loads(jwt.algorithms.OKPAlgorithm.to_jwk(EDWARDS.public_key()))
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
NO_KEY, FAILS = "Jwks doesn't have key to match kid or alg from Jwt", "Jwt verification fails"


@pytest.mark.parametrize(
    ("jwk", "token", "expected"),
    [
        (EC_JWK, signed(ELLIPTIC, "ES256"), ""),
        (EC_JWK, signed(KEY, "RS256"), NO_KEY),  # a curve is of one algorithm, written or not
        ({**EC_JWK, "kid": "e"}, signed(ELLIPTIC, "ES256", kid="e"), ""),
        ({**EC_JWK, "kid": "e"}, signed(ELLIPTIC, "ES256", kid="f"), NO_KEY),
        ({**EC_JWK, "kid": "e"}, signed(ELLIPTIC, "ES256"), ""),
        (ED_JWK, signed(EDWARDS, "EdDSA"), ""),
        (ED_JWK, signed(KEY, "RS256"), "Jwt ED25519 signature is wrong length"),
        ({**ED_JWK, "alg": "EdDSA"}, signed(KEY, "RS256"), NO_KEY),
        (JWK, signed(KEY, "PS512"), ""),
        ({**JWK, "alg": "RS256"}, signed(KEY, "PS256"), NO_KEY),
        (JWK, signed(EDWARDS, "EdDSA"), FAILS),
        (JWK, signed(OTHER, "RS256"), FAILS),
        (JWK, signed(OTHER, "RS256", kid="k"), FAILS),
        (JWK, signed(KEY, "RS256", kid="j"), NO_KEY),
    ],
)
def test_keys_that_a_token_means(jwk: dict[str, Any], token: str, expected: str) -> None:
    """Envoy's three ways of saying no."""
    assert (
        body(check(rule(), keys=parse_keys(json.dumps({"keys": [jwk]})), authorization=f"Bearer {token}")) == expected
    )


def test_claims_in_dots_are_nested() -> None:
    """A claim whose own name has a dot gives no header."""
    one = rule(claim_headers=(("x-role", "a.b"),))
    nested = check(one, authorization=f"Bearer {good(a={'b': 'x'})}")
    assert nested.is_valid is True
    assert nested.set_headers == (("x-role", "x"),)
    flat = check(one, authorization=f"Bearer {good(**{'a.b': 'x'})}")
    assert flat.is_valid is True
    assert flat.set_headers == ()


@pytest.mark.parametrize(
    ("claim", "text"),
    [
        ("x y", "x y"),
        ("", ""),
        (True, "true"),
        (False, "false"),
        (1, "1"),
        (1.0, "1"),
        (0.1, "0.100000"),
        (1.5, "1.500000"),
        (-3, "-3.000000"),
        (-0.0, "0"),
        (2**53 + 1, "9007199254740992"),
        (None, None),
        (["x", 2, None, True], b64encode(b'["x",2,null,true]').decode()),
        ({"b": "<x>"}, b64encode(b'{"b":"\\u003cx\\u003e"}').decode()),
        ("a\r\nb: c", None),
        ("a\x00b", None),
        ("a\x7fb", None),
        ("a\tb", "a\tb"),
        ("a\u00a0\u200b\u0085b", "a\u00a0\u200b\u0085b"),  # no control characters once they are bytes
    ],
)
def test_claims_as_header_values(claim: Any, text: str | None) -> None:
    """Numbers have the precision of a double, lists and mappings come as JSON in base64; nothing smuggles a header."""
    assert claim_text(claim) == text


def signed(payload: str) -> str:
    """A token whose payload is this very text."""
    return jwt.api_jws.encode(payload.encode(), KEY, algorithm="RS256", headers={"kid": "k"})


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ('"x":1e400', "is an invalid JSON"),
        ('"x":[-1e400]', "is an invalid JSON"),
        ('"exp":1e400', "is an invalid JSON"),
        ('"x":1e-400', ""),
        (f'"x":{"[" * 90}{"]" * 90}', ""),
        (f'"x":{"[" * 101}{"]" * 101}', "is an invalid JSON"),
        (f'"x":{{"a":{"[" * 300}{"]" * 300}}}', "is an invalid JSON"),
        (f'"x":"{"[" * 300}"', ""),
        ('"exp":18446744073709550591', ""),
        ('"exp":18446744073709551615', "[exp] field is not a positive 64 bit integer"),
    ],
)
def test_numbers_and_depths_are_those_of_envoy(members: str, words: str) -> None:
    """A claim that is no double or nested too deeply (copying it for a handler once failed) spoils the token."""
    for space in ("", " "):
        token = signed(f'{{"iss":"{ISSUER}",{space}{members}}}')
        assert body(check(rule(), authorization=f"Bearer {token}")) == (words and f"Jwt payload {words}")


@pytest.mark.parametrize(
    "changes", [{"crv": "secp256k1"}, {"alg": "ES384"}, {"crv": None}, {"crv": ["P-256"]}], ids=str
)
def test_a_key_on_another_curve_is_none(changes: dict[str, Any]) -> None:
    """Envoy leaves out a curve it does not know, and an algorithm of another curve."""
    curve = ec.SECP256K1() if changes.get("crv") == "secp256k1" else ec.SECP256R1()
    members = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(ec.generate_private_key(curve).public_key()))
    keys = parse_keys(json.dumps({"keys": [{**members, "kid": "e", **changes}, JWK]}))
    assert [key.key_id for key in keys.keys] == ["k"]


@pytest.mark.parametrize("curve", ["P-256", "x", None, ["P-256"]], ids=str)
def test_of_a_key_without_a_curve_that_member_means_nothing(curve: Any) -> None:
    """Envoy 1.39 takes tokens that are signed by it."""
    keys = parse_keys(json.dumps({"keys": [{**JWK, "crv": curve}]}))
    token = signed(f'{{"iss":"{ISSUER}"}}')
    assert body(check(rule(), keys=keys, authorization=f"Bearer {token}")) == ""
