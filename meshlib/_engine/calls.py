"""The exchange of a function: the route, limits, endpoints, retries and breakers of a request, without its bytes.

Rules:

* A function has no headers and no path of its own: its route is that of ``/`` at its
  host, found once for each publish. Only weights are drawn for each call.
* What changes a message has no meaning for it: header operations, rewrites, mirrors,
  CORS and session cookies are left out. Faults, timeouts, retries, limits, outlier
  detection and the ClientPolicy of its host hold as for requests.
* A subset in the call's own words replaces that of the route.
* Most calls need no exchange of their own: see :mod:`meshlib._engine.short_way`.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace as replace_policy
from typing import Protocol

from msgspec.structs import replace

from meshlib._engine.callers import Caller, has_failed
from meshlib._engine.commands import LocalReply, Steps
from meshlib._engine.exchange import Exchange
from meshlib._engine.limits import retry_limit
from meshlib._engine.local_replies import configured_reply
from meshlib._engine.published import Published
from meshlib._engine.retries import backoff_seconds, retry_reason
from meshlib._engine.short_way import Destinations, ShortWay, Started, find_short_way, first_timeout
from meshlib._engine.state import EndpointState, LiveCluster
from meshlib._http import Headers, Outcome, RequestHead, Response
from meshlib._random import Chance
from meshlib._snapshot.routes import Forward, RetryPolicy, Route, WeightedDestination

__all__ = ["CallExchange", "Plan", "RetryRules"]

_HEDGE = RetryPolicy(attempts=0, conditions=frozenset())
_ANY = RetryPolicy(attempts=2, conditions=frozenset())


class RetryRules(Protocol):
    """Another mind than the route's about retries, for one call. None of an answer: as the route says."""

    def reason(self, outcome: Outcome) -> str | None:
        """Why the attempt is to be followed by another; empty: it is not."""
        ...

    def is_used_up(self, attempts: int) -> bool | None:
        """Whether ``attempts`` were enough."""
        ...

    def wait(self, attempts: int) -> float | None:
        """Seconds before the next attempt."""
        ...


class Plan:
    """Where the calls of a function go under one publish: found once, looked up at each call."""

    __slots__ = ("action", "caller", "destinations", "last_good", "published", "request", "route", "short")

    def __init__(
        self, published: Published, request: RequestHead, *, subset: str, own_retries: bool, may_be_short: bool
    ) -> None:
        self.published = published
        self.request = request
        host = published.find_host(request)
        self.route: Route | None = host.match(request) if host is not None else None
        self.action: Forward | None = None
        self.destinations: Destinations = ()
        self.caller = _bare(published.callers.get(host.name)) if host is not None else None
        self.last_good = self.caller.policy.last_good if self.caller is not None else None
        action = self.route.action if self.route is not None else None
        if isinstance(action, Forward):
            retry = action.retry or _ANY if own_retries else action.retry
            self.action = replace(action, mirrors=(), cors=None, rewrite=None, retry=retry)
            targets = [_subset(one, subset) if subset else one for one in action.destinations]
            self.destinations = tuple((one, published.clusters.get(one.cluster)) for one in targets)
        self.short: ShortWay | None = None
        if may_be_short:
            self.short = find_short_way(published, request, self.action, self.destinations, self.caller)

    def __repr__(self) -> str:
        return f"<Plan {self.route.name if self.route is not None else 'no route'}>"


def _bare(caller: Caller | None) -> Caller | None:
    """The policy without its fallback, which is a response: a function's own is an argument, or a result of its own."""
    if caller is None or (caller.policy.fallback is None and caller.good is None):
        return caller
    return Caller(replace_policy(caller.policy, fallback=None), caller.breaker, caller.hedges)


def _subset(destination: WeightedDestination, subset: str) -> WeightedDestination:
    name = f"outbound|{destination.port}|{subset}|{destination.host}"
    return replace(destination, cluster=name, subset=subset)


