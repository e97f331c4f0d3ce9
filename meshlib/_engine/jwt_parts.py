"""A JSON web token taken apart, with nothing verified yet.

Every way in which that can fail is a :class:`TokenError` in Envoy's words
(common/jwt/status.cc). Stricter than Envoy: a repeated member, a ``crit`` header and a
token above 32 kB are refused, and ``exp`` of 0 is a time that is over, not none at all.
"""

from __future__ import annotations

import json
import math
from binascii import a2b_base64
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

__all__ = ["ALGORITHMS", "Token", "TokenError"]

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
_TEXT: Final = frozenset((str,))
_STANDARD: Final = bytes.maketrans(b"-_+/=", b"+/???")
"""From base64url to base64; what only the latter has becomes what neither has."""
_PADDING: Final = (b"", b"===", b"==", b"=")
_LARGEST: Final = 2**64 - 2**10
"""Envoy reads numbers as doubles: from here on they are 2**64, which is too large."""
_DEEPEST: Final = 100
"""Objects and lists in one another; of Envoy 91 were let in, 102 were not."""
_NOBODY: Final[tuple[str, ...]] = ()
_FORMAT: Final = "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"


class TokenError(Exception):
    """A token that is not accepted; ``status`` is that of the answer, ``body`` its text, as Envoy has them."""

    def __init__(self, body: str, *, status: int = 401) -> None:
        super().__init__(body)
        self.body = body
        self.status = status


class Token:
    """The parts of a token. Raises :class:`TokenError`, and nothing else, whatever the text."""

    __slots__ = (
        "algorithm", "audiences", "claims", "expires", "issuer", "key_id", "not_before", "signature", "signed",
    )  # fmt: skip

    def __init__(self, text: str) -> None:
        if len(text) > _LONGEST:
            raise TokenError(_FORMAT)
        # What is not ASCII becomes what base64 does not have.
        parts = text.encode("ascii", "replace").split(b".")
        if len(parts) != 3 or b"" in parts:
            # Envoy does not count empty sections, as of a dot at the end; what is signed is what stands between.
            parts = [part for part in parts if part]
            if len(parts) != 3:
                raise TokenError(_FORMAT)
        header, payload, signature = parts
        self.algorithm, self.key_id = _known_header(header) if len(header) <= _USUAL else _header(header)
        self.claims = claims = _members(payload, "payload")
        get = claims.get
        self.issuer = issuer = get("iss", "")
        if type(issuer) is not str or type(get("sub", "")) is not str or type(get("jti", "")) is not str:
            raise _no_text(claims)
        # What a time usually is has no need of a call.
        issued, expires = get("iat", 0), get("exp")
        if type(issued) is not int or not 0 <= issued < _LARGEST:
            _number(claims, "iat")
        self.not_before = _number(claims, "nbf") if "nbf" in claims else None
        if type(expires) is not int or not 0 <= expires < _LARGEST:
            expires = _number(claims, "exp") if "exp" in claims else None
        self.expires = expires
        self.audiences = _audiences(claims)
        self.signed = header + b"." + payload
        try:
            self.signature = _decoded(signature)
        except ValueError:
            raise TokenError("Jwt signature is an invalid Base64url encoded") from None

    @property
    def payload(self) -> str:
        """The payload segment as it came."""
        return self.signed.partition(b".")[2].decode()

    def __repr__(self) -> str:  # a token is a secret: nothing of it but its kind
        return f"<Token {self.algorithm}>"


def _header(segment: bytes) -> tuple[str, str]:
    """Algorithm and key id."""
    header = _members(segment, "header")
    algorithm = _algorithm(header)
    key_id = header.get("kid", "")
    if type(key_id) is not str:
        raise TokenError("Jwt header [kid] field is not a string")
    if "crit" in header:  # RFC 7515, 4.1.11: what is critical and not understood must be refused
        raise TokenError("Jwt verification fails")
    return algorithm, key_id


