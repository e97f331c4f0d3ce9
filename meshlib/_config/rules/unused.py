"""Rules of a VirtualService that no request can reach (analyzeUnreachableHTTPRules and its siblings)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias, cast

from meshlib._config.check import Path
from meshlib.model.base import EMPTY
from meshlib.model.strings import ExactMatch, PrefixMatch, StringMatch
from meshlib.model.virtual_service import (
    HTTPMatchRequest,
    HTTPRoute,
    L4MatchAttributes,
    TCPRoute,
    TLSMatchAttributes,
    TLSRoute,
    VirtualServiceSpec,
)

__all__ = ["Unused", "find_unused", "unused_rules"]

AnyRoute: TypeAlias = HTTPRoute | TCPRoute | TLSRoute
AnyMatch: TypeAlias = HTTPMatchRequest | L4MatchAttributes | TLSMatchAttributes

_TABLES: Final = (dict, type(EMPTY))
_LAST: Final = "only the last rule can have no matches"
_AFTER: Final = "route without matches defined before"
_TAKEN: Final = "all matches used by prior rules"


class Unused(NamedTuple):
    """A rule that is never used (``reason``), or one ``match`` of it that ``prior`` has taken before."""

    path: Path
    rule: str
    reason: str = ""
    match: str = ""
    prior: str = ""


def unused_rules(spec: VirtualServiceSpec) -> Iterator[tuple[Path, str]]:
    """Every unused rule or match, in Istio's words."""
    for one in find_unused(spec):
        if one.reason:
            yield one.path, f"virtualService rule {one.rule} not used ({one.reason})"
        else:
            taken = f"is not used (duplicate/overlapping match in rule {one.prior})"
            yield one.path, f"virtualService rule {one.rule} match {one.match} {taken}"


def find_unused(spec: VirtualServiceSpec) -> Iterator[Unused]:
    """Every rule and match that is never used, in the order in which Istio says them."""
    yield from _repeated(spec.http, ("spec", "http"))
    if sum(len(route.match) for route in spec.http) > 1:
        yield from _covered(spec.http)
    yield from _repeated(spec.tcp, ("spec", "tcp"))
    yield from _repeated(spec.tls, ("spec", "tls"))


def _repeated(routes: Sequence[AnyRoute], section: Path) -> Iterator[Unused]:
    """Rules behind one without matches, and matches that an earlier rule has written already."""
    if len(routes) < 2 and all(len(route.match) < 2 for route in routes):
        return
    seen: dict[object, int] = {}
    catch_all = False
    for number, route in enumerate(routes):
        path, name = (*section, number), _route_name(route, number)
        if not route.match:
            if catch_all:
                yield Unused(path, name, _LAST)
            catch_all = True
            continue
        repeated, matches = 0, cast("Sequence[AnyMatch]", route.match)
        for position, match in enumerate(matches):
            if catch_all:
                yield Unused(path, name, _AFTER)
                continue
            key = _key(match)
            if key not in seen:
                seen[key] = number
                continue
            repeated += 1
            prior = _route_name(routes[seen[key]], seen[key])
            yield Unused((*path, "match", position), name, match=_match_name(match, position), prior=prior)
        if repeated == len(route.match):
            yield Unused(path, name, _TAKEN)


def _key(match: AnyMatch) -> object:
    """What a match says, apart from its name."""
    fields = match.__struct_fields__
    values = (getattr(match, field) for field in fields if field != "name")
    return tuple(frozenset(value.items()) if type(value) in _TABLES else value for value in values)


class _Prefixed(NamedTuple):
    """A match by the prefix of the path, as far as Istio compares two of them; each text ``kind:value``."""

    path: Path
    rule: str
    match: str
    prefix: str
    port: int
    method: str
    authority: str
    tables: tuple[Mapping[str, str], ...]


def _covered(routes: Sequence[HTTPRoute]) -> Iterator[Unused]:
    """Matches by prefix behind a match by a shorter prefix that asks for the same."""
    seen: set[object] = set()
    kept: list[_Prefixed] = []
    for number, route in enumerate(_reachable(routes)):
        for position, match in enumerate(route.match):
            key = _key(match)
            if key in seen:
                continue  # said already that it is written twice
            seen.add(key)
            if isinstance(match.uri, PrefixMatch) and match.uri.value:
                path: Path = ("spec", "http", number, "match", position)
                kept.append(_prefixed(match, path, _route_name(route, number), position))
    for index, wide in enumerate(kept):
        for narrow in kept[index + 1 :]:
            if narrow.prefix != wide.prefix and _covers(wide, narrow):
                yield Unused(
                    narrow.path,
                    narrow.rule,
                    match=f"{narrow.match} of prefix {narrow.prefix}",
                    prior=f"{wide.match} of prefix {wide.prefix} on {wide.rule}",
                )


def _reachable(routes: Sequence[HTTPRoute]) -> Sequence[HTTPRoute]:
    """The rules up to the first without matches."""
    return routes[: next((number for number, route in enumerate(routes) if not route.match), len(routes))]


def _prefixed(match: HTTPMatchRequest, path: Path, rule: str, position: int) -> _Prefixed:
    tables = (match.headers, match.query_params, match.without_headers)
    return _Prefixed(
        path,
        rule,
        _match_name(match, position),
        match.uri.value if isinstance(match.uri, PrefixMatch) else "",
        match.port or 0,
        _text(match.method) or "exact:GET",
        _text(match.authority),
        tuple({name: _text(value) for name, value in table.items()} for table in tables),
    )


def _text(match: StringMatch | None) -> str:
    if isinstance(match, ExactMatch) and match.value:
        return f"exact:{match.value}"
    return f"prefix:{match.value}" if isinstance(match, PrefixMatch) and match.value else ""


def _covers(wide: _Prefixed, narrow: _Prefixed) -> bool:
    return (
        narrow.prefix.startswith(wide.prefix)
        and narrow.port == wide.port
        and wide.method.startswith(narrow.method)
        and wide.authority.startswith(narrow.authority)
        and all(map(_table_covers, wide.tables, narrow.tables))
    )


def _table_covers(wide: Mapping[str, str], narrow: Mapping[str, str]) -> bool:
    return len(wide) == len(narrow) and all(
        name in narrow and value.startswith(narrow[name]) for name, value in wide.items()
    )


def _route_name(route: AnyRoute, number: int) -> str:
    return f'"{route.name}"' if isinstance(route, HTTPRoute) and route.name else f"#{number}"


def _match_name(match: AnyMatch, number: int) -> str:
    return f'"{match.name}"' if isinstance(match, HTTPMatchRequest) and match.name else f"#{number}"
