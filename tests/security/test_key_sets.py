"""Key sets in the forms that issuers publish; observed on Envoy 1.40."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from meshlib._engine.jwt_keys import KeySetError, parse_keys
from meshlib._engine.jwt_parts import Token
from tests.security.targets import JWK, KEY


def certificate(key: Any = KEY) -> str:
    """Of a key, long expired: Google's have a year, and Envoy does not look."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuer")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1)
    builder = builder.not_valid_before(datetime(2010, 1, 1, tzinfo=UTC)).not_valid_after(
        datetime(2011, 1, 1, tzinfo=UTC)
    )
    made = builder.sign(key, hashes.SHA256())
    return made.public_bytes(Encoding.PEM).decode()


def verify(document: Any, key_id: str) -> None:
    token = jwt.api_jws.encode(b"{}", KEY, algorithm="RS256", headers={"kid": key_id})
    parse_keys(json.dumps(document)).verify(Token(token))


def test_certificates_by_key_id_are_a_key_set() -> None:
    """As of Google's service accounts; of a chain the first one counts."""
    other = ec.generate_private_key(ec.SECP256R1())
    verify({"k": certificate()}, "k")
    verify({"k": certificate() + certificate(other)}, "k")
    with pytest.raises(Exception, match="doesn't have key to match kid"):
        verify({"k": certificate()}, "j")


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"k": "x"}, "no list 'keys'"),
        ({"k": certificate(), "n": 1}, "no list 'keys'"),
        ({"": certificate()}, "no list 'keys'"),
        ({"k": certificate(), "keys": {}}, "no list 'keys'"),
        ({"k": certificate(), "keys": []}, "no usable key"),
        ({"k": certificate(ec.generate_private_key(ec.SECP256R1()))}, "'k' has no RSA key"),
        ({"k": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}, "'k' has no RSA key"),
        ({}, "no usable key"),
    ],
    ids=range(8),
)
def test_what_is_no_such_set(document: Any, reason: str) -> None:
    """One bad certificate spoils it."""
    with pytest.raises(KeySetError, match=reason):
        parse_keys(json.dumps(document))


@pytest.mark.parametrize(("use", "count"), [("sig", 1), ("", 1), (None, 1), ("enc", 0), (["sig"], 0)])
def test_keys_for_something_else_are_left_out(use: Any, count: int) -> None:
    """Envoy does not look at ``use``; a key to encrypt with must not have signed anything."""
    keys = parse_keys(json.dumps({"keys": [{**JWK, "use": use}, {**JWK, "kid": "other"}]}))
    assert len(keys.keys) == 1 + count


@pytest.mark.parametrize("secret", ["", "==", None, 1, "!"])
def test_a_secret_that_everybody_knows_is_none(secret: Any) -> None:
    """An empty one, and what cannot be read."""
    with pytest.raises(KeySetError, match="no usable key"):
        parse_keys(json.dumps({"keys": [{"kty": "oct", "kid": "k", "k": secret}]}))


def test_a_key_set_that_is_too_large_is_told() -> None:
    """Not cut off: a token with a key behind the end would be refused for no reason that anybody sees."""
    assert len(parse_keys(json.dumps({"keys": [JWK] * 1024})).keys) == 1024
    with pytest.raises(KeySetError, match="more than 1024 keys"):
        parse_keys(json.dumps({"keys": [JWK] * 1025}))
