"""What all exchanges of a route have in common under one publish: found at the first of them, then only looked up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshlib._engine.commands import Send
from meshlib._engine.request_headers import milliseconds
from meshlib._snapshot.clusters import Discovery
from meshlib._snapshot.routes import Forward, Route, WeightedDestination

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshlib._engine.state import EndpointState, LiveCluster

__all__ = ["Plan", "Target"]


class Target:
    """A destination with its live cluster (None: there is none), and the commands of first attempts there."""

    __slots__ = ("_authority", "_timeout", "destination", "live", "sends")

    def __init__(self, destination: WeightedDestination, live: LiveCluster | None, timeout: float | None) -> None:
        self.destination = destination
        self.live = live
        self.sends: dict[EndpointState | None, Send] = {}
        self._authority = destination.host_rewrite
        self._timeout = timeout

    def send(self, host: EndpointState | None, path: str | None) -> Send:
        """The command of a first attempt; the same object each time, unless the path of the request was changed."""
        assert self.live is not None
        endpoint = host.endpoint if host is not None else None
        made = Send(self.live.cluster, endpoint, 1, self._timeout, path, self._authority)
        if path is None:
            self.sends[host] = made
        return made

    def __repr__(self) -> str:
        return f"<Target {self.destination.cluster} sends={len(self.sends)}>"


def _is_plain(target: Target) -> bool:
    one, live = target.destination, target.live
    changes = one.request_levels or one.host_rewrite is not None or one.tells_host
    return not changes and live is not None and not live.is_hashing


def _is_special(target: Target) -> bool:
    """True where first attempts may have to queue, or differ in where they go."""
    live = target.live
    return live is not None and (live.caps_connections or live.cluster.discovery is Discovery.DYNAMIC)


class Plan:
    """Where a route forwards to, and what its first attempts may take.

    ``is_direct`` is whether nothing that has to be waited for comes before a first
    attempt (no fault, no CORS, no mirror, no queue for a connection), and none that only
    the request can tell (its Host header is not what is resolved). ``is_plain`` is
    whether the request goes there as every request does: nothing of it is changed or hashed.
    """

    __slots__ = ("action", "is_cut_by_route", "is_direct", "is_plain", "route", "targets", "timeout_text")

    def __init__(self, route: Route, action: Forward, clusters: Mapping[str, LiveCluster]) -> None:
        self.route = route
        self.action = action
        per_try = action.retry.per_try_timeout if action.retry is not None else None
        # The first attempt has all of the route's timeout: a round number, which the driver's timers like.
        self.is_cut_by_route = action.timeout is not None and (per_try is None or per_try >= action.timeout)
        timeout = action.timeout if self.is_cut_by_route else per_try
        self.timeout_text = None if timeout is None else milliseconds(timeout)
        self.targets = tuple(Target(one, clusters.get(one.cluster), timeout) for one in action.destinations)
        self.is_direct = (
            action.fault is None
            and action.cors is None
            and not action.mirrors
            and not any(map(_is_special, self.targets))
        )
        self.is_plain = action.rewrite is None and all(map(_is_plain, self.targets))

    def __repr__(self) -> str:
        return f"<Plan {self.route.name} targets={len(self.targets)}>"
