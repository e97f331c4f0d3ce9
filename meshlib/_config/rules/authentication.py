"""RequestAuthentication and PeerAuthentication: what Istio's webhook refuses (validation.go)."""

from __future__ import annotations

import binascii
import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import Any, Final

from meshlib._config.check import Path
from meshlib._config.rules.report import Report
from meshlib._config.rules.visibility import check_selector, check_target_refs
from meshlib.model.peer_authentication import PeerAuthenticationSpec
from meshlib.model.request_authentication import JWTRule, RequestAuthenticationSpec
from meshlib.model.resource import Metadata

__all__ = ["check_peer_authentication", "check_request_authentication"]

_PARTS: Final = {"RSA": ("n", "e"), "EC": ("crv", "x", "y"), "OKP": ("crv", "x"), "oct": ("k",)}
_CURVES: Final = {
    "EC": frozenset({"P-256", "P-384", "P-521", "secp256k1"}),
    "OKP": frozenset({"Ed25519", "X25519", "Ed448", "X448"}),
}
_BASE64: Final = re.compile(r"[-_A-Za-z0-9]*\Z")


def check_request_authentication(spec: RequestAuthenticationSpec, metadata: Metadata, report: Report) -> None:
    """All rules of a RequestAuthentication that its schema does not have."""
    del metadata
    check_target_refs(spec, report)
    for index, rule in enumerate(spec.jwt_rules):
        _check_rule(rule, ("spec", "jwtRules", index), report)


def _check_rule(rule: JWTRule, path: Path, report: Report) -> None:
    if not rule.issuer and not rule.jwks_uri:
        report.add("MESH082", path, "issuer or jwksUri must be non-empty string", "add issuer")
    if not rule.jwks:
        return
    place = (*path, "jwks")
    try:
        keys = _keys(rule.jwks)
    except ValueError as error:
        report.add("MESH082", place, f"jwks parse error: {error}", 'write {"keys": [...]}')
        return
    for position, key in enumerate(keys):
        if "d" in key or key.get("kty") == "oct":
            message = f"jwks key at index {position} contains private key material"
            report.warn(place, f"{message}; only public keys are used for verification", "remove the private parts")


def _keys(text: str) -> list[Mapping[str, Any]]:
    """The keys of a set, or of a single key; ValueError, without any of the text, if it is none."""
    try:
        value = json.loads(text)
    except ValueError:
        raise ValueError("it is no JSON") from None
    if not isinstance(value, dict):
        raise ValueError("it is no set of keys")
    if "keys" not in value:
        value = {"keys": [value]}
    keys = value["keys"]
    if not isinstance(keys, list):
        raise ValueError("keys is no list")
    for position, key in enumerate(keys):
        problem = _key_problem(key)
        if problem:
            raise ValueError(f"failed to decode key #{position}: {problem}")
    found: list[Mapping[str, Any]] = list(keys)
    return found


def _key_problem(key: object) -> str:
    if not isinstance(key, dict):
        return "it is no JSON object"
    kind = key.get("kty")
    parts = _PARTS.get(kind) if isinstance(kind, str) else None
    if parts is None:
        return f"invalid key type from JSON ({kind if isinstance(kind, str) else ''})"
    for part in parts:
        value = key.get(part)
        if not isinstance(value, str) or not value:
            return f"required field {part} is missing"
        if part == "crv":
            if value not in _CURVES[str(kind)]:
                return "unknown curve"
        elif not _is_base64(value):
            return f"failed to decode {part}"
    return ""


def _is_base64(text: str) -> bool:
    plain = text.rstrip("=")
    if _BASE64.match(plain.replace("+", "-").replace("/", "_")) is None:
        return False
    try:
        urlsafe_b64decode(plain + "=" * (-len(plain) % 4))
    except binascii.Error:
        return False
    return True


def check_peer_authentication(spec: PeerAuthenticationSpec, metadata: Metadata, report: Report) -> None:
    """What Istio warns about in a PeerAuthentication; the rest is in its schema."""
    del metadata
    if spec.selector is not None:
        check_selector(spec.selector, ("spec", "selector"), report)
