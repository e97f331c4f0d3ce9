"""Merging the rules of a delegate with the rule that refers to it (semantics 1.6)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Final, TypeVar

import msgspec

from meshlib.model.strings import ExactMatch, PrefixMatch, RegexMatch, StringMatch
from meshlib.model.virtual_service import HTTPMatchRequest, HTTPRoute

__all__ = ["merge_route"]

# What a delegate's rule takes from the root's where it has none of its own.
INHERITED: Final = (
    "rewrite direct_response timeout retries fault mirror mirror_percent legacy_mirror_percent mirror_percentage "
    "cors_policy mirrors headers"
).split()
PLAIN: Final = ("uri", "scheme", "method", "authority")

V = TypeVar("V")


def merge_route(root: HTTPRoute, leaf: HTTPRoute) -> HTTPRoute | None:
    """A delegate's rule within the root's; None if their matches exclude each other."""
    matches = merge_matches(root.match, leaf.match)
    if matches is None:
        return None
    changes: dict[str, object] = {name: getattr(root, name) for name in INHERITED if getattr(leaf, name) in (None, ())}
    return msgspec.structs.replace(leaf, match=matches, name=joined(root.name, leaf.name), **changes)


def merge_matches(
    root: tuple[HTTPMatchRequest, ...], leaf: tuple[HTTPMatchRequest, ...]
) -> tuple[HTTPMatchRequest, ...] | None:
    """Every match of the delegate within every match of the root that it fits; None if one of them fits none."""
    if not root or not leaf:
        return leaf or root
    merged: list[HTTPMatchRequest] = []
    for inner in leaf:
        fitting = [merge_match(outer, inner) for outer in root if not has_conflict(outer, inner)]
        if not fitting:
            return None
        merged.extend(fitting)
    return tuple(merged)


def merge_match(root: HTTPMatchRequest, leaf: HTTPMatchRequest) -> HTTPMatchRequest:
    """Both matches at once; where both say something, the delegate's word stands."""
    return msgspec.structs.replace(
        leaf,
        name=joined(root.name, leaf.name),
        uri=leaf.uri or root.uri,
        scheme=leaf.scheme or root.scheme,
        method=leaf.method or root.method,
        authority=leaf.authority or root.authority,
        headers=united(root.headers, leaf.headers),
        without_headers=united(root.without_headers, leaf.without_headers),
        query_params=united(root.query_params, leaf.query_params),
        source_labels=united(root.source_labels, leaf.source_labels),
        port=leaf.port or root.port,
        source_namespace=leaf.source_namespace or root.source_namespace,
        gateways=leaf.gateways or root.gateways,
        stat_prefix=leaf.stat_prefix or root.stat_prefix,
    )


def joined(root: str | None, leaf: str | None) -> str | None:
    """``root-leaf``, or the one that is set."""
    return f"{root}-{leaf}" if root and leaf else leaf or root


def united(root: Mapping[str, V], leaf: Mapping[str, V]) -> Mapping[str, V]:
    return {**root, **leaf} if root and leaf else leaf or root


def has_conflict(root: HTTPMatchRequest, leaf: HTTPMatchRequest) -> bool:
    """True if the delegate's match does not lie within the root's."""
    if any(texts_conflict(one, other) for one, other in pairs(root, leaf)):
        return True
    if bool(root.ignore_uri_case) is not bool(leaf.ignore_uri_case):
        return True
    if root.port and leaf.port and root.port != leaf.port:
        return True
    if root.source_namespace and leaf.source_namespace != root.source_namespace:
        return True
    if any(root.source_labels.get(key, value) != value for key, value in leaf.source_labels.items()):
        return True
    if not root.gateways or not leaf.gateways:
        return False
    return len(root.gateways) < len(leaf.gateways) or not set(leaf.gateways) <= set(root.gateways)


def pairs(root: HTTPMatchRequest, leaf: HTTPMatchRequest) -> Iterator[tuple[StringMatch | None, StringMatch | None]]:
    """The text conditions of both on the same thing."""
    plain = ((getattr(root, name), getattr(leaf, name)) for name in PLAIN)
    maps = (
        (root.headers, leaf.headers),
        (root.without_headers, leaf.without_headers),
        (root.query_params, leaf.query_params),
    )
    return chain(plain, ((outer.get(key), inner[key]) for outer, inner in maps for key in inner))


def texts_conflict(root: StringMatch | None, leaf: StringMatch | None) -> bool:
    """True if a text that meets the delegate's condition may fail the root's.

    Regular expressions are not compared: any other condition beside one is a conflict,
    and so is a presence match, or an empty value of the root's, beside anything: Istio
    does not tell these from one another.
    """
    if root is None or leaf is None:
        return False
    match root:
        case ExactMatch(value):
            return not value or not (isinstance(leaf, ExactMatch) and leaf.value == value)
        case PrefixMatch(value):
            return not value or not (isinstance(leaf, ExactMatch | PrefixMatch) and leaf.value.startswith(value))
        case RegexMatch():
            return True
        case _:
            return True
