"""The short way of a call: most succeed at their first attempt while nobody watches them.

Rules:

* What the long way does for such a call is done here in the same order, with the same
  draws: weight, breaker, sweep, pick, limit; and at the end count out, breaker. An
  exchange of its own is not needed for that.
* A call that is refused here has no more to do than to say so.
* Any other end goes on as an exchange whose first attempt has just come back
  (:meth:`meshlib._engine.calls.CallExchange.go_on`).
* Where more than that may have to happen to a first attempt (faults, a queue for
  connections, hedges, deadlines), or somebody listens, there is no short way.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TypeAlias

from meshlib._engine.breakers import Breaker
from meshlib._engine.callers import Caller, open_reply
from meshlib._engine.commands import LocalReply
from meshlib._engine.local_replies import overflow_reply, unhealthy_reply
from meshlib._engine.outliers import sweep_locked
from meshlib._engine.published import Published
from meshlib._engine.state import EndpointState, LiveCluster
from meshlib._http import RequestHead
from meshlib._snapshot.routes import Forward, WeightedDestination

__all__ = ["Destinations", "Refused", "ShortWay", "Started", "find_short_way", "first_timeout"]

Destinations: TypeAlias = tuple[tuple[WeightedDestination, LiveCluster | None], ...]

Started: TypeAlias = tuple[LiveCluster, EndpointState, int, float, int]
"""A first attempt on its way: cluster, endpoint, number of the destination, when it began, permit of the breaker."""


class Refused:
    """Why a call is not made: the mesh's reply and its response flag."""

    __slots__ = ("flags", "reply")

    def __init__(self, reply: LocalReply, flag: str) -> None:
        self.reply = reply
        self.flags = (flag,)

    def __repr__(self) -> str:
        return f"<Refused {self.reply!r} {self.flags[0]}>"


class ShortWay:
    """Where first attempts go under one publish. ``timeout`` are the seconds that each may take."""

    __slots__ = (
        "_breaker", "_clusters", "_draw", "_is_open", "_is_unhealthy", "_now", "_overflow", "_published", "_sums",
        "_whole", "timeout",
    )  # fmt: skip

    def __init__(
        self,
        published: Published,
        request: RequestHead,
        action: Forward,
        clusters: tuple[LiveCluster, ...],
        breaker: Breaker | None,
    ) -> None:
        self._published = published
        self._clusters = clusters
        self._sums, self._whole = action.sums, action.sums[-1]
        self._breaker = breaker
        self._now, self._draw = published.clock.monotonic, published.chance.random
        self.timeout = first_timeout(action)
        self._is_open = Refused(open_reply(request), "UO")
        self._overflow = Refused(overflow_reply(request), "UO")
        self._is_unhealthy = Refused(unhealthy_reply(request), "UH")

    def enter(self) -> Started | Refused:
        """Count a first attempt in; to be ended by :meth:`leave`, :meth:`give_up` or as an exchange."""
        breaker, permit, number = self._breaker, 0, 0
        now = self._now()
        if len(self._clusters) > 1:
            number = bisect_right(self._sums, self._draw() * self._whole)
        if breaker is not None:
            entered = breaker.enter(now)
            if entered is None:
                return self._is_open
            permit = entered
        live = self._clusters[number]
        state, events = live.state, None
        with state.lock:
            if state.next_sweep is not None and now >= state.next_sweep:
                events = sweep_locked(live, now)
            host = live.balancer.pick()
            if host is not None and state.active < live.max_requests:
                state.active += 1
                host.active += 1
                started = live, host, number, now, permit
            else:
                started = None
        for event in events or ():
            self._published.notify(event)
        if started is not None:
            return started
        if breaker is not None:
            breaker.record(permit, now, failed=True, seconds=0.0)
        return self._is_unhealthy if host is None else self._overflow

    def leave(self, started: Started) -> bool:
        """Count a success out; False if it changes more than that, and has to go on as an exchange."""
        live, host, _, began, permit = started
        if host.consecutive_5xx or host.consecutive_gateway or host.consecutive_local:
            return False
        state = live.state
        with state.lock:
            state.active -= 1
            host.active -= 1
        if self._breaker is not None:
            now = self._now()
            self._breaker.record(permit, now, failed=False, seconds=now - began)
        return True

    def give_up(self, started: Started) -> None:
        """Nobody knows how it would have ended: every counter back."""
        live, host = started[0], started[1]
        with live.state.lock:
            live.state.active -= 1
            host.active -= 1
        if self._breaker is not None:
            self._breaker.give_up(started[4])

    def __repr__(self) -> str:
        return f"<ShortWay {len(self._clusters)} destinations timeout={self.timeout}>"


def find_short_way(
    published: Published,
    request: RequestHead,
    action: Forward | None,
    destinations: Destinations,
    caller: Caller | None,
) -> ShortWay | None:
    """The short way of calls that are routed so; None if they have to take the long one."""
    if action is None or action.fault is not None or (action.retry is not None and 200 in action.retry.status_codes):
        return None
    if caller is not None and (caller.hedges is not None or caller.policy.keeps_deadline):
        return None
    clusters = tuple(live for _, live in destinations if live is not None and _is_plain(live))
    if len(clusters) < len(destinations):
        return None
    return ShortWay(published, request, action, clusters, caller.breaker if caller is not None else None)


def _is_plain(live: LiveCluster) -> bool:
    """Whether an attempt there is only picked and counted."""
    return not (live.is_original or live.has_rare_limits or live.judges_success)


def first_timeout(action: Forward) -> float | None:
    """What a first attempt may take."""
    per_try = action.retry.per_try_timeout if action.retry is not None else None
    if per_try is None or action.timeout is None:
        return action.timeout if per_try is None else per_try
    return min(per_try, action.timeout)
