"""First match among many routes, without trying them all.

Routes are kept by what their path condition asks for: exact paths in a dict, prefixes
in sorted order, each linked to the longest other prefix within it. A path asks the dict
once and the sorted prefixes once; of the routes found there the first one that matches
is the answer, unless a route without such a path condition stands before it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from meshlib._http import RequestHead
from meshlib._snapshot.matchers import Exact, Prefix, RouteMatch

__all__ = ["RouteIndex"]


class Matching(Protocol):
    """What is indexed: something with a match."""

    @property
    def match(self) -> RouteMatch:
        """The conditions of the route."""
        ...


R = TypeVar("R", bound=Matching)


class RouteIndex(Generic[R]):
    """The routes of one virtual host by their paths. Immutable."""

    __slots__ = ("_exact", "_numbers", "_others", "_parents", "_prefixes", "_routes")

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
        self._prefixes = sorted(prefixes)
        self._numbers = [tuple(prefixes[prefix]) for prefix in self._prefixes]
        self._parents = parents(self._prefixes)

    def first(self, request: RequestHead) -> R | None:
        """The first route that matches the request."""
        routes = self._routes
        best = len(routes)
        for number in self._by_path(request.path_only):
            if routes[number].match.matches(request):
                best = number
                break
        for number in self._others:
            if number > best:
                break
            if routes[number].match.matches(request):
                best = number
                break
        return routes[best] if best < len(routes) else None

    def _by_path(self, path: str) -> Sequence[int]:
        """The routes whose exact path or prefix fits, in order."""
        exact = self._exact.get(path, ())
        # All prefixes of the path are among the one sorted right before it and the prefixes of that one.
        place = bisect_right(self._prefixes, path) - 1
        while place >= 0 and not path.startswith(self._prefixes[place]):
            place = self._parents[place]
        if place < 0:
            return exact
        found = [*exact]
        while place >= 0:
            found.extend(self._numbers[place])
            place = self._parents[place]
        found.sort()
        return found


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
