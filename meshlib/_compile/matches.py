"""HTTP match conditions: the model's become predicates of the snapshot (semantics 2.1, 2.2).

Conditions on what is known when compiling (port, source, gateways) are decided here and
never reach a request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from meshlib._regex import compile_regex
from meshlib._snapshot.matchers import (
    ClaimMatch,
    Exact,
    HeaderMatch,
    Predicate,
    Prefix,
    Present,
    PseudoMatch,
    QueryMatch,
    Regex,
    RouteMatch,
    TextMatcher,
    UriMatch,
)
from meshlib.model.strings import ExactMatch, PrefixMatch, RegexMatch, StringMatch
from meshlib.model.virtual_service import HTTPMatchRequest

__all__ = [
    "claim_path",
    "compile_match",
    "is_catch_all",
    "is_catch_all_route",
    "is_static",
    "static_mismatch",
    "text_matcher",
]

EVERYTHING: Final = RouteMatch()
PRESENT: Final = Present()
CLAIMS: Final = "@request.auth.claims"
PSEUDO: Final = {
    ":method": "method",
    ":scheme": "scheme",
    ":authority": "authority",
    "host": "authority",
    ":path": "path",
}


def is_static(match: HTTPMatchRequest) -> bool:
    """True if a match asks for something that is known when compiling."""
    return bool(match.port or match.gateways or match.source_labels or match.source_namespace)


def static_mismatch(
    match: HTTPMatchRequest,
    *,
    port: int,
    gateway: str,
    namespace: str,
    labels: Mapping[str, str],
    gateway_key: Callable[[str], str],
) -> str | None:
    """Why a match can never hold for this workload and port; None if it can.

    A match that names gateways is for these alone, and then nothing is asked of the source.
    """
    if match.port and match.port != port:
        return f"port {match.port} is not the dialled port {port}"
    if match.gateways:
        if gateway in map(gateway_key, match.gateways):
            return None
        return f"gateways {', '.join(match.gateways)} do not include {gateway}"
    for key, value in match.source_labels.items():
        if labels.get(key) != value:
            return f"sourceLabels {key}={value} is not among the workload's labels"
    if match.source_namespace and match.source_namespace != namespace:
        return f"sourceNamespace {match.source_namespace} is not the workload's namespace {namespace}"
    return None


def compile_match(match: HTTPMatchRequest | None) -> RouteMatch:
    """The conditions that a request must meet. Raises RegexError."""
    if match is None:
        return EVERYTHING
    predicates = request_predicates(match)
    name = match.name or ""
    if match.uri is None:
        return RouteMatch(predicates, None, name) if predicates or name else EVERYTHING
    uri = UriMatch(text_matcher(match.uri, ignore_case=bool(match.ignore_uri_case)))
    return RouteMatch(predicates, uri, name)


def request_predicates(match: HTTPMatchRequest) -> tuple[Predicate, ...]:
    """Everything but the path, cheap conditions first: their order does not change the answer."""
    found: list[Predicate] = []
    for name, text in (("method", match.method), ("scheme", match.scheme), ("authority", match.authority)):
        if text is not None:
            found.append(PseudoMatch(name, text_matcher(text)))
    if match.headers:
        found += [header_predicate(field, match.headers[field], invert=False) for field in sorted(match.headers)]
    if match.without_headers:
        unwanted = match.without_headers
        found += [header_predicate(field, unwanted[field], invert=True) for field in sorted(unwanted)]
    if match.query_params:
        found += [QueryMatch(name, presence_or_text(text)) for name, text in match.query_params.items()]
    return tuple(found)


def header_predicate(name: str, text: StringMatch | None, *, invert: bool) -> Predicate:
    """A condition on a header, on a pseudo header, or on a claim of the caller's token."""
    path = claim_path(name)
    if path is not None:
        return ClaimMatch(path, presence_or_text(text), invert=invert)
    lower = name.lower()
    if lower in PSEUDO:
        return PseudoMatch(PSEUDO[lower], presence_or_text(text), invert=invert)
    return HeaderMatch(lower, presence_or_text(text), invert=invert)


def claim_path(name: str) -> tuple[str, ...] | None:
    """The nested claim that a header key names: ``@request.auth.claims.a.b`` or ``@request.auth.claims[a][b]``."""
    if name[: len(CLAIMS)].lower() != CLAIMS:
        return None
    rest = name[len(CLAIMS) :]
    if rest.startswith(".") and len(rest) > 1:
        return tuple(rest[1:].split("."))
    if rest.startswith("[") and rest.endswith("]") and len(rest) > 2:
        return tuple(rest[1:-1].split("]["))
    return None


def presence_or_text(match: StringMatch | None) -> TextMatcher:
    """The condition on a field; an empty match, or the regex ``*``, only asks for its presence."""
    if isinstance(match, RegexMatch) and match.value == "*":
        return PRESENT
    return PRESENT if match is None else text_matcher(match)


def text_matcher(match: StringMatch, *, ignore_case: bool = False) -> TextMatcher:
    """A string match as a predicate; case is ignored for exact and prefix only. Raises RegexError."""
    if isinstance(match, ExactMatch):
        return Exact(match.value, ignore_case)
    if isinstance(match, PrefixMatch):
        return Prefix(match.value, ignore_case)
    if isinstance(match, RegexMatch):
        return Regex(compile_regex(match.value))
    return PRESENT


def is_catch_all(match: HTTPMatchRequest | None) -> bool:
    """True if nothing behind this match can be reached: any path, and nothing else asked of the request."""
    if match is None:
        return True
    if match.headers or match.without_headers or match.query_params or match.method or match.scheme or match.authority:
        return False
    uri = match.uri
    return uri is None or uri in (PrefixMatch("/"), RegexMatch(".*"))


def is_catch_all_route(match: RouteMatch) -> bool:
    """The same of a compiled match."""
    if match.predicates:
        return False
    text = None if match.uri is None else match.uri.text
    if isinstance(text, Prefix):
        return text.value == "/"
    return text is None or (isinstance(text, Regex) and text.program.pattern == ".*")
