"""Compiled token rules of the workload (semantics 6.2)."""

from __future__ import annotations

from typing import Final

import msgspec

__all__ = ["ALWAYS_SPLIT", "Authentication", "KeyOrigin", "TokenHeader", "TokenRule", "plain_audience"]

ALWAYS_SPLIT: Final = frozenset(("scope", "permission"))
"""Claims whose text is a list separated by spaces, whatever a rule says."""


class TokenHeader(msgspec.Struct, frozen=True, gc=False):
    """A header, ``name`` in lower case, that may carry a token after ``prefix``."""

    name: str
    prefix: str = ""


class KeyOrigin(msgspec.Struct, frozen=True, gc=False):
    """Where the keys of a rule come from: ``inline`` JSON, a ``uri``, or the discovery document of ``issuer``.

    ``timeout`` of one request for them, in seconds.
    """

    inline: str = ""
    uri: str = ""
    issuer: str = ""
    timeout: float = 5.0


class TokenRule(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Tokens of one issuer; an empty ``issuer`` takes any.

    ``audiences`` are without scheme and final slash; empty: any. ``claim_headers`` maps
    a header to the claim that it gets. ``payload_header`` empty: none.
    """

    issuer: str
    keys: KeyOrigin
    audiences: frozenset[str] = frozenset()
    headers: tuple[TokenHeader, ...] = ()
    params: tuple[str, ...] = ()
    cookies: tuple[str, ...] = ()
    forwards_token: bool = False
    payload_header: str = ""
    claim_headers: tuple[tuple[str, str], ...] = ()
    split_claims: frozenset[str] = ALWAYS_SPLIT


class Authentication(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The token rules of a workload, by issuer.

    ``output_headers`` are never believed from outside, so ``rules`` find no tokens there. ``written`` are the rules
    with these places, too (empty: they have none): what one rule has put there another one takes for a token.
    """

    rules: tuple[TokenRule, ...]
    output_headers: tuple[str, ...] = ()
    written: tuple[TokenRule, ...] = ()


def plain_audience(audience: str) -> str:
    """An audience as Envoy compares it: without scheme and one final slash."""
    if "/" not in audience:
        return audience
    for scheme in ("http://", "https://"):
        audience = audience.removeprefix(scheme)
    return audience.removesuffix("/")
