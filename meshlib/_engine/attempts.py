"""The attempts of one exchange: limit, pick, send, record, retry.

Every counter that an attempt raises is lowered in this file, whichever way the attempt ends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from multidict import istr

from meshlib._engine.callers import Caller, may_be_replayed
from meshlib._engine.commands import Backoff, LocalReply, Reply, Send, Steps, Ticket, Wait
from meshlib._engine.filters import Waits
from meshlib._engine.limits import connect_locked, leave_locked, retry_limit, take_locked, wait_locked, withdraw
from meshlib._engine.local_replies import is_grpc, local_reply, overflow_reply, reset_reply, unhealthy_reply
from meshlib._engine.mirrors import draw_copies
from meshlib._engine.outliers import record_locked, sweep_locked
from meshlib._engine.picks import named_endpoint, pick_locked
from meshlib._engine.plans import NOTHING
from meshlib._engine.published import Published
from meshlib._engine.recording import Listener, Trace
from meshlib._engine.reports import attempt_finished
from meshlib._engine.request_hash import RequestHash
from meshlib._engine.request_headers import set_attempt_headers
from meshlib._engine.retries import backoff_seconds, retry_reason
from meshlib._engine.state import EndpointState, LiveCluster
from meshlib._http import Failure, FailureKind, Headers, Outcome, RequestHead, Response
from meshlib._random import Chance
from meshlib._snapshot.clusters import UNLIMITED
from meshlib._snapshot.routes import Forward, HeaderOps, RetryPolicy, Route, WeightedDestination
from meshlib.events import AttemptFinished, RetryScheduled

__all__ = ["GRPC_STATUS", "Attempts"]

_NEVER: Final = float("inf")
GRPC_STATUS: Final = istr("grpc-status")  # case folded once
_RATE_LIMITED: Final = istr("x-envoy-ratelimited")
_NOWHERE: Final = WeightedDestination(cluster="", host="", port=0)


class Attempts:
    """What an exchange knows of its route and destination, and the attempts it makes there."""

    deadline: float | None  # the caller's; set where ClientPolicies exist

    # What most exchanges leave as it is stands on the class: an exchange is made for every request.
    caller: Caller | None = None
    route: Route | None = None
    response_levels: tuple[HeaderOps, ...] = ()
    cors_fields: Headers | None = None
    live: LiveCluster | None = None
    endpoint: EndpointState | None = None
    attempts: int = 0
    details: str = "via_upstream"
    failure: str = ""  # what the transport said of the last attempt
    action: Forward = NOTHING
    attempt_started: float = 0.0
    recorder: Listener | None = None
    trace: Trace | None = None
    _destination: WeightedDestination = _NOWHERE
    _path: str | None = None
    _authority: str | None = None
    _hash: RequestHash | None = None
    _deadline: float = 0.0
    _cut_by_route: bool = False
    _ticket: Ticket | None = None  # its place in the queue for a connection
    _tried: tuple[EndpointState, ...] = ()
    _retry_reason: str = ""
    _flags: tuple[str, ...] = ()
    _is_bare: bool = False  # its head does not speak of a body
    is_usual: bool = False
    _is_counted: bool = False  # among the active requests of its endpoint and cluster
    _is_counted_retry: bool = False  # among the retries of its cluster

    def __init__(
        self, published: Published, request: RequestHead, headers: Headers, can_replay: Callable[[], bool]
    ) -> None:
        self.published = published
        self.request = request
        self.headers = headers
        self.can_replay = can_replay
        self.started = published.now()

    def connecting(self) -> bool:
        """A new connection is about to be made for the attempt; False if too many are pending.

        After True, :meth:`connected` must be called once.
        """
        live = self.live
        if live is None or live.max_pending >= UNLIMITED:
            return True
        with live.state.lock:
            # Who has waited in the queue was let in when it was pending already.
            return connect_locked(live, is_let_in=self._ticket is not None)

    def connected(self) -> None:
        """The connection is there, or will not come."""
        if self.live is not None and self.live.max_pending < UNLIMITED:
            with self.live.state.lock:
                self.live.state.pending -= 1

    def break_off(self) -> None:
        """The upstream broke off in the middle of its response's body: outlier detection sees a reset."""
        if self.live is not None and self.endpoint is not None:
            self._judge(self.live, self.endpoint, Failure(FailureKind.TERMINATION, sent=True))

    def drop(self) -> None:
        """The response will not be used: it does not count as on its way any more."""
        if self._is_counted:
            self._count_out()

    # -- limit, pick, send ---------------------------------------------------------------------------

    def _forward(self) -> Steps:
        """Attempt after attempt, until one is good or no more are allowed."""
        if self.action.mirrors:
            yield from draw_copies(
                self.action.mirrors, self.published, self.request, self.headers, self._path, self._authority
            )
        reply: Reply | None = None
        while reply is None:
            refusal = self._start_attempt()
            if refusal is None and self._ticket is not None:
                refusal = yield from self._wait_for_connection(self._ticket)
            if refusal is not None:
                return refusal
            outcome = yield self._send()
            assert outcome is not None
            reply = self._end_attempt(outcome)
            if reply is None:
                reply = yield from self.back_off(outcome)
        return reply

    def start_deadline(self) -> None:
        """The route's timeout begins."""
        if self.action.timeout is not None:
            self._deadline = self.published.clock.monotonic() + self.action.timeout

    def _start_attempt(self, now: float | None = None) -> LocalReply | None:
        """Take an endpoint and count the request in; a reply if there is none or no room."""
        if now is None:
            now = self.published.now()
        live, action, events = self.live, self.action, None
        assert live is not None
        state, retry = live.state, action.retry
        if action.timeout is not None and not self._deadline:
            self._deadline = now + action.timeout
        self.attempt_started = now
        with state.lock:
            if state.next_sweep is not None and now >= state.next_sweep:
                events = sweep_locked(live, now)
            if live.table is None and not self._tried:
                host = self.endpoint = live.balancer.pick()
            else:
                value = self._hash.value if self._hash is not None else None
                host = self.endpoint = pick_locked(live, value, retry, self._tried)
            if host is not None and state.active < live.max_requests and not live.has_rare_limits:
                has_room = self._is_counted = True
                state.active += 1
                host.active += 1
            else:
                has_room = (host is not None or live.is_original) and self._enter_locked(live, host)
        if events:
            for event in events:
                self.published.notify(event)
        if has_room:
            return None
        if host is None and not live.is_original:
            self.attempts += bool(self._tried)  # Envoy counts a retry that finds no endpoint
            return self._refuse(unhealthy_reply(self.request), "UH")
        return self._overflow()

    def _enter_locked(self, live: LiveCluster, host: EndpointState | None) -> bool:
        """Count the request in, or queue it for a connection; False if there is room for neither. The rarer cases."""
        state = live.state
        if state.active >= live.max_requests:
            return False
        if state.recent is not None:
            state.recent.add(self.attempt_started)
        if live.caps_connections and host is not None and not take_locked(live, host):
            self._ticket = wait_locked(live, host)
            return self._ticket is not None
        self._is_counted = True
        state.active += 1
        if host is not None:
            host.active += 1
        return True

    def _wait_for_connection(self, ticket: Ticket) -> Waits:
        """Pending; a reply if the route's timeout ends first or the turn comes when there is no room."""
        live, host = self.live, self.endpoint
        assert live is not None
        assert host is not None
        left = None if self.action.timeout is None else max(self._deadline - self.published.clock.monotonic(), 0.0)
        yield Wait(ticket, left)
        if not ticket.is_granted:
            self._withdraw()
            return self._time_out()
        with live.state.lock:
            has_room = live.state.active < live.max_requests
            if has_room:
                self._is_counted = True
                live.state.active += 1
                host.active += 1
        if has_room:
            return None
        self._withdraw()
        return self._overflow()

    def _send(self) -> Send:
        """What the driver sends for the attempt that was counted in."""
        live, action, host = self.live, self.action, self.endpoint
        assert live is not None
        self.attempts = attempt = self.attempts + 1
        timeout = action.retry.per_try_timeout if action.retry is not None else None
        if action.timeout is not None:
            timeout = self._bound(action.timeout, timeout)
        set_attempt_headers(self.headers, attempt, timeout)
        endpoint = host.endpoint if host is not None else named_endpoint(live.cluster, self.request)
        return Send(live.cluster, endpoint, attempt, timeout, self._path, self._authority)

    def _bound(self, timeout: float, per_try: float | None) -> float:
        """What this attempt may take when the route has a timeout too."""
        left = timeout  # the first attempt has all of it: a round number, which the driver's timers like
        if self.attempts > 1 or self.live is None or self.live.caps_connections or self.caller is not None:
            left = max(self._deadline - self.published.clock.monotonic(), 0.0)
        self._cut_by_route = per_try is None or per_try >= timeout or left < per_try
        return left if self._cut_by_route or per_try is None else per_try

    # -- record, retry -------------------------------------------------------------------------------

    def _end_attempt(self, outcome: Outcome) -> Reply | None:
        """Record what came back; the reply, or None if it is to be retried."""
        if self._is_counted_retry:
            self._count_out_retry()
        live, host, retry, observers = self.live, self.endpoint, self.action.retry, self.published.observers
        assert live is not None
        if self.trace is not None or AttemptFinished in observers:
            self._tell(outcome)
        is_over = False
        if isinstance(outcome, Response):
            if outcome.status < 400 and self._is_plain(live, outcome):
                return outcome
        elif outcome.kind is FailureKind.OVERFLOW:
            self._count_out()
            return self._overflow()
        elif outcome.kind is FailureKind.TIMEOUT:
            is_over = self._cut_by_route
            outcome.detail = "response_timeout" if is_over else "upstream_per_try_timeout"
        if host is not None:
            self._judge(live, host, outcome)
        if retry is not None and not is_over:
            reason = self._retry_why(retry, outcome)
            if reason is not None and self.may_retry(retry, outcome, reason):
                return None
        return outcome if isinstance(outcome, Response) else self._fail(outcome)

    def _tell(self, outcome: Outcome) -> None:
        """The attempt, to those who listen."""
        if AttemptFinished in self.published.observers:
            self.published.notify(attempt_finished(self, outcome))
        if self.trace is not None:
            self.trace.attempt(self, outcome)

    def _is_plain(self, live: LiveCluster, response: Response) -> bool:
        """Whether a success changes nothing anywhere: it ends no run of errors, and no rule looks at it."""
        host, retry, headers = self.endpoint, self.action.retry, response.headers
        return not (
            (host is not None and (host.consecutive_5xx or host.consecutive_gateway or host.consecutive_local))
            or live.judges_success
            or GRPC_STATUS in headers
            or _RATE_LIMITED in headers
            or (retry is not None and response.status in retry.status_codes)
        )

    def _judge(self, live: LiveCluster, host: EndpointState, outcome: Outcome) -> None:
        """Tell outlier detection."""
        if live.cluster.policy.outlier is not None:
            with live.state.lock:
                now = self.published.clock.monotonic()
                event = record_locked(live, host, outcome, now, is_grpc=is_grpc(self.request))
            if event is not None:
                self.published.notify(event)

    def may_retry(self, retry: RetryPolicy, outcome: Outcome, reason: str) -> bool:
        """Whether one more attempt is allowed; takes its place among the concurrent retries if so."""
        if self._is_used_up(retry):
            if retry.attempts:
                self.flag("URX")
            return False
        if not self.can_replay():
            return False
        if self.caller is not None and not may_be_replayed(self.caller, self.request, outcome):
            return False
        live = self.live
        assert live is not None
        state = live.state
        with state.lock:
            if state.retries >= retry_limit(live):
                self.flag("UO")
                return False
            state.retries += 1
            self._is_counted_retry = True
        self._retry_reason = reason
        return True

    def _retry_why(self, retry: RetryPolicy, outcome: Outcome) -> str | None:
        return retry_reason(retry, outcome)

    def _is_used_up(self, retry: RetryPolicy) -> bool:
        return self.attempts > retry.attempts

    def _pause(self, retry: RetryPolicy, chance: Chance) -> float:
        return backoff_seconds(retry, self.attempts, chance)

    def back_off(self, outcome: Outcome) -> Waits:
        """Let go of what came back and wait; a reply if the route's timeout ends first."""
        action, published, live = self.action, self.published, self.live
        assert action.retry is not None
        assert live is not None
        self.drop()
        if self.endpoint is not None:
            self._tried += (self.endpoint,)
        seconds = self._pause(action.retry, published.chance)
        if RetryScheduled in published.observers:
            name, attempt = live.cluster.name, self.attempts + 1
            scheduled = RetryScheduled(cluster=name, attempt=attempt, backoff=seconds, reason=self._retry_reason)
            published.notify(scheduled)
        discard = outcome if type(outcome) is Response else None
        left = _NEVER if action.timeout is None else max(self._deadline - published.clock.monotonic(), 0.0)
        yield Backoff(min(seconds, left), discard)
        return None if seconds < left else self._time_out()

    def _count_out(self) -> None:
        """The request is not on its way any more."""
        assert self.live is not None
        state, host, heir = self.live.state, self.endpoint, None
        self._is_counted = False
        with state.lock:
            state.active -= 1
            if host is not None:
                host.active -= 1
                if self.live.caps_connections:
                    self._ticket = None
                    heir = leave_locked(state, host)
        if heir is not None:
            heir.tell()

    def _withdraw(self) -> None:
        """Leave the queue for a connection."""
        ticket, self._ticket = self._ticket, None
        if ticket is not None and self.live is not None and self.endpoint is not None:
            withdraw(self.live.state, self.endpoint, ticket)

    def _give_up(self) -> None:
        """Nobody waits for the reply any more: every counter back."""
        self.drop()
        self._withdraw()
        if self._is_counted_retry:
            self._count_out_retry()

    def _count_out_retry(self) -> None:
        assert self.live is not None
        self._is_counted_retry = False
        with self.live.state.lock:
            self.live.state.retries -= 1

    # -- replies -------------------------------------------------------------------------------------

    def _fail(self, failure: Failure) -> LocalReply:
        self._count_out()
        self.failure = "" if failure.kind is FailureKind.TIMEOUT else failure.detail
        reply, flag = reset_reply(self.request, failure, retried=self.attempts > 1)
        self.flag(flag)
        return reply

    def _overflow(self) -> LocalReply:
        return self._refuse(overflow_reply(self.request), "UO")

    def _time_out(self) -> LocalReply:
        return self.refuse(504, "upstream request timeout", "response_timeout", "UT")

    def refuse(self, status: int, body: str, details: str, flag: str) -> LocalReply:
        """A reply of the mesh itself, with one of Envoy's response flags."""
        return self._refuse(local_reply(self.request, status, body, details), flag)

    def _refuse(self, reply: LocalReply, flag: str) -> LocalReply:
        if self._is_counted_retry:
            self._count_out_retry()
        self.flag(flag)
        return reply

    def flag(self, flag: str) -> None:
        """Set one of Envoy's response flags."""
        self.is_usual = False
        if flag not in self._flags:
            self._flags += (flag,)
