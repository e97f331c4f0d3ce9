"""Keys that verify tokens, from a JSON web key set (RFC 7517)."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, Final, TypeAlias

from meshlib._engine.jwt_parts import ALGORITHMS, Token, TokenError

__all__ = ["KeySet", "KeySetError", "parse_keys"]

_LARGEST: Final = 1 << 20
_MOST: Final = 1024
_CERTIFICATE: Final = "-----BEGIN CERTIFICATE-----\n"
_ALGORITHMS: Final = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_EDWARDS: Final = {"Ed25519": "EdDSA"}
_ED25519_SIGNATURE: Final = 64
_PKCS1: Final = {"RS256": "SHA256", "RS384": "SHA384", "RS512": "SHA512"}

Check: TypeAlias = Callable[[bytes, bytes], None]
"""Raises something unless a signature is that of what it is to have signed."""

_generations = itertools.count(1)


class KeySetError(ValueError):
    """A text that is no key set, or one without a usable key."""


@cache
def _algorithms() -> Mapping[str, Any]:
    from jwt.algorithms import get_default_algorithms

    return get_default_algorithms()


class _Key:
    """One public key, for the algorithms of its kind."""

    __slots__ = ("_checks", "algorithm", "key_id", "kind")

    def __init__(self, members: Mapping[str, Any]) -> None:
        self.kind: str = members["kty"]
        self.key_id = members.get("kid") or ""
        # A curve is of one algorithm, written or not; of keys without one the member means nothing (Envoy 1.39).
        curve = members.get("crv") if self.kind == "EC" else None
        self.algorithm: str = _ALGORITHMS[curve] if curve else members.get("alg") or ""
        self._checks = _checks(self.kind, _prepare(self.kind, members))

    def verifies(self, token: Token) -> bool:
        """Whether the signature is that of this key, and of its kind."""
        check = self._checks.get(token.algorithm)
        if check is None:
            return False
        try:
            check(token.signature, token.signed)
        except Exception:  # noqa: BLE001 - whatever a hostile signature makes the library raise, it is not verified
            return False
        return True

    def __repr__(self) -> str:
        return f"<Key {self.kind} {self.key_id}>"


class KeySet:
    """Public keys. ``generation`` is another one for every set that was ever read, so that caches can tell."""

    __slots__ = ("_by_id", "_nameless", "generation", "keys")

    def __init__(self, keys: tuple[_Key, ...]) -> None:
        self.keys = keys
        # Key ids agree, as far as both say something.
        self._nameless = tuple(key for key in keys if not key.key_id)
        ids = {key.key_id for key in keys if isinstance(key.key_id, str)}
        self._by_id = {one: tuple(key for key in keys if key.key_id in ("", one)) for one in ids} | {"": keys}
        self.generation = next(_generations)

    def verify(self, token: Token) -> None:
        """Raise :class:`TokenError` unless one of the keys has signed the token; Envoy's words (jwt/verify.cc)."""
        is_meant = False
        for key in self._by_id.get(token.key_id, self._nameless):
            if key.algorithm and key.algorithm != token.algorithm:
                continue
            is_meant = True
            if key.verifies(token):
                return
            if key.kind == "OKP" and len(token.signature) != _ED25519_SIGNATURE:
                raise TokenError("Jwt ED25519 signature is wrong length")
        raise TokenError("Jwt verification fails" if is_meant else "Jwks doesn't have key to match kid or alg from Jwt")

    def __repr__(self) -> str:
        return f"<KeySet keys={len(self.keys)} generation={self.generation}>"


def parse_keys(text: str | bytes) -> KeySet:
    """The usable keys of a JSON web key set. Raises :class:`KeySetError` if there is none.

    A key of an unknown kind is left out, as in Envoy. Instead of the list of keys there may be certificates by the ids
    of their keys, as Google has them. At most 1,024 keys and 1 MB are read.
    """
    if len(text) > _LARGEST:
        raise KeySetError("the key set is larger than 1 MB")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise KeySetError(f"the key set is no JSON: {error}") from None
    listed = document.get("keys", document) if isinstance(document, dict) else None
    if isinstance(listed, dict) and listed is document:
        listed = [_certified(key_id, text) for key_id, text in document.items()]
    if not isinstance(listed, list):
        raise KeySetError("the key set has no list 'keys'")
    if len(listed) > _MOST:
        raise KeySetError(f"the key set has more than {_MOST} keys")
    keys = [key for members in listed if (key := _key(members)) is not None]
    if not keys:
        raise KeySetError("the key set has no usable key")
    return KeySet(tuple(keys))


def _certified(key_id: str, text: Any) -> Mapping[str, Any]:
    """The key in a certificate, which must be one for RSA; whether it has expired does not matter (Envoy 1.40)."""
    from cryptography.x509 import load_pem_x509_certificate
    from jwt.algorithms import RSAAlgorithm

    if not key_id or not isinstance(text, str) or not text.startswith(_CERTIFICATE):
        raise KeySetError("the key set has no list 'keys'")
    try:
        key: Any = load_pem_x509_certificate(text.encode()).public_key()
        return {**RSAAlgorithm.to_jwk(key, as_dict=True), "kid": key_id}
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it is no key
        raise KeySetError(f"the certificate {key_id!r} has no RSA key that can be read: {error}") from None


def _key(members: Any) -> _Key | None:
    if not isinstance(members, Mapping) or members.get("kty") not in ("RSA", "EC", "OKP", "oct"):
        return None
    if (members.get("use") or "sig") != "sig" or not _fits(members):
        return None
    try:
        return _Key(members)
    except Exception:  # noqa: BLE001 - a key that cannot be read verifies nothing
        return None


def _fits(members: Mapping[str, Any]) -> bool:
    """Whether the curve of a key is one that Envoy knows, and its algorithm is that of the curve (jwt/jwks.cc)."""
    kind, curve = members["kty"], members.get("crv")
    if kind not in ("EC", "OKP"):
        return True
    curves = _ALGORITHMS if kind == "EC" else _EDWARDS
    algorithm = curves.get(curve) if isinstance(curve, str) else None
    return algorithm is not None and (members.get("alg") or algorithm) == algorithm


def _prepare(kind: str, members: Mapping[str, Any]) -> Any:
    from jwt.algorithms import ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm

    public = {name: value for name, value in members.items() if name not in ("d", "p", "q", "dp", "dq", "qi")}
    match kind:
        case "RSA":
            return RSAAlgorithm.from_jwk(public)
        case "EC":
            return ECAlgorithm.from_jwk(public)
        case "OKP":
            return OKPAlgorithm.from_jwk(public)
        case _:
            secret = HMACAlgorithm.from_jwk(dict(members))
            if not secret:  # anybody could sign with that; not every PyJWT minds
                raise KeySetError("an empty secret")
            return secret


def _checks(kind: str, key: Any) -> dict[str, Check]:
    """What verifies by a key, for each algorithm of its kind; no token has another one verified."""
    return {
        name: _pkcs1_check(key, _PKCS1[name]) if name in _PKCS1 else _check(_algorithms()[name], key)
        for name, its in ALGORITHMS.items()
        if its == kind
    }


def _pkcs1_check(key: Any, digest: str) -> Check:
    """For what most tokens are signed with: what does not depend on the token is made once."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

    return partial(key.verify, padding=PKCS1v15(), algorithm=getattr(hashes, digest)())


def _check(algorithm: Any, key: Any) -> Check:
    def check(signature: bytes, signed: bytes) -> None:
        if not algorithm.verify(signed, key, signature):
            raise ValueError("another signature")

    return check
