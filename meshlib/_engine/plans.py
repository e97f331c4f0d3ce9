"""What all exchanges of a route have in common under one publish: found at the first of them, then only looked up."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final

from meshlib._engine.commands import Send
from meshlib._engine.request_headers import milliseconds
from meshlib._snapshot.clusters import Discovery
from meshlib._snapshot.peers import NO_PEER_HEADERS
from meshlib._snapshot.routes import Forward, Route, VirtualHost, WeightedDestination

if TYPE_CHECKING:
    from collections.abc import Mapping

    from meshlib._engine.callers import Caller
    from meshlib._engine.state import EndpointState, LiveCluster
    from meshlib._http import RequestHead
    from meshlib._random import Chance
    from meshlib._snapshot.matchers import RouteMatch

__all__ = ["NOTHING", "HostPlans", "Plan", "Target"]

NOTHING: Final = Forward(destinations=(), sums=())
"""What a route does that does not forward."""


class Target:
    """A destination with its live cluster (None: there is none), and the commands of first attempts there.

    ``peer_headers`` are what it is told of this workload; none outside the mesh, whatever
    Istio's ``metadataExchangeHeaders`` says. Who is told may answer likewise, which the
    last of ``response_levels`` keeps from the application.
    """

    __slots__ = ("_timeout", "destination", "live", "peer_headers", "response_levels", "sends")

    def __init__(
        self,
        destination: WeightedDestination,
        live: LiveCluster | None,
        timeout: float | None,
        peer_headers: Mapping[str, str],
    ) -> None:
        self.destination = destination
        self.live = live
        self.peer_headers = peer_headers if live is not None and not live.cluster.external else {}
        self.response_levels = (*destination.response_levels, NO_PEER_HEADERS)
        self.sends: dict[EndpointState | None, Send] = {}
        self._timeout = timeout

    def send(self, host: EndpointState | None) -> Send:
        """The command of a first attempt of a simple plan; the same object each time."""
        assert self.live is not None
        endpoint = host.endpoint if host is not None else None
        made = self.sends[host] = Send(self.live.cluster, endpoint, 1, self._timeout)
        return made

    def __repr__(self) -> str:
        return f"<Target {self.destination.cluster} sends={len(self.sends)}>"


def _is_plain(target: Target) -> bool:
    one, live = target.destination, target.live
    changes = one.request_levels or one.host_rewrite is not None or one.tells_host or one.response_levels
    return not changes and live is not None and not live.is_hashing


def _is_special(target: Target) -> bool:
    """True where first attempts may have to queue, or differ in where they go."""
    live = target.live
    return live is not None and (live.caps_connections or live.cluster.discovery is Discovery.DYNAMIC)


def _is_easy(target: Target, action: Forward) -> bool:
    """Whether a success there says nothing to the retry policy and to the outlier detection."""
    retry, live = action.retry, target.live
    if retry is not None and (
        "envoy-ratelimited" in retry.conditions or any(code < 400 for code in retry.status_codes)
    ):
        return False
    return live is not None and not live.judges_success


class Plan:
    """What a route does; where it forwards to, and what its first attempts may take.

    ``is_direct`` is whether nothing that has to be waited for comes before a first
    attempt (no fault, no CORS, no mirror, no queue for a connection), and none that only
    the request can tell (its Host header is not what is resolved). ``is_simple`` is
    whether, besides, the request goes there as every request does: nothing of it or its
    response is changed by the route, nor hashed. ``is_easy`` is whether a success is just
    passed on. ``only`` is the target where there is one; :meth:`draw` chooses otherwise.
    ``targets`` is empty where the route answers by itself.
    """

    __slots__ = (
        "action", "is_cut_by_route", "is_direct", "is_easy", "is_simple", "only", "route", "targets", "timeout",
        "timeout_text",
    )  # fmt: skip

    def __init__(self, route: Route, clusters: Mapping[str, LiveCluster], peer_headers: Mapping[str, str]) -> None:
        self.route = route
        self.action = action = route.action if isinstance(route.action, Forward) else NOTHING
        self.timeout = action.timeout
        per_try = action.retry.per_try_timeout if action.retry is not None else None
        # The first attempt has all of the route's timeout: a round number, which the driver's timers like.
        self.is_cut_by_route = action.timeout is not None and (per_try is None or per_try >= action.timeout)
        timeout = action.timeout if self.is_cut_by_route else per_try
        self.timeout_text = None if timeout is None else milliseconds(timeout)
        copies = (clusters.get(mirror.cluster) for mirror in action.mirrors)
        if any(live is not None and live.cluster.external for live in copies):
            peer_headers = {}  # a copy has the headers of the request
        self.targets = tuple(
            Target(one, clusters.get(one.cluster), timeout, peer_headers) for one in action.destinations
        )
        self.only = self.targets[0] if len(self.targets) == 1 else None
        self.is_direct = (
            action.fault is None
            and action.cors is None
            and not action.mirrors
            and not any(map(_is_special, self.targets))
        )
        is_plain = action.rewrite is None and all(map(_is_plain, self.targets))
        self.is_simple = bool(self.targets) and self.is_direct and is_plain
        self.is_easy = all(_is_easy(one, action) for one in self.targets)

    def draw(self, chance: Chance) -> Target:
        """One of the targets, by their weights: a draw in ``[0, sum)``."""
        sums = self.action.sums
        return self.targets[bisect_right(sums, chance.random() * sums[-1])]

    def __repr__(self) -> str:
        return f"<Plan {self.route.name} targets={len(self.targets)}>"


class HostPlans:
    """The routes of a virtual host under one publish, with the policy of its callers."""

    __slots__ = ("_clusters", "_indexed", "_peer_headers", "_rows", "caller", "host")

    def __init__(
        self,
        host: VirtualHost,
        clusters: Mapping[str, LiveCluster],
        caller: Caller | None,
        peer_headers: Mapping[str, str],
    ) -> None:
        self.host = host
        self.caller = caller
        self._clusters = clusters
        self._peer_headers = peer_headers
        self._indexed: dict[int, Plan] = {}  # by the identity of the route, which the plan keeps alive
        self._rows: tuple[tuple[RouteMatch | None, Plan], ...] = ()
        if host.index is None:
            self._rows = tuple((_condition(one.match), Plan(one, clusters, peer_headers)) for one in host.routes)

    def find(self, request: RequestHead) -> Plan | None:
        """The plan of the first route that matches."""
        for match, plan in self._rows:
            if match is None or match.matches(request):
                return plan
        route = self.host.index.first(request) if self.host.index is not None else None
        if route is None:
            return None
        found = self._indexed.get(id(route))
        if found is None:
            found = self._indexed[id(route)] = Plan(route, self._clusters, self._peer_headers)
        return found

    def __repr__(self) -> str:
        return f"<HostPlans {self.host.name}>"


def _condition(match: RouteMatch) -> RouteMatch | None:
    return match if match.uri is not None or match.predicates else None
