"""Attacks with tokens, each by its name, through real servers: none of them opens anything."""

from __future__ import annotations

import base64
import http.client
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.security.targets import ISSUER, JWK, KEY, Target, claims, encoded, good, signed

STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def with_header(**members: Any) -> str:
    """Signed well, under a header that says more or something else."""
    return signed({"alg": "RS256", "kid": "k", **members}, claims())


def forged(**members: Any) -> str:
    """Signed by a stranger whose header says where to find that key."""
    return signed({"alg": "RS256", "kid": "k", **members}, claims(), STRANGER)


def hmac(secret: bytes, **header: Any) -> str:
    text = f"{encoded({'alg': 'HS256', 'kid': 'k', **header})}.{encoded(claims())}"
    algorithm = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    return f"{text}.{encoded(algorithm.sign(text.encode(), secret))}"


def unsigned(algorithm: Any, signature: str = "") -> str:
    return f"{encoded({'alg': algorithm, 'kid': 'k'})}.{encoded(claims())}.{signature}"


def changed_part(position: int, change: Callable[[str], str]) -> str:
    parts = good().split(".")
    parts[position] = change(parts[position])
    return ".".join(parts)


PEM = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
DER = KEY.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
STRANGER_JWK = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(STRANGER.public_key()))

BAD_TOKENS: dict[str, Callable[[], str]] = {
    "none": lambda: unsigned("none", "x"),
    "none without signature": lambda: unsigned("none"),
    "None with another spelling": lambda: unsigned("nOnE", "x"),
    "none and the signature of a good token": lambda: unsigned("none", good().split(".")[2]),
    "no algorithm": lambda: signed({"kid": "k"}, claims()),
    "algorithm is a list": lambda: signed({"alg": ["RS256"], "kid": "k"}, claims()),
    "algorithm is null": lambda: signed({"alg": None, "kid": "k"}, claims()),
    "algorithm in small letters": lambda: signed({"alg": "rs256", "kid": "k"}, claims()),
    "algorithm with a space": lambda: signed({"alg": "RS256 ", "kid": "k"}, claims()),
    "confusion: public key as PEM is the secret": lambda: hmac(PEM),
    "confusion: public key as DER is the secret": lambda: hmac(DER),
    "confusion: modulus is the secret": lambda: hmac(base64.urlsafe_b64decode(JWK["n"] + "==")),
    "confusion: the whole key set is the secret": lambda: hmac(json.dumps({"keys": [JWK]}).encode()),
    "confusion: no secret at all": lambda: hmac(b""),
    "confusion: RS256 signature under PS256": lambda: changed_part(0, lambda _: encoded({"alg": "PS256", "kid": "k"})),
    "confusion: RS256 signature under ES256": lambda: changed_part(0, lambda _: encoded({"alg": "ES256", "kid": "k"})),
    "confusion: signed with an own curve": lambda: jwt.encode(
        claims(), ec.generate_private_key(ec.SECP256R1()), algorithm="ES256", headers={"kid": "k"}
    ),
    "another key": forged,
    "key in the header (jwk)": lambda: forged(jwk=STRANGER_JWK),
    "key behind a link (jku)": lambda: forged(jku="http://127.0.0.1:9/keys.json"),
    "certificate behind a link (x5u)": lambda: forged(x5u="http://127.0.0.1:9/chain.pem"),
    "certificate in the header (x5c)": lambda: forged(x5c=["MIIB"]),
    "kid: path traversal": lambda: hmac(b"", kid="../../../../dev/null"),
    "kid: absolute path": lambda: hmac(b"", kid="/dev/null"),
    "kid: query of a database": lambda: hmac(b"x", kid="none' UNION SELECT 'x"),
    "kid: command": lambda: hmac(b"x", kid="k|id"),
    "kid: link": lambda: hmac(b"x", kid="http://127.0.0.1:9/key"),
    "kid: NUL": lambda: forged(kid="k\x00"),
    "kid: a number": lambda: with_header(kid=1),
    "kid: a list": lambda: with_header(kid=["k"]),
    "kid: an object": lambda: with_header(kid={"k": "k"}),
    "kid: null": lambda: with_header(kid=None),
    "kid: unknown": lambda: with_header(kid="other"),
    "kid: in capitals": lambda: with_header(kid="K"),
    "kid: very long": lambda: with_header(kid="k" * 4000),
    "crit that is not understood": lambda: with_header(crit=["exp"], exp=1),
    "crit that is empty": lambda: with_header(crit=[]),
    "unencoded payload (b64)": lambda: with_header(b64=False, crit=["b64"]),
    "signature missing": lambda: changed_part(2, lambda _: ""),
    "signature of nothing": lambda: changed_part(2, lambda _: "AA"),
    "signature of zeros": lambda: changed_part(2, lambda _: encoded(bytes(256))),
    "signature too short": lambda: changed_part(2, lambda one: one[:-8]),
    "signature with a tail": lambda: changed_part(2, lambda one: one + "AAAA"),
    "signature of another token": lambda: changed_part(2, lambda _: good(sub="bob").split(".")[2]),
    "payload of another token": lambda: changed_part(1, lambda _: encoded(claims(sub="ann", role="root"))),
    "padding": lambda: changed_part(1, lambda one: one + "="),
    "standard alphabet": lambda: changed_part(1, lambda one: one[:-1] + "+"),
    "two parts": lambda: good().rpartition(".")[0],
    "four parts": lambda: good() + ".AA",
    "five parts, as if encrypted": lambda: good() + ".AA.AA",
    "as JSON": lambda: json.dumps({"payload": encoded(claims()), "signatures": []}),
    "nested": lambda: signed({"alg": "RS256", "kid": "k", "cty": "JWT"}, good().encode()),
    "nested as a text": lambda: signed({"alg": "RS256", "kid": "k", "cty": "JWT"}, good()),
    "payload is a list": lambda: signed({"alg": "RS256", "kid": "k"}, [claims()]),
    "payload is null": lambda: signed({"alg": "RS256", "kid": "k"}, None),
    "payload is no JSON": lambda: signed({"alg": "RS256", "kid": "k"}, b"{"),
    "payload begins with a mark": lambda: signed(
        {"alg": "RS256", "kid": "k"}, b"\xef\xbb\xbf" + json.dumps(claims()).encode()
    ),
    "payload is no UTF-8": lambda: signed(
        {"alg": "RS256", "kid": "k"}, json.dumps(claims(x="?")).encode().replace(b"?", b"\xff")
    ),
    "payload has half a character": lambda: signed({"alg": "RS256", "kid": "k"}, claims(x="\ud800")),
    "payload is nested deeply": lambda: signed({"alg": "RS256", "kid": "k"}, b'{"a":' * 5000 + b"1" + b"}" * 5000),
    "claim twice": lambda: signed(
        {"alg": "RS256", "kid": "k"}, json.dumps(claims(sub="bob")).encode()[:-1] + b', "sub": "ann"}'
    ),
    "claim twice, inside": lambda: signed(
        {"alg": "RS256", "kid": "k"}, json.dumps(claims()).encode()[:-1] + b', "x": {"a": 1, "a": 2}}'
    ),
    "algorithm twice": lambda: signed(b'{"alg":"none","alg":"RS256","kid":"k"}', claims()),
    "expired": lambda: good(exp=int(time.time()) - 61),
    "expired long ago": lambda: good(exp=1),
    "expiry is a text": lambda: good(exp=str(int(time.time()) + 60)),
    "expiry is true": lambda: good(exp=True),
    "expiry is negative": lambda: good(exp=-1),
    "expiry is larger than a number": lambda: good(exp=2**64),
    "expiry is not a number": lambda: good(exp=float("nan")),
    "expiry is infinite": lambda: good(exp=float("inf")),
    "expiry overflows": lambda: signed(
        {"alg": "RS256", "kid": "k"}, json.dumps(claims(exp=None)).encode()[:-1] + b', "exp": 1e999}'
    ),
    "expiry is a list": lambda: good(exp=[int(time.time()) + 60]),
    "not yet valid": lambda: good(nbf=int(time.time()) + 120),
    "not-before is a text": lambda: good(nbf="0"),
    "issued at is a text": lambda: good(iat="0"),
    "other issuer": lambda: good(iss="https://other.test"),
    "issuer with a slash": lambda: good(iss=ISSUER + "/"),
    "issuer in capitals": lambda: good(iss=ISSUER.upper()),
    "issuer with a tail": lambda: good(iss=ISSUER + ".evil.test"),
    "issuer is a list": lambda: good(iss=[ISSUER]),
    "no issuer": lambda: good(iss=None),
    "subject is a list": lambda: good(sub=["ann"]),
    "subject is a number": lambda: good(sub=1),
    "audience is a number": lambda: good(aud=1),
    "audience has a number": lambda: good(aud=["shop", 1]),
    "inner NUL": lambda: good()[:40] + "%00" + good()[40:],
    "longer than 32 kB": lambda: good(filler="x" * 40_000),
    "a word": lambda: "x",
    "dots": lambda: "..",
}


