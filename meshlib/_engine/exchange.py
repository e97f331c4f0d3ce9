"""One application request, from its head to the reply: route, fault, mutate, limit, pick, send, record, retry.

Sans-IO: :meth:`Exchange.steps` is a generator. It yields what a driver must do
(:class:`Send`, :class:`Backoff`), takes what came back and returns the reply. A driver
that gives up closes the generator; every counter is then right again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import Final

from meshlib._engine.commands import Backoff, LocalReply, Reply, Send, Steps
from meshlib._engine.filters import Waits, run_filters
from meshlib._engine.limits import overflow_reply, retry_limit
from meshlib._engine.local_replies import configured_reply, local_reply, reset_reply, sorted_flags
from meshlib._engine.mirrors import draw_copies
from meshlib._engine.mutations import apply_levels, rewrite_path
from meshlib._engine.outliers import record_locked, sweep_locked
from meshlib._engine.published import Published
from meshlib._engine.reports import attempt_finished, exchange_finished
from meshlib._engine.request_hash import RequestHash, hash_request
from meshlib._engine.request_headers import set_attempt_headers, set_exchange_headers
from meshlib._engine.retries import backoff_seconds, retry_reason
from meshlib._engine.state import EndpointState, LiveCluster
from meshlib._http import Failure, FailureKind, Headers, Outcome, RequestHead, Response
from meshlib._snapshot.routes import Forward, HeaderOps, RetryPolicy, Route, WeightedDestination
from meshlib.events import AttemptFinished, ExchangeFinished, RetryScheduled

__all__ = ["Exchange"]

_NEVER: Final = float("inf")
_NOTHING: Final = Forward(destinations=(), sums=())
_NOWHERE: Final = WeightedDestination(cluster="", host="", port=0)
_PICKS: Final = 5  # how often a retry looks for a host that was not tried yet (host_selection_retry_max_attempts)


class Exchange:
    """One application request and what became of it.

    ``headers`` are the request's own, mutable: route and mesh change them in place,
    once. ``can_replay`` tells whether the body can be sent again. After the reply,
    :meth:`finish` must be called when its body is over or dropped.

    ``route``, ``live`` (the cluster), ``endpoint``, ``attempts``, ``flags`` and
    ``details`` tell afterwards what happened; ``response_levels`` are the header
    operations that the reply still has to get.
    """

    __slots__ = (
        "_action",
        "_authority",
        "_cut_by_route",
        "_deadline",
        "_destination",
        "_flags",
        "_hash",
        "_is_counted",
        "_is_counted_retry",
        "_path",
        "_retry_reason",
        "_tried",
        "attempt_started",
        "attempts",
        "can_replay",
        "cors_fields",
        "details",
        "endpoint",
        "headers",
        "live",
        "published",
        "request",
        "response_levels",
        "route",
        "started",
    )

    def __init__(
        self, published: Published, request: RequestHead, headers: Headers, can_replay: Callable[[], bool]
    ) -> None:
        self.published = published
        self.request = request
        self.headers = headers
        self.can_replay = can_replay
        self.route: Route | None = None
        self.live: LiveCluster | None = None
        self.endpoint: EndpointState | None = None
        self.response_levels: tuple[HeaderOps, ...] = ()
        self.attempts = 0
        self.details = "via_upstream"
        self.started = self.attempt_started = published.clock.monotonic()
        self._action = _NOTHING
        self._destination = _NOWHERE
        self._path: str | None = None
        self._authority: str | None = None
        self.cors_fields: Headers | None = None
        self._hash: RequestHash | None = None
        self._deadline = 0.0
        self._cut_by_route = False
        self._tried: tuple[EndpointState, ...] = ()
        self._retry_reason = ""
        self._flags: set[str] | None = None
        self._is_counted = False  # among the active requests of its endpoint and cluster
        self._is_counted_retry = False  # among the retries of its cluster

    @property
    def flags(self) -> tuple[str, ...]:
        """Envoy's response flags, in its order; empty if all went well."""
        return sorted_flags(self._flags) if self._flags else ()

    @property
    def changes_response(self) -> bool:
        """Whether :meth:`mutate_response` would do anything."""
        return bool(self.response_levels) or self.cors_fields is not None or bool(self.cookies)

    @property
    def cookies(self) -> tuple[str, ...]:
        """Set-Cookie fields that the upstream's response gets, so that a session sticks to its endpoint."""
        return self._hash.cookies if self._hash is not None and self.details == "via_upstream" else ()

    def steps(self) -> Steps:
        """Run the exchange; returns the upstream's response or the mesh's own reply."""
        reply: Reply | None
        try:
            reply = self._route()
            if reply is None and (self._action.fault is not None or self._action.cors is not None):
                reply = yield from run_filters(self, self._action)
            if reply is None:
                reply = self._mutate()
            if reply is None:
                reply = yield from self._forward()
        except BaseException:
            self._abandon()
            raise
        if type(reply) is LocalReply:
            self.details = reply.details
            if self.changes_response:
                reply.mutate(self.mutate_response)
        if ExchangeFinished in self.published.observers:
            self.published.notify(exchange_finished(self, reply.status))
        return reply

    def mutate_response(self, headers: Headers) -> None:
        """Apply the route's operations and its CORS policy to the header fields of a response, in place."""
        apply_levels(self.response_levels, headers, self.request, now=self.published.clock.time())
        if self.cors_fields is not None:
            headers.update(self.cors_fields)
        for cookie in self.cookies:
            headers.add("set-cookie", cookie)

    def finish(self) -> None:
        """The response's body is over, or nobody wants it any more. Safe to call again."""
        if self._is_counted:
            self._count_out()

    # -- route, fault, mutate --------------------------------------------------------------------

    def _route(self) -> LocalReply | None:
        """Find the route and draw its destination; a reply unless it forwards."""
        published, request = self.published, self.request
        host = published.find_host(request)
        route = self.route = host.match(request) if host is not None else None
        if route is None:
            return self._refuse(404, "", "route_not_found", "NR")
        action = route.action
        if not isinstance(action, Forward):
            self.response_levels = action.response_levels
            return configured_reply(action, request)
        self._action = action
        destination = action.destinations[0]
        if len(action.destinations) > 1:
            draw = published.chance.random() * action.sums[-1]
            destination = action.destinations[bisect_right(action.sums, draw)]
        self._destination = destination
        self.response_levels = destination.response_levels
        self.live = published.clusters.get(destination.cluster)
        return None

    def _mutate(self) -> LocalReply | None:
        """Change the request for its destination, in place; a reply if there is no such cluster."""
        action, destination, request, headers = self._action, self._destination, self.request, self.headers
        if self.live is None:
            return self._refuse(503, "", "cluster_not_found", "NC")
        set_exchange_headers(request, headers, self.published.request_ids)
        if destination.request_levels:
            apply_levels(destination.request_levels, headers, request, now=self.published.clock.time())
        if self.live.table is not None:
            self._hash = hash_request(action.hash_keys, request, self.published.chance)
        self._authority = destination.host_rewrite
        if action.rewrite is not None:
            path = rewrite_path(action.rewrite, request.path)
            if path != request.path:
                headers["x-envoy-original-path"] = request.path
                self._path = path
        return None

    # -- limit, pick, send, record, retry ----------------------------------------------------------

    def _forward(self) -> Steps:
        """Attempt after attempt, until one is good or no more are allowed."""
        if self._action.mirrors:
            yield from draw_copies(self._action.mirrors, self.published, self.request, self._path)
        reply: Reply | None = None
        while reply is None:
            send = self._start_attempt()
            if isinstance(send, LocalReply):
                return send
            outcome = yield send
            assert outcome is not None
            reply = self._end_attempt(outcome)
            if reply is None:
                reply = yield from self._back_off(outcome)
        return reply

    def _start_attempt(self) -> Send | LocalReply:
        """Take an endpoint, count the request in and send it; a reply if there is none or no room."""
        live, action, clock = self.live, self._action, self.published.clock
        assert live is not None
        state, events, now = live.state, None, clock.monotonic()
        with state.lock:
            overflows = state.active >= live.max_requests
            if state.next_sweep is not None and now >= state.next_sweep:
                events = sweep_locked(live, now)
            host = self.endpoint = self._pick_locked(live)
            if not overflows and (host is not None or live.is_original):
                self._is_counted = True
                state.active += 1
                if host is not None:
                    host.active += 1
        for event in events or ():
            self.published.notify(event)
        if not self._is_counted:
            return self._no_room(overflows=overflows)
        self.attempts = attempt = self.attempts + 1
        self.attempt_started = now
        timeout = action.retry.per_try_timeout if action.retry is not None else None
        if action.timeout is not None:
            timeout = self._bound(action.timeout, timeout, now)
        set_attempt_headers(self.headers, attempt, timeout)
        endpoint = host.endpoint if host is not None else None
        return Send(live.cluster, endpoint, attempt, timeout, self._path, self._authority)

    def _bound(self, timeout: float, per_try: float | None, now: float) -> float:
        """What this attempt may take when the route has a timeout too."""
        left = timeout  # the first attempt has all of it: a round number, which the driver's timers like
        if self.attempts == 1:
            self._deadline = now + timeout
        else:
            left = max(self._deadline - now, 0.0)
        self._cut_by_route = per_try is None or per_try >= timeout or left < per_try
        return left if self._cut_by_route or per_try is None else per_try

    def _pick_locked(self, live: LiveCluster) -> EndpointState | None:
        """An endpoint; for a retry one that was not tried, if five more picks find another."""
        retry, table = self._action.retry, live.table
        value = self._hash.value if self._hash is not None else None
        host = live.balancer.pick() if table is None or value is None else table.pick_by(value)
        if self._tried and retry is not None and retry.avoid_previous_hosts:
            for again in range(1, _PICKS + 1):
                if host not in self._tried:
                    break
                host = live.balancer.pick() if table is None or value is None else table.pick_by(value, again)
        return host

    def _end_attempt(self, outcome: Outcome) -> Reply | None:
        """Record what came back; the reply, or None if it is to be retried."""
        if self._is_counted_retry:
            self._count_out_retry()
        live, host, retry, published = self.live, self.endpoint, self._action.retry, self.published
        assert live is not None
        if AttemptFinished in published.observers:
            published.notify(attempt_finished(self, outcome))
        is_over = False
        if isinstance(outcome, Response):
            if outcome.status < 400 and self._is_plain(live, outcome):
                return outcome
        elif outcome.kind is FailureKind.TIMEOUT:
            is_over = self._cut_by_route
            outcome.detail = "response_timeout" if is_over else "upstream_per_try_timeout"
        if host is not None:
            self._judge(live, host, outcome)
        if retry is not None and not is_over:
            reason = retry_reason(retry, outcome)
            if reason is not None and self._may_retry(live, retry):
                self._retry_reason = reason
                return None
        return outcome if isinstance(outcome, Response) else self._fail(outcome)

    def _is_plain(self, live: LiveCluster, response: Response) -> bool:
        """Whether a success changes nothing anywhere: it ends no run of errors, and no rule looks at it."""
        host, retry, headers = self.endpoint, self._action.retry, response.headers
        return not (
            (host is not None and (host.consecutive_5xx or host.consecutive_gateway or host.consecutive_local))
            or live.judges_success
            or "grpc-status" in headers
            or "x-envoy-ratelimited" in headers
            or (retry is not None and response.status in retry.status_codes)
        )

    def _judge(self, live: LiveCluster, host: EndpointState, outcome: Outcome) -> None:
        """Tell outlier detection."""
        if live.cluster.policy.outlier is not None:
            with live.state.lock:
                event = record_locked(live, host, outcome, self.published.clock.monotonic())
            if event is not None:
                self.published.notify(event)

    def _may_retry(self, live: LiveCluster, retry: RetryPolicy) -> bool:
        """Whether one more attempt is allowed; takes its place among the concurrent retries if so."""
        if self.attempts > retry.attempts:
            if retry.attempts:
                self.flag("URX")
            return False
        if not self.can_replay():
            return False
        state = live.state
        with state.lock:
            if state.retries >= retry_limit(live.cluster, state.active):
                self.flag("UO")
                return False
            state.retries += 1
            self._is_counted_retry = True
        return True

    def _back_off(self, outcome: Outcome) -> Waits:
        """Let go of what came back and wait; a reply if the route's timeout ends first."""
        action, published, live = self._action, self.published, self.live
        assert action.retry is not None
        assert live is not None
        self._count_out()
        if self.endpoint is not None:
            self._tried += (self.endpoint,)
        seconds = backoff_seconds(action.retry, self.attempts, published.chance)
        if RetryScheduled in published.observers:
            name, attempt = live.cluster.name, self.attempts + 1
            scheduled = RetryScheduled(cluster=name, attempt=attempt, backoff=seconds, reason=self._retry_reason)
            published.notify(scheduled)
        discard = outcome if type(outcome) is Response else None
        left = _NEVER if action.timeout is None else max(self._deadline - published.clock.monotonic(), 0.0)
        yield Backoff(min(seconds, left), discard)
        if seconds < left:
            return None
        self._count_out_retry()
        self.flag("UT")
        return local_reply(self.request, 504, "upstream request timeout", "response_timeout")

    def _count_out(self) -> None:
        """The request is not on its way any more."""
        assert self.live is not None
        state, host = self.live.state, self.endpoint
        self._is_counted = False
        with state.lock:
            state.active -= 1
            if host is not None:
                host.active -= 1

    def _count_out_retry(self) -> None:
        assert self.live is not None
        self._is_counted_retry = False
        with self.live.state.lock:
            self.live.state.retries -= 1

    def _abandon(self) -> None:
        """The driver gave up: the caller went away, or raised."""
        self.finish()
        if self._is_counted_retry:
            self._count_out_retry()
        self.flag("DC")
        self.details = "downstream_remote_disconnect"
        if ExchangeFinished in self.published.observers:
            self.published.notify(exchange_finished(self, 0))

    # -- replies -------------------------------------------------------------------------------------

    def _fail(self, failure: Failure) -> LocalReply:
        self._count_out()
        reply, flag = reset_reply(self.request, failure, retried=self.attempts > 1)
        self.flag(flag)
        return reply

    def _no_room(self, *, overflows: bool) -> LocalReply:
        if not overflows:
            return self._refuse(503, "no healthy upstream", "no_healthy_upstream", "UH")
        if self._is_counted_retry:
            self._count_out_retry()
        self.flag("UO")
        return overflow_reply(self.request)

    def _refuse(self, status: int, body: str, details: str, flag: str) -> LocalReply:
        if self._is_counted_retry:
            self._count_out_retry()
        self.flag(flag)
        return local_reply(self.request, status, body, details)

    def flag(self, flag: str) -> None:
        """Set one of Envoy's response flags."""
        if self._flags is None:
            self._flags = set()
        self._flags.add(flag)
