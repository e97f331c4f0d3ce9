"""Verified tokens are remembered: bounded, for the keys that verified them, and judged by the clock each time."""

from __future__ import annotations

import json
import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from meshlib._engine.jwt import SKEW, TokenCache, authenticate
from meshlib._engine.jwt_keys import KeySet, parse_keys
from meshlib._engine.jwt_parts import Token
from meshlib._http import Headers, RequestHead
from meshlib._snapshot.authentication import Authentication, KeyOrigin, TokenHeader, TokenRule
from tests.security.targets import ISSUER, JWK, good

RULE = TokenRule(issuer=ISSUER, keys=KeyOrigin(uri="http://keys"), headers=(TokenHeader("authorization", "Bearer "),))


class Keys:
    """Hands out one key set, which can be exchanged."""

    def __init__(self) -> None:
        self.now: KeySet | None = parse_keys(json.dumps({"keys": [JWK]}))

    def find(self, _: KeyOrigin) -> KeySet | None:
        return self.now


def answer(text: str, keys: Keys, cache: TokenCache, now: float, rule: TokenRule = RULE) -> str:
    head = RequestHead("GET", "http", "a", "/", Headers({"authorization": f"Bearer {text}"}), port=80)
    found = authenticate(Authentication(rules=(rule,)), head, keys, now, cache)
    return "" if found.is_valid else found.body


def test_a_remembered_token_is_judged_by_the_clock() -> None:
    """What was good a moment ago has expired now; what is good now was not before."""
    now = int(time.time())
    text, keys, cache = good(exp=now + 60, nbf=now), Keys(), TokenCache()
    assert answer(text, keys, cache, now) == ""
    assert answer(text, keys, cache, now + 60 + SKEW) == ""
    assert answer(text, keys, cache, now + 61 + SKEW) == "Jwt is expired"
    assert answer(text, keys, cache, now - 1 - SKEW) == "Jwt not yet valid"


def test_a_remembered_token_is_judged_by_each_rule() -> None:
    """A verified signature says nothing of issuer and audience."""
    text, keys, cache, now = good(), Keys(), TokenCache(), time.time()
    assert answer(text, keys, cache, now) == ""
    other = TokenRule(issuer="https://other.test", keys=RULE.keys, headers=RULE.headers)
    assert answer(text, keys, cache, now, other) == "Jwt issuer is not configured"
    narrow = TokenRule(issuer=ISSUER, keys=RULE.keys, headers=RULE.headers, audiences=frozenset(["bank"]))
    assert answer(text, keys, cache, now, narrow) == "Audiences in Jwt are not allowed"


def test_other_keys_remember_nothing() -> None:
    """A token is verified anew by keys that were read since; by other keys, or none, it is not good any more."""
    text, keys, cache, now = good(), Keys(), TokenCache(), time.time()
    assert answer(text, keys, cache, now) == ""
    keys.now = parse_keys(json.dumps({"keys": [JWK]}))
    assert cache.get((text, keys.now.generation)) is None
    assert answer(text, keys, cache, now) == ""
    stranger = jwt.algorithms.RSAAlgorithm.to_jwk(_other_key().public_key())
    keys.now = parse_keys(json.dumps({"keys": [{**json.loads(stranger), "kid": "k"}]}))
    assert answer(text, keys, cache, now) == "Jwt verification fails"
    keys.now = None
    assert answer(text, keys, cache, now) == "Jwks remote fetch is failed"


def _other_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def test_the_memory_is_bounded() -> None:
    """What was not shown for long goes first, and a flood of tokens holds no more than 4096."""
    keys, cache = Keys().now, TokenCache()
    assert keys is not None
    token = Token(good())
    for number in range(5000):
        cache.keep((str(number), keys.generation), token)
        assert cache.get(("first", keys.generation)) is (token if number else None)
        if not number:
            cache.keep(("first", keys.generation), token)
        assert int(repr(cache).strip("<>").partition("=")[2]) <= 4096
    assert cache.get(("0", keys.generation)) is None
    assert cache.get(("4999", keys.generation)) is token


@pytest.mark.parametrize("changed", ["", "x"])
def test_a_bad_token_is_never_remembered(changed: str) -> None:
    """Neither is one that differs from a remembered one in its signature alone."""
    text, keys, cache, now = good(), Keys(), TokenCache(), time.time()
    assert answer(text, keys, cache, now) == ""
    bad = text[:-12] + "A" * 12 + changed
    for _ in range(2):
        assert answer(bad, keys, cache, now) != ""
    assert repr(cache) == "<TokenCache tokens=1>"


def test_the_cache_knows_tokens_by_their_digest() -> None:
    """A token is a secret: what is kept of it are its parts, not what would let somebody in."""
    cache = TokenCache()
    assert answer(good(), Keys(), cache, time.time()) == ""
    ((digest, _),) = cache.newer
    assert type(digest) is bytes
    assert len(digest) == 16