def test_a_good_token_is_accepted(target: Target) -> None:
    """Or all that follows would prove nothing."""
    assert target.get("/vault", ("authorization", f"Bearer {good()}"))[0] == 200


@pytest.mark.parametrize("name", BAD_TOKENS)
def test_a_bad_token_opens_nothing(target: Target, name: str) -> None:
    """Not the vault, and nothing else either: 401 wherever it is shown; a server may refuse it as too large before."""
    header = ("authorization", f"Bearer {BAD_TOKENS[name]()}")
    for path in ("/vault", "/"):
        try:
            status, _ = target.get(path, header)
        except (ConnectionError, http.client.HTTPException):
            continue  # more than the server reads
        assert status in (400, 401, 413, 431), path


@pytest.mark.parametrize("audience", ["other", "", "sho", "shop.test", ["other"], [], None])
def test_a_token_for_somebody_else_opens_nothing(target: Target, audience: Any) -> None:
    """Envoy's answer is 403 then."""
    status, body = target.get("/vault", ("authorization", f"Bearer {good(aud=audience)}"))
    assert (status, body) == (403, b"Audiences in Jwt are not allowed")


@pytest.mark.parametrize("subject", ["bob", "ann/", "Ann", "ann ", "x/ann", "*", "", "ann\x00", None])
def test_another_subject_opens_nothing(target: Target, subject: str | None) -> None:
    """A good token of somebody else."""
    assert target.get("/vault", ("authorization", f"Bearer {good(sub=subject)}"))[0] == 403


