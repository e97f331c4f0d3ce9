"""The names of spans: Istio's route decorator (semantics 7.6)."""

from __future__ import annotations

from meshlib._snapshot.matchers import Exact, Prefix, Regex
from meshlib._snapshot.routes import Forward, Route

__all__ = ["operation"]


def operation(route: Route | None, authority: str) -> str:
    """``<host>:<port><path>`` for a route with one destination, the name of its VirtualService for one with several.

    The path is that of the match: ``/exact``, ``/prefix*`` or the expression; ``/*`` without one.
    """
    if route is None:
        return authority or "unknown"
    path = _path(route)
    action = route.action
    if not isinstance(action, Forward) or not action.destinations:
        return f"{authority}{path}"
    first = action.destinations[0]
    if len(action.destinations) == 1:
        return f"{first.host or authority}:{first.port}{path}" if first.host else f"{authority}{path}"
    owner = route.origin.resource.rpartition("/")[2]
    return f"{owner}:{first.port}{path}"


def _path(route: Route) -> str:
    uri = route.match.uri
    if uri is None:
        return "/*"
    match uri.text:
        case Exact(value=value):
            return value
        case Prefix(value=value):
            return f"{value}*"
        case Regex(program=program):
            return program.pattern
        case _:
            return "/*"