class CallExchange(Exchange):
    """One call of a function and what became of it."""

    def __init__(self, plan: Plan, rules: RetryRules | None = None) -> None:
        super().__init__(plan.published, plan.request, Headers(), _always)
        self.plan = plan
        self.rules = rules
        self.takes_retry = False

    def hedge(self, other_than: EndpointState | None) -> None:
        """Be the second attempt of a call: once, counted among the retries, at another endpoint if there is one."""
        self.can_replay = _never
        self.takes_retry = True
        if other_than is not None:
            self._tried = (other_than,)

    def once(self) -> None:
        """Never follow an attempt by another."""
        self.can_replay = _never

    @property
    def hedges(self) -> None:
        """A function is called a second time as another exchange: it may be retried within its own."""

    def _identify(self) -> None:
        """A function has no headers to carry an id."""

    def _route(self) -> LocalReply | None:
        plan = self.plan
        route = self.route = plan.route
        if route is None:
            return self.refuse(404, "", "route_not_found", "NR")
        self.caller = plan.caller
        action = plan.action
        if action is None:
            assert not isinstance(route.action, Forward)
            return configured_reply(route.action, self.request)
        self.action = action
        number = 0
        if len(plan.destinations) > 1:
            number = bisect_right(action.sums, plan.published.chance.random() * action.sums[-1])
        self._destination, self.live = plan.destinations[number]
        return None

    def go_on(self, started: Started, outcome: Outcome) -> Steps:
        """Go on after a first attempt that took the short way and came back with ``outcome``."""
        plan, (live, host, number, began, permit) = self.plan, started
        assert plan.action is not None
        self.route, self.action, self.caller, self.live, self.endpoint = (
            plan.route, plan.action, plan.caller, live, host
        )  # fmt: skip
        self._destination = plan.destinations[number][0]
        self.started = self.attempt_started = began
        self.attempts, self._is_counted = 1, True
        timeout, breaker = plan.action.timeout, plan.caller.breaker if plan.caller is not None else None
        if timeout is not None:
            self._cut_by_route = timeout == first_timeout(plan.action)
            self._deadline = began + timeout
        try:
            reply = self._end_attempt(outcome)
            if reply is None:
                reply = yield from self.back_off(outcome)
            if reply is None:
                reply = yield from self._forward()
        except BaseException:
            if breaker is not None:
                breaker.give_up(permit)
            self.abandon()
            raise
        if breaker is not None:
            now = plan.published.clock.monotonic()
            breaker.record(permit, now, failed=has_failed(reply), seconds=now - began)
        return self._replied(reply)

    def _mutate(self) -> LocalReply | None:
        if self.live is None:
            return self.refuse(503, "", "cluster_not_found", "NC")
        return self._take_retry(self.live) if self.takes_retry else None

    def _take_retry(self, live: LiveCluster) -> LocalReply | None:
        if self.action.retry is None:
            self.action = replace(self.action, retry=_HEDGE)
        with live.state.lock:
            if live.state.retries < retry_limit(live):
                live.state.retries += 1
                self._is_counted_retry = True
                return None
        return self._overflow()

    # -- retries -------------------------------------------------------------------------------------

    def _is_plain(self, live: LiveCluster, response: Response) -> bool:
        return self.rules is None and super()._is_plain(live, response)

    def _retry_why(self, retry: RetryPolicy, outcome: Outcome) -> str | None:
        reason = self.rules.reason(outcome) if self.rules is not None else None
        return retry_reason(retry, outcome) if reason is None else reason or None

    def _is_used_up(self, retry: RetryPolicy) -> bool:
        used = self.rules.is_used_up(self.attempts) if self.rules is not None else None
        return super()._is_used_up(retry) if used is None else used

    def _pause(self, retry: RetryPolicy, chance: Chance) -> float:
        seconds = self.rules.wait(self.attempts) if self.rules is not None else None
        return backoff_seconds(retry, self.attempts, chance) if seconds is None else seconds


def _always() -> bool:
    return True


def _never() -> bool:
    return False