DUPLICATED = {
    "good, then bad": [("authorization", "Bearer {good}"), ("authorization", "Bearer {bad}")],
    "bad, then good": [("authorization", "Bearer {bad}"), ("authorization", "Bearer {good}")],
    "twice the good one": [("authorization", "Bearer {good}"), ("authorization", "Bearer {good}")],
    "in two cases": [("authorization", "Bearer {good}"), ("AUTHORIZATION", "Bearer {bad}")],
    "good and another scheme": [("authorization", "Bearer {good}"), ("authorization", "Basic eDp5")],
    "joined, good first": [("authorization", "Bearer {good}, Bearer {bad}")],
    "joined, bad first": [("authorization", "Bearer {bad}, Bearer {good}")],
    "the scheme twice": [("authorization", "Bearer Bearer {good}")],
    "two tokens after one scheme": [("authorization", "Bearer {bad} {good}")],
}


@pytest.mark.parametrize("name", DUPLICATED)
def test_a_duplicated_authorization_opens_nothing(target: Target, name: str) -> None:
    """Repeated headers, joined headers, repeated schemes: what can be found must be one good token."""
    filled = [(field, value.format(good=good(), bad=forged())) for field, value in DUPLICATED[name]]
    assert target.get("/vault", *filled)[0] in (400, 401)


def test_a_good_header_does_not_vouch_for_a_parameter(target: Target) -> None:
    """Both places belong to the same rule."""
    assert target.get(f"/vault?access_token={forged()}", ("authorization", f"Bearer {good()}"))[0] == 401
    assert target.get(f"/vault?access_token={good()}", ("authorization", f"Bearer {forged()}"))[0] == 401


@pytest.mark.parametrize(
    "header",
    [
        ("authorization", "bearer {}"),
        ("authorization", "Bearer\t{}"),
        ("authorization", "Basic {}"),
        ("authorization", "{}"),
        ("cookie", "access_token={}"),
        ("proxy-authorization", "Bearer {}"),
        ("x-authorization", "Bearer {}"),
        ("x-forwarded-access-token", "{}"),
    ],
)
def test_a_token_at_another_place_is_nobodys(target: Target, header: tuple[str, str]) -> None:
    """Where no rule looks there is no token."""
    assert target.get("/vault", (header[0], header[1].format(good())))[0] == 403


KNOWN = ("authorization", "Bearer {good}")
PREFLIGHT = [("origin", "http://a.test"), ("access-control-request-method", "GET")]
AFTER_GOOD: dict[str, tuple[str, str, list[tuple[str, str]]]] = {
    "without the token": ("GET", "/vault", []),
    "the token at another place": ("GET", "/vault", [("x-token", "{good}")]),
    "the token under another name": ("GET", "/vault", [("author_ization", "Bearer {good}")]),
    "the token of a stranger": ("GET", "/vault", [("authorization", "Bearer {bad}")]),
    "another signature": ("GET", "/vault", [("authorization", "Bearer {cut}AAAAAAAA")]),
    "a tail": ("GET", "/vault", [("authorization", "Bearer {good}AAAA")]),
    "another scheme": ("GET", "/vault", [("authorization", "Basic {good}")]),
    "the token and a bad one": ("GET", "/vault", [KNOWN, ("authorization", "Bearer {bad}")]),
    "the token and a bad parameter": ("GET", "/vault?access_token={bad}", [KNOWN]),
    "another path": ("GET", "/internal", [KNOWN]),
    "another host": ("GET", "/vault", [KNOWN, ("host", "admin.test")]),
    "another method": ("DELETE", "/vault", [KNOWN]),
    "a preflight": ("OPTIONS", "/vault", [KNOWN, *PREFLIGHT]),
}


@pytest.mark.parametrize("name", AFTER_GOOD)
def test_a_good_request_before_opens_nothing(target: Target, name: str) -> None:
    """A server remembers what it has let in; a request that differs is another one."""
    token = good()
    for _ in range(3):
        assert target.get("/vault", ("authorization", f"Bearer {token}"))[0] == 200
    method, path, fields = AFTER_GOOD[name]
    parts = {"good": token, "cut": token[:-8], "bad": forged()}
    headers = [(field, value.format(**parts)) for field, value in fields]
    assert target.get(path.format(**parts), *headers, method=method)[0] in (400, 401, 403)
