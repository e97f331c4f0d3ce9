"""First match among many routes, without trying them all.

Routes are kept by what their path condition asks for, in one dict for exact paths and
one for prefixes, each of which is linked to the longest other prefix within it. A path
asks for itself and for its longest prefix: its beginnings are tried that are as long as
a prefix is, the longest first; where prefixes have many lengths, they are searched in
sorted order instead. Of the routes found there the first one that matches is the
answer, unless a route without such a path condition stands before it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, Generic, Protocol, TypeVar

from meshlib._http import RequestHead
from meshlib._snapshot.matchers import Exact, Prefix, RouteMatch

__all__ = ["RouteIndex"]

FEW: Final = 8  # lengths; to try so many beginnings costs what sorting in does


class Matching(Protocol):
    """What is indexed: something with a match."""

    @property
    def match(self) -> RouteMatch:
        """The conditions of the route."""
        ...


R = TypeVar("R", bound=Matching)


class RouteIndex(Generic[R]):
    """The routes of one virtual host by their paths. Immutable."""

    __slots__ = ("_exact", "_lengths", "_numbers", "_others", "_parents", "_places", "_routes", "_sorted")

    def __init__(self, routes: Sequence[R]) -> None:
        self._routes = tuple(routes)
        exact: dict[str, list[int]] = {}
        prefixes: dict[str, list[int]] = {}
        others: list[int] = []
        for number, route in enumerate(routes):
            text = route.match.uri.text if route.match.uri is not None else None
            if isinstance(text, Exact) and not text.ignore_case:
                exact.setdefault(text.value, []).append(number)
            elif isinstance(text, Prefix) and not text.ignore_case and text.value:
                prefixes.setdefault(text.value, []).append(number)
            else:
                others.append(number)
        self._exact = {path: tuple(numbers) for path, numbers in exact.items()}
        self._others = tuple(others)
        self._sorted = sorted(prefixes)
        self._numbers = [tuple(prefixes[prefix]) for prefix in self._sorted]
        self._parents = parents(self._sorted)
        lengths = sorted({len(prefix) for prefix in prefixes}, reverse=True)
        self._lengths = tuple(lengths) if len(lengths) <= FEW else None
        self._places = {} if self._lengths is None else {prefix: place for place, prefix in enumerate(self._sorted)}

    def first(self, request: RequestHead) -> R | None:
        """The first route that matches the request."""
        routes, path, place = self._routes, request.path_only, -1
        found: Sequence[int] = self._exact.get(path, ())
        if self._lengths is None:
            place = self._longest(path)
        else:
            size, get = len(path), self._places.get
            for length in self._lengths:
                if length <= size and (place := get(path[:length], -1)) >= 0:
                    break
        if place >= 0:
            found = self._with_prefixes(found, place) if found or self._parents[place] >= 0 else self._numbers[place]
        best = len(routes)
        for number in found:
            # The path is known to fit.
            predicates = routes[number].match.predicates
            if not predicates or all(predicate.matches(request) for predicate in predicates):
                best = number
                break
        for number in self._others:
            if number > best:
                break
            if routes[number].match.matches(request):
                best = number
                break
        return routes[best] if best < len(routes) else None

    def _longest(self, path: str) -> int:
        # All prefixes of the path are among the one sorted right before it and the prefixes of that one.
        place = bisect_right(self._sorted, path) - 1
        while place >= 0 and not path.startswith(self._sorted[place]):
            place = self._parents[place]
        return place

    def _with_prefixes(self, found: Sequence[int], place: int) -> list[int]:
        """The routes of a prefix and of all prefixes within it, among those found before, in order."""
        numbers = [*found]
        while place >= 0:
            numbers += self._numbers[place]
            place = self._parents[place]
        return sorted(numbers)


def parents(prefixes: Sequence[str]) -> list[int]:
    """For each of some sorted texts the place of the longest other one that it starts with, or -1."""
    found: list[int] = []
    open_places: list[int] = []
    for place, prefix in enumerate(prefixes):
        while open_places and not prefix.startswith(prefixes[open_places[-1]]):
            open_places.pop()
        found.append(open_places[-1] if open_places else -1)
        open_places.append(place)
    return found