_known_header = lru_cache(maxsize=256)(_header)
"""The tokens of an issuer have the same one, as long as its key is the same. What is refused is not remembered."""


def _decoded(segment: bytes) -> bytes:
    """The bytes behind base64url. Raises :class:`ValueError`."""
    if b" " in segment or b"\t" in segment:
        segment = b"".join(segment.split())  # Envoy's decoder does not see blanks; what is signed has them
    try:
        return a2b_base64(segment.translate(_STANDARD) + _PADDING[len(segment) % 4], strict_mode=True)
    except ValueError:
        bare = segment.rstrip(b"=")
        padding = _PADDING[len(bare) % 4]
        if not padding or bare + padding != segment:
            raise
        # Envoy takes padding where it is right, as load balancers of AWS write it.
        return a2b_base64(bare.translate(_STANDARD) + padding, strict_mode=True)


def _members(segment: bytes, part: str) -> dict[str, Any]:
    try:
        raw = _decoded(segment)
    except ValueError:
        raise TokenError(f"Jwt {part} is an invalid Base64url encoded") from None
    try:
        found = _read(raw)
        # What is written again byte for byte, as most tokens are, has no repeated member, and nothing that readers
        # take in different ways.
        if type(found) is dict and raw.isascii() and _write(found) == raw:
            if raw.count(b"[") + raw.count(b"{") <= _DEEPEST:
                return found
    except (ValueError, RecursionError):
        pass  # see what the other reader says
    return _checked_members(raw, part)


def _checked_members(raw: bytes, part: str) -> dict[str, Any]:
    try:
        found = _decoder.decode(raw.decode("utf-8"))
        _check_depth(found)
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


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):  # no double, and Envoy takes nothing else
        raise ValueError(text)
    return value


def _check_depth(found: Any) -> None:
    """Raise for what is nested too deeply for those who copy it or look into it."""
    level, depth = [found], 0
    while level:
        depth += 1
        if depth > _DEEPEST:
            raise ValueError("nested too deeply")
        inner = (one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list))
        level = [value for values in inner for value in values if isinstance(value, dict | list)]


_decoder: Final = json.JSONDecoder(object_pairs_hook=_distinct, parse_constant=_no_constant, parse_float=_finite)
_read: Final = msgspec.json.Decoder().decode
_write: Final = msgspec.json.Encoder().encode


def _algorithm(header: Mapping[str, Any]) -> str:
    algorithm = header.get("alg")
    if not isinstance(algorithm, str):
        raise TokenError("Jwt header [alg] field is required and must be a string")
    if algorithm not in ALGORITHMS:
        raise TokenError("Jwt header [alg] is not supported")
    return algorithm


def _no_text(claims: Mapping[str, Any]) -> TokenError:
    """What is said of the first of these claims that is no text."""
    name = next(name for name in ("iss", "sub", "jti") if type(claims.get(name, "")) is not str)
    if name == "jti":  # which Envoy reads after the times
        for time in ("iat", "nbf", "exp"):
            if time in claims:
                _number(claims, time)
    return TokenError(f"Jwt payload [{name}] field is not a string")


def _number(claims: Mapping[str, Any], name: str) -> int:
    value = claims[name]
    if type(value) is int and 0 <= value < _LARGEST:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenError(f"Jwt payload [{name}] field is not an integer")
    if not 0 <= value < _LARGEST:
        raise TokenError(f"Jwt payload [{name}] field is not a positive 64 bit integer")
    return int(value)


def _audiences(claims: Mapping[str, Any]) -> tuple[str, ...]:
    found = claims.get("aud", _NOBODY)
    if type(found) is list and _TEXT.issuperset(map(type, found)):
        return tuple(found)
    if isinstance(found, str):
        return (found,)
    if found is _NOBODY:
        return ()
    raise TokenError("Jwt payload [aud] field is not a string or string list")
