"""A JSON web token taken apart, with nothing verified yet.

Every way in which that can fail is a :class:`TokenError` in Envoy's words
(common/jwt/status.cc). Stricter than Envoy: a repeated member, a ``crit`` header and a
token above 32 kB are refused, and ``exp`` of 0 is a time that is over, not none at all.
"""

from __future__ import annotations

import json
import re
from binascii import a2b_base64
from collections.abc import Mapping
from functools import lru_cache
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
_USUAL: Final = 512
"""Characters of a header that is remembered."""
_BASE64URL: Final = re.compile(r"[A-Za-z0-9_-]*")
_TEXT: Final = frozenset((str,))
_STANDARD: Final = bytes.maketrans(b"-_", b"+/")
_PADDING: Final = (b"", b"===", b"==", b"=")
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
        if len(text) > _LONGEST:
            raise TokenError(_FORMAT)
        parts = text.split(".")
        if len(parts) != 3 or "" in parts:
            # Envoy does not count empty sections, as of a dot at the end; what is signed is what stands between.
            parts = [part for part in parts if part]
            if len(parts) != 3:
                raise TokenError(_FORMAT)
        header, payload, signature = parts
        self.algorithm, self.key_id = _known_header(header) if len(header) <= _USUAL else _header(header)
        self.claims = claims = _members(payload, "payload")
        self.issuer = _text_member(claims, "iss", "payload") or ""
        if "sub" in claims:
            _text_member(claims, "sub", "payload")
        if "jti" in claims:
            _text_member(claims, "jti", "payload")
        if "iat" in claims:
            _number(claims, "iat")
        self.not_before = _number(claims, "nbf")
        self.expires = _number(claims, "exp")
        self.audiences = _audiences(claims)
        self.payload = payload
        self.signed = f"{header}.{payload}".encode()
        try:
            self.signature = _decoded(signature)
        except ValueError:
            raise TokenError("Jwt signature is an invalid Base64url encoded") from None

    def __repr__(self) -> str:  # a token is a secret: nothing of it but its kind
        return f"<Token {self.algorithm}>"


def parse_token(text: str) -> Token:
    """The parts of a token. Raises :class:`TokenError`, and nothing else, whatever the text."""
    return Token(text)


def _header(segment: str) -> tuple[str, str]:
    """Algorithm and key id."""
    header = _members(segment, "header")
    algorithm = _algorithm(header)
    key_id = _text_member(header, "kid", "header") or ""
    if "crit" in header:  # RFC 7515, 4.1.11: what is critical and not understood must be refused
        raise TokenError("Jwt verification fails")
    return algorithm, key_id


_known_header = lru_cache(maxsize=256)(_header)
"""The tokens of an issuer have the same one, as long as its key is the same. What is refused is not remembered."""


def _decoded(segment: str) -> bytes:
    if " " in segment or "\t" in segment:
        segment = "".join(segment.split())  # Envoy's decoder does not see blanks; what is signed has them
    if _BASE64URL.fullmatch(segment) is None:
        raise ValueError(segment)
    return a2b_base64(segment.encode().translate(_STANDARD) + _PADDING[len(segment) % 4])


def _members(segment: str, part: str) -> dict[str, Any]:
    try:
        raw = _decoded(segment)
    except ValueError:
        raise TokenError(f"Jwt {part} is an invalid Base64url encoded") from None
    try:
        found = _read(raw.decode("utf-8"))
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


_decoder: Final = json.JSONDecoder(object_pairs_hook=_distinct, parse_constant=_no_constant)


def _read(text: str) -> Any:
    """The value of a JSON text. Raises :class:`ValueError` and :class:`RecursionError`."""
    if text[:1] == "{":
        found, end = _decoder.raw_decode(text)
        if end == len(text):
            return found
    return _decoder.decode(text)  # blanks around it, or what has no end


def _algorithm(header: Mapping[str, Any]) -> str:
    algorithm = header.get("alg")
    if not isinstance(algorithm, str):
        raise TokenError("Jwt header [alg] field is required and must be a string")
    if algorithm not in ALGORITHMS:
        raise TokenError("Jwt header [alg] is not supported")
    return algorithm


def _text_member(members: Mapping[str, Any], name: str, part: str) -> str | None:
    value = members.get(name)
    if type(value) is not str and name in members:
        raise TokenError(f"Jwt {part} [{name}] field is not a string")
    return value


def _number(claims: Mapping[str, Any], name: str) -> int | None:
    if name not in claims:
        return None
    value = claims[name]
    if type(value) is int and 0 <= value < _LARGEST:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenError(f"Jwt payload [{name}] field is not an integer")
    if not 0 <= value < _LARGEST:
        raise TokenError(f"Jwt payload [{name}] field is not a positive 64 bit integer")
    return int(value)


def _audiences(claims: Mapping[str, Any]) -> tuple[str, ...]:
    found = claims.get("aud", ())
    if isinstance(found, str):
        return (found,)
    if not found and type(found) is tuple:
        return found
    if not isinstance(found, list) or not _TEXT.issuperset(map(type, found)):
        raise TokenError("Jwt payload [aud] field is not a string or string list")
    return tuple(found)
