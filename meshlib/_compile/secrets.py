"""The certificates in Secrets, under the names by which Istio looks for them (pilot/pkg/credentials).

``cert`` with ``key``, then ``tls.crt`` with ``tls.key``; an authority is ``cacert``, then ``ca.crt``, and
its list of revoked certificates ``crl`` beside the one and ``ca.crl`` beside the other.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from meshlib._compile.index import Index
from meshlib.model.kubernetes import SecretSpec

__all__ = ["ROOTS", "Place", "Secrets"]

Place: TypeAlias = tuple[str, str]
"""Namespace and name."""

ROOTS: Final = (("cacert", "crl"), ("ca.crt", "ca.crl"))
"""The names of authorities, and of their lists of revoked certificates."""
_PAIRS: Final = (("cert", "key"), ("tls.crt", "tls.key"))


class Secrets:
    """The Secrets of a configuration."""

    def __init__(self, index: Index) -> None:
        self._found = {(entry.meta.namespace, entry.meta.name): entry.spec for entry in index.of("Secret", SecretSpec)}

    def __contains__(self, place: Place) -> bool:
        return place in self._found

    def pair(self, place: Place) -> tuple[bytes, bytes] | None:
        """The certificate and the key of a Secret; None if it is not there, or has none."""
        secret = self._found.get(place)
        if secret is None:
            return None
        for chain_name, key_name in _PAIRS:
            chain, key = secret.value(chain_name), secret.value(key_name)
            if chain and key:
                return chain, key
        return None

    def roots(self, place: Place) -> tuple[bytes, bytes] | None:
        """The certificate authority in a Secret and its list, empty without one; None if there is no authority."""
        secret = self._found.get(place)
        if secret is None:
            return None
        return next(
            ((roots, secret.value(listed) or b"") for name, listed in ROOTS if (roots := secret.value(name))), None
        )

    def __repr__(self) -> str:
        return f"<Secrets found={len(self._found)}>"
