"""One application request, from its head to the reply: route, fault, mutate, limit, pick, send, record, retry.

Sans-IO: :meth:`Exchange.steps` is a generator. It yields what a driver must do
(:class:`Send`, :class:`Backoff`), takes what came back and returns the reply. A driver
that gives up closes the generator; every counter is then right again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Generator
from typing import Final, TypeAlias

from meshlib._engine.commands import Backoff, Command, LocalReply, Reply, Send, Steps
from meshlib._engine.faults import abort_reply, draw_delay
from meshlib._engine.limits import overflow_reply, retry_limit
from meshlib._engine.local_replies import configured_reply, local_reply, reset_reply, sorted_flags
from meshlib._engine.mutations import (
    apply_levels,
    cors_allows,
    cors_headers,
    is_preflight,
    preflight_headers,
    rewrite_path,
)
from meshlib._engine.outliers import matters, record_locked, sweep_locked
from meshlib._engine.published import Published
from meshlib._engine.reports import attempt_finished, exchange_finished
from meshlib._engine.request_headers import set_attempt_headers, set_exchange_headers
from meshlib._engine.retries import backoff_seconds, retry_reason
from meshlib._engine.state import EndpointState, LiveCluster
from meshlib._http import Failure, FailureKind, Headers, Outcome, RequestHead, Response
from meshlib._snapshot.routes import Cors, Fault, Forward, HeaderOps, Route, WeightedDestination
from meshlib.events import AttemptFinished, ExchangeFinished, FaultInjected, RetryScheduled

__all__ = ["Exchange"]

_NEVER: Final = float("inf")
_NOTHING: Final = Forward(destinations=(), sums=())
_NOWHERE: Final = WeightedDestination(cluster="", host="", port=0)
_PICKS: Final = 5  # how often a retry looks for a host that was not tried yet (host_selection_retry_max_attempts)
_Waits: TypeAlias = Generator[Command, Outcome | None, LocalReply | None]


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
        "_cors_fields",
        "_cut_by_route",
        "_deadline",
        "_destination",
        "_flags",
        "_held",
        "_path",
        "_tried",
        "attempt_started",
        "attempts",
        "can_replay",
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
        self._cors_fields: Headers | None = None
        self._destination = _NOWHERE
        self._path: str | None = None
        self._authority: str | None = None
        self._deadline = _NEVER
        self._cut_by_route = False
        self._tried: list[EndpointState] = []
        self._flags: set[str] | None = None
        self._held = False

    @property
    def flags(self) -> tuple[str, ...]:
        """Envoy's response flags, in its order; empty if all went well."""
        return sorted_flags(self._flags) if self._flags else ()

    def steps(self) -> Steps:
        """Run the exchange; returns the upstream's response or the mesh's own reply."""
        reply: Reply | None
        try:
            reply = self._route()
            if reply is None and self._action.fault is not None:
                reply = yield from self._inject(self._action.fault)
            if reply is None and self._action.cors is not None:
                reply = self._share(self._action.cors)
            if reply is None:
                reply = self._mutate()
            if reply is None:
                reply = yield from self._forward()
        except BaseException:
            self._flag("DC")
            self.details = "downstream_remote_disconnect"
            if ExchangeFinished in self.published.observers:
                self.published.notify(exchange_finished(self, 0))
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
        if self._cors_fields is not None:
            headers.update(self._cors_fields)

    @property
    def changes_response(self) -> bool:
        """Whether :meth:`mutate_response` would do anything."""
        return bool(self.response_levels) or self._cors_fields is not None

    def finish(self) -> None:
        """The response's body is over, or nobody wants it any more. Safe to call again."""
        if self._held:
            self._held = False
            self._leave()

    # -- route, fault, mutate --------------------------------------------------------------------

    def _route(self) -> LocalReply | None:
        """Find the route and draw its destination; a reply unless it forwards."""
        request = self.request
        host = self.published.find_host(request)
        route = self.route = host.match(request) if host is not None else None
        if route is None:
            return self._refuse(404, "", "route_not_found", "NR")
        action = route.action
        if not isinstance(action, Forward):
            self.response_levels = action.response_levels
            return configured_reply(action, request)
        self._action = action
        destination = self._destination = action.destinations[0]
        if len(action.destinations) > 1:
            draw = self.published.chance.random() * action.sums[-1]
            destination = self._destination = action.destinations[bisect_right(action.sums, draw)]
        self.response_levels = destination.response_levels
        self.live = self.published.clusters.get(destination.cluster)
        return None

    def _inject(self, fault: Fault) -> _Waits:
        assert self.route is not None
        published, host, name = self.published, self.request.authority, self.route.name
        seconds = draw_delay(fault, published.chance)
        if seconds:
            self._flag("DI")
            if FaultInjected in published.observers:
                published.notify(FaultInjected(host=host, route=name, kind="delay", seconds=seconds))
            yield Backoff(seconds)
        reply = abort_reply(fault, self.request, published.chance)
        if reply is not None:
            self._flag("FI")
            if FaultInjected in published.observers:
                published.notify(FaultInjected(host=host, route=name, kind="abort", status=reply.status))
        return reply

    def _share(self, cors: Cors) -> LocalReply | None:
        """Answer a CORS preflight; remember what the response to an allowed request gets."""
        request = self.request
        if is_preflight(request):
            headers = preflight_headers(cors, request)
            return None if headers is None else LocalReply(200, b"", tuple(headers.items()), "cors", refusal=False)
        if cors_allows(cors, request):
            self._cors_fields = cors_headers(cors, request)
        return None

    def _mutate(self) -> LocalReply | None:
        """Change the request for its destination, in place; a reply if there is no such cluster."""
        action, destination, request, headers = self._action, self._destination, self.request, self.headers
        if self.live is None:
            return self._refuse(503, "", "cluster_not_found", "NC")
        set_exchange_headers(request, headers, self.published.request_ids)
        if destination.request_levels:
            apply_levels(destination.request_levels, headers, request, now=self.published.clock.time())
        self._authority = destination.host_rewrite
        if action.rewrite is not None:
            path = rewrite_path(action.rewrite, request.path)
            if path != request.path:
                headers["x-envoy-original-path"] = request.path
                self._path = path
        return None

    # -- limit, pick, send, record, retry ----------------------------------------------------------

    def _forward(self) -> Steps:
        action, live = self._action, self.live
        assert live is not None
        if action.timeout is not None:
            self._deadline = self.published.clock.monotonic() + action.timeout
        is_retry = False
        while True:
            refused = self._pick(live, is_retry=is_retry)
            if refused is not None:
                return refused
            try:
                outcome = yield self._send(live)
            except BaseException:
                self._leave()
                raise
            finally:
                if is_retry:
                    self._free_retry(live)
            assert outcome is not None
            reason = self._record(live, outcome)
            if reason is None or not self._may_retry(live):
                return self._conclude(outcome)
            is_retry = True
            expired = yield from self._back_off(live, outcome, reason)
            if expired is not None:
                return expired

    def _pick(self, live: LiveCluster, *, is_retry: bool) -> LocalReply | None:
        """Take an endpoint and count the request in; a reply if there is none or no room."""
        state, events = live.state, None
        with state.lock:
            if state.active >= live.cluster.policy.connection_pool.max_requests:
                overflows = True
            else:
                overflows = False
                if state.next_sweep is not None and (now := self.published.clock.monotonic()) >= state.next_sweep:
                    events = sweep_locked(live, now)
                host = self.endpoint = self._pick_again_locked(live) if is_retry else live.balancer.pick()
                if host is not None or live.is_original:
                    state.active += 1
                    if host is not None:
                        host.active += 1
        for event in events or ():
            self.published.notify(event)
        if not overflows and (self.endpoint is not None or live.is_original):
            return None
        if is_retry:
            self._free_retry(live)
        if overflows:
            self._flag("UO")
            return overflow_reply(self.request)
        return self._refuse(503, "no healthy upstream", "no_healthy_upstream", "UH")

    def _pick_again_locked(self, live: LiveCluster) -> EndpointState | None:
        """An endpoint for a retry: not one that was tried, if five more picks find another."""
        host = live.balancer.pick()
        if self._action.retry is not None and self._action.retry.avoid_previous_hosts:
            for _ in range(_PICKS):
                if host not in self._tried:
                    break
                host = live.balancer.pick()
        return host

    def _send(self, live: LiveCluster) -> Send:
        action, published = self._action, self.published
        self.attempts = attempt = self.attempts + 1
        timeout = action.retry.per_try_timeout if action.retry is not None else None
        self._cut_by_route = False
        if action.timeout is not None:
            # The first attempt has all of it: a round number, which the driver's timers like.
            left = action.timeout if attempt == 1 else max(self._deadline - published.clock.monotonic(), 0.0)
            if timeout is None or timeout >= action.timeout or left < timeout:
                timeout, self._cut_by_route = left, True
        set_attempt_headers(self.headers, attempt, timeout)
        if AttemptFinished in published.observers:
            self.attempt_started = published.clock.monotonic()
        endpoint = self.endpoint.endpoint if self.endpoint is not None else None
        return Send(live.cluster, endpoint, attempt, timeout, self._path, self._authority)

    def _record(self, live: LiveCluster, outcome: Outcome) -> str | None:
        """Tell outlier detection; the retryOn condition that the outcome meets, if any."""
        published, host, retry = self.published, self.endpoint, self._action.retry
        detection = live.cluster.policy.outlier
        if detection is not None and host is not None and matters(detection, host, outcome):
            with live.state.lock:
                event = record_locked(live, host, outcome, published.clock.monotonic())
            if event is not None:
                published.notify(event)
        if AttemptFinished in published.observers:
            published.notify(attempt_finished(self, outcome))
        if type(outcome) is Failure and outcome.kind is FailureKind.TIMEOUT:
            outcome.detail = "response_timeout" if self._cut_by_route else "upstream_per_try_timeout"
            if self._cut_by_route:
                return None
        return None if retry is None else retry_reason(retry, outcome)

    def _may_retry(self, live: LiveCluster) -> bool:
        """Whether one more attempt is allowed; takes its place among the concurrent retries if so."""
        retry = self._action.retry
        assert retry is not None
        if self.attempts > retry.attempts:
            if retry.attempts:
                self._flag("URX")
            return False
        if not self.can_replay():
            return False
        state = live.state
        with state.lock:
            allowed = state.retries < retry_limit(live.cluster, state.active)
            state.retries += allowed
        if not allowed:
            self._flag("UO")
        return allowed

    def _free_retry(self, live: LiveCluster) -> None:
        with live.state.lock:
            live.state.retries -= 1

    def _back_off(self, live: LiveCluster, outcome: Outcome, reason: str) -> _Waits:
        """Let go of what came back and wait; a reply if the route's timeout ends first."""
        retry = self._action.retry
        assert retry is not None
        self._leave()
        if self.endpoint is not None:
            self._tried.append(self.endpoint)
        published = self.published
        seconds = backoff_seconds(retry, self.attempts, published.chance)
        left = max(self._deadline - published.clock.monotonic(), 0.0)
        if RetryScheduled in published.observers:
            name, attempt = live.cluster.name, self.attempts + 1
            published.notify(RetryScheduled(cluster=name, attempt=attempt, backoff=seconds, reason=reason))
        waited = False
        try:
            yield Backoff(min(seconds, left), outcome if type(outcome) is Response else None)
            waited = seconds < left
        finally:
            if not waited:
                self._free_retry(live)
        if waited:
            return None
        self._flag("UT")
        return local_reply(self.request, 504, "upstream request timeout", "response_timeout")

    def _conclude(self, outcome: Outcome) -> Reply:
        if type(outcome) is Response:
            self._held = True
            return outcome
        assert isinstance(outcome, Failure)
        self._leave()
        reply, flag = reset_reply(self.request, outcome, retried=self.attempts > 1)
        self._flag(flag)
        return reply

    def _leave(self) -> None:
        """Count the request out of its endpoint and cluster."""
        assert self.live is not None
        state, host = self.live.state, self.endpoint
        with state.lock:
            state.active -= 1
            if host is not None:
                host.active -= 1

    # -- replies and reports -------------------------------------------------------------------------

    def _refuse(self, status: int, body: str, details: str, flag: str) -> LocalReply:
        self._flag(flag)
        return local_reply(self.request, status, body, details)

    def _flag(self, flag: str) -> None:
        if self._flags is None:
            self._flags = set()
        self._flags.add(flag)
