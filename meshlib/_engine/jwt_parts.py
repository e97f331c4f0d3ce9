"""A JSON web token taken apart, with nothing verified yet.

Every way in which that can fail is a :class:`TokenError` in Envoy's words
(common/jwt/status.cc). Stricter than Envoy: a repeated member, a ``crit`` header and a
token above 32 kB are refused, and ``exp`` of 0 is a time that is over, not none at all.
"""

from __future__ import annotations

import binascii
import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["ALGORITHMS", "Token", "TokenError", "parse_token"]

ALGORITHMS: Final[Mapping[str, str]] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "RSA"),
    **dict.fromkeys(("ES256", "ES384", "ES512"), "EC"),
    **dict.fromkeys(("HS256", "HS384", "HS512"), "oct"),
    "EdDSA": "OKP",
}
"""The kind of key that each algorithm takes; ``none`` is none of them."""

_LONGEST: Final = 32 * 1024
_BASE64URL: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
_LARGEST: Final = 2**64
_FORMAT: Final = "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"


class TokenError(Exception):
    """A token that is not accepted; ``status`` is that of the answer, ``body`` its text, as Envoy has them."""

    def __init__(self, body: str, *, status: int = 401) -> None:
        super().__init__(body)
        self.body = body
        self.status = status


class Token:
    """The parts of a token. ``payload`` is its payload segment as it came."""

    __slots__ = (
        "algorithm",
        "audiences",
        "claims",
        "expires",
        "issuer",
        "key_id",
        "not_before",
        "payload",
        "signature",
        "signed",
    )

    def __init__(self, text: str) -> None:
        # Envoy does not count empty sections, as of a dot at the end; what is signed is what stands between.
        parts = [part for part in text.split(".", _LONGEST) if part]
        if len(text) > _LONGEST or len(parts) != 3:
            raise TokenError(_FORMAT)
        header = _members(parts[0], "header")
        self.algorithm = _algorithm(header)
        self.key_id = _text_member(header, "kid", "header") or ""
        if "crit" in header:  # RFC 7515, 4.1.11: what is critical and not understood must be refused
            raise TokenError("Jwt verification fails")
        self.claims = claims = _members(parts[1], "payload")
        self.issuer = _text_member(claims, "iss", "payload") or ""
        for name in ("sub", "jti"):
            _text_member(claims, name, "payload")
        _number(claims, "iat")
        self.not_before = _number(claims, "nbf")
        self.expires = _number(claims, "exp")
        self.audiences = _audiences(claims)
        self.payload = parts[1]
        self.signed = f"{parts[0]}.{parts[1]}".encode()
        try:
            self.signature = _decoded(parts[2])
        except ValueError:
            raise TokenError("Jwt signature is an invalid Base64url encoded") from None

    def __repr__(self) -> str:  # a token is a secret: nothing of it but its kind
        return f"<Token {self.algorithm}>"


def parse_token(text: str) -> Token:
    """The parts of a token. Raises :class:`TokenError`, and nothing else, whatever the text."""
    return Token(text)


def _decoded(segment: str) -> bytes:
    if " " in segment or "\t" in segment:
        segment = "".join(segment.split())  # Envoy's decoder does not see blanks; what is signed has them
    if not _BASE64URL.issuperset(segment):
        raise ValueError(segment)
    return urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


def _members(segment: str, part: str) -> dict[str, Any]:
    try:
        raw = _decoded(segment)
    except (ValueError, binascii.Error):
        raise TokenError(f"Jwt {part} is an invalid Base64url encoded") from None
    try:
        found = json.loads(raw.decode("utf-8"), object_pairs_hook=_distinct, parse_constant=_no_constant)
        if b"\\u" in raw:  # half of a surrogate pair is no character, and nothing could write it again
            json.dumps(found, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        raise TokenError(f"Jwt {part} is an invalid JSON") from None
    if not isinstance(found, dict):
        raise TokenError(f"Jwt {part} is an invalid JSON")
    return found


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member is repeated")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity are no JSON


def _algorithm(header: Mapping[str, Any]) -> str:
    algorithm = header.get("alg")
    if not isinstance(algorithm, str):
        raise TokenError("Jwt header [alg] field is required and must be a string")
    if algorithm not in ALGORITHMS:
        raise TokenError("Jwt header [alg] is not supported")
    return algorithm


def _text_member(members: Mapping[str, Any], name: str, part: str) -> str | None:
    value = members.get(name)
    if name in members and not isinstance(value, str):
        raise TokenError(f"Jwt {part} [{name}] field is not a string")
    return value


def _number(claims: Mapping[str, Any], name: str) -> int | None:
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenError(f"Jwt payload [{name}] field is not an integer")
    if not 0 <= value < _LARGEST:
        raise TokenError(f"Jwt payload [{name}] field is not a positive 64 bit integer")
    return int(value)


def _audiences(claims: Mapping[str, Any]) -> tuple[str, ...]:
    found = claims.get("aud", [])
    if isinstance(found, str):
        return (found,)
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise TokenError("Jwt payload [aud] field is not a string or string list")
    return tuple(found)
