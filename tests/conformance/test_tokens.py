"""The tokens of the corpus, and the pinned cases of X-Forwarded-Client-Cert."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from meshlib._engine.jwt import Authenticated, TokenCache, authenticate
from meshlib._engine.jwt_keys import KeySet, parse_keys
from meshlib._http import Headers, RequestHead
from meshlib._inbound.forwarded import TrustedProxies
from meshlib._snapshot.authentication import Authentication, KeyOrigin, TokenHeader, TokenRule
from tests.conformance.test_security_cases import cases
from tests.corpus import corpus_path, load_corpus

NOW = datetime(2026, 11, 23, tzinfo=UTC).timestamp()
TOKENS: list[dict[str, Any]] = load_corpus("jwt/index.json")["tokens"]


class Keys:
    """One key set for all."""

    def __init__(self, jwks: str) -> None:
        self._keys = parse_keys(corpus_path(jwks).read_bytes())

    def find(self, _: KeyOrigin) -> KeySet | None:
        return self._keys


def rules_for(issuer: str) -> Authentication:
    headers = (TokenHeader("authorization", "Bearer "),)
    return Authentication(rules=(TokenRule(issuer=issuer, keys=KeyOrigin(uri="http://keys"), headers=headers),))


@pytest.mark.parametrize("entry", TOKENS, ids=[entry["id"] for entry in TOKENS])
def test_a_token_of_the_corpus_is_accepted_or_not(entry: dict[str, Any]) -> None:
    """By signature and time; twice, because the second look is at what was remembered."""
    head = RequestHead("GET", "http", "a", "/", Headers({"authorization": f"Bearer {entry['token']}"}), port=80)
    rules, keys, cache = rules_for((entry["claims"] or {}).get("iss", "")), Keys(entry["jwks"]), TokenCache()
    for _ in range(2):
        answer = authenticate(rules, head, keys, NOW, cache)
        assert answer.is_valid == entry["valid_in_2026"], answer
        if isinstance(answer, Authenticated):
            assert answer.claims.keys() == entry["claims"].keys()


@pytest.mark.parametrize("case", cases("xfcc"))
def test_the_last_element_names_the_direct_client(case: dict[str, Any]) -> None:
    """As the nearest proxy wrote it; only a trusted one is believed."""
    headers = Headers({"x-forwarded-client-cert": case["given"]["xfcc"]})
    assert TrustedProxies(["10.0.0.0/8"]).identity(headers) == case["expect"]["direct_client_uri"]
