"""One application request, from its head to the reply: route, fault, mutate, limit, pick, send, record, retry.

Sans-IO: :meth:`Exchange.steps` is a generator. It yields what a driver must do
(:class:`Send`, :class:`Backoff`), takes what came back and returns the reply. A driver
that gives up closes the generator; every counter is then right again.
"""

from __future__ import annotations

from collections.abc import Generator

from msgspec.structs import replace

from meshlib._engine.attempts import GRPC_STATUS
from meshlib._engine.callers import bounded
from meshlib._engine.commands import Command, LocalReply, Reply, Send, Steps
from meshlib._engine.filters import run_filters
from meshlib._engine.local_replies import configured_reply
from meshlib._engine.low_faults import forward_through
from meshlib._engine.mutations import apply_levels, as_sent, path_after, rewrite_path
from meshlib._engine.plans import HostPlans, Plan, Target
from meshlib._engine.racing import Racing
from meshlib._engine.reports import exchange_finished
from meshlib._engine.request_hash import hash_request
from meshlib._engine.request_headers import ATTEMPT_COUNT, EXPECTED_TIMEOUT, set_exchange_headers
from meshlib._http import Headers, HeadersView, Outcome, RequestHead, Response
from meshlib._snapshot.peers import NO_PEER_HEADERS, PEER_ID, PEER_METADATA
from meshlib._snapshot.routes import Action, Forward, HeaderOps
from meshlib.events import ExchangeFinished

__all__ = ["Exchange"]


class Exchange(Racing):
    """One application request and what became of it.

    ``headers`` are the request's own, mutable: route and mesh change them in place,
    once. ``can_replay`` tells whether the body can be sent again. After the reply,
    :meth:`finish` must be called when its body is over or dropped.

    ``route``, ``live`` (the cluster), ``endpoint``, ``attempts``, ``flags`` and
    ``details`` tell afterwards what happened; ``response_levels`` are the header
    operations that the reply still has to get, ``answered_by`` what the workload that
    answered says of itself (Istio's metadata exchange; empty: nothing). ``is_usual``: the
    first attempt was good, without a flag, and there is no more to tell of request and answer.
    """

    answered_by = ""
    # Set where a recorder is: the response's head, when it came, the bytes of its body (-1: not known).
    status: int
    response_headers: HeadersView | tuple[tuple[str, str], ...]
    responded: float
    received: int

    _plan: Plan
    _target: Target

    @property
    def flags(self) -> tuple[str, ...]:
        """Envoy's response flags in the order in which they were set, as it lists them; empty if all went well."""
        return self._flags

    @property
    def sent_path(self) -> str:
        """The path that the upstream sees."""
        return self.request.path if self._path is None else self._path

    @property
    def sent_authority(self) -> str:
        """The authority that the upstream sees."""
        return self.request.authority if self._authority is None else self._authority

    def change_path(self, path: str) -> None:
        """Go on as if the application had asked for this path, before the route is found."""
        self.request.change_path(path)
        self._path = path

    @property
    def changes_response(self) -> bool:
        """Whether :meth:`mutate_response` would do anything."""
        return (
            bool(self.response_levels)
            or self.cors_fields is not None
            or (self._hash is not None and bool(self.cookies))
        )

    @property
    def cookies(self) -> tuple[str, ...]:
        """Set-Cookie fields that the upstream's response gets, so that a session sticks to its endpoint."""
        return self._hash.cookies if self._hash is not None and self.details == "via_upstream" else ()

    def steps(self) -> Steps:
        """Run the exchange; returns the upstream's response or the mesh's own reply."""
        reply: Reply | None
        try:
            reply = None
            if self.route is None:  # else start() has found it, and no way to go on at one go
                self._identify()
                reply = self._route()
            if self.caller is not None and reply is None:
                reply = yield from bounded(self, self.caller)
            if reply is None and (self.action.fault is not None or self.action.cors is not None):
                reply = yield from run_filters(self, self.action)
            if reply is None:
                reply = self._mutate()
            if reply is None:
                reply = yield from self._forward()
        except BaseException:
            self.abandon()
            raise
        return self._replied(reply)

    def start(self) -> Send | Reply | None:
        """Begin at one go, as far as the first attempt: its command, or a reply in its place.

        None: something comes before it that has to be waited for, and :meth:`steps` goes
        on from there. It does what ``steps`` does, without a generator: most exchanges
        need none.
        """
        published, request, headers = self.published, self.request, self.headers
        self._is_bare = set_exchange_headers(request, headers, published.request_ids)
        host = published.hosts.get((request.port, request.authority, request.host)) or published.find_routes(request)
        plan = host.find(request) if host is not None else None
        if host is None or plan is None or host.caller is not None or not plan.is_simple or self._path is not None:
            return self._start_otherwise(host, plan)
        self.route, self.action, self._plan = plan.route, plan.action, plan
        target = self._target = plan.only or plan.draw(published.chance)
        self._destination, self.live = target.destination, target.live
        if target.peer_headers:
            self._introduce(target)
        if not self._take(plan):
            reply = self._start_attempt(self.started)
            if reply is not None:
                return self._replied(reply)
        self.attempts = 1
        headers[ATTEMPT_COUNT] = "1"
        if plan.timeout_text is not None:
            self._cut_by_route = plan.is_cut_by_route
            headers[EXPECTED_TIMEOUT] = plan.timeout_text
        return target.sends.get(self.endpoint) or target.send(self.endpoint)

    def _start_otherwise(self, host: HostPlans | None, plan: Plan | None) -> Send | Reply | None:
        """As :meth:`start`, where there is more to do than to choose, to pick and to count."""
        reply = self._follow(host, plan)
        if reply is None:
            assert plan is not None
            if self.caller is not None or not plan.is_direct:
                return None
            reply = self._mutate() or self._start_attempt(self.started)
        if reply is not None:
            return self._replied(reply)
        return self._send()

    def settle(self, outcome: Outcome) -> Reply | None:
        """What came back from the attempt of :meth:`start`; None: it is tried again, by :meth:`resume`."""
        host = self.endpoint
        if (
            type(outcome) is Response
            and outcome.status < 400
            and self._plan.is_easy
            and host is not None
            and not (host.consecutive_5xx or host.consecutive_gateway or host.consecutive_local)
            and GRPC_STATUS not in outcome.headers
            and not self.published.observers.watches_calls
        ):
            if self.response_levels:
                self._learn_peer(outcome.headers)
            if (recorder := self.recorder) is not None:
                self.status, self.response_headers = outcome.status, outcome.headers
                if recorder.wants_times:
                    self.responded = self.published.now()
                self.is_usual = self._is_bare and not self.answered_by
            return outcome
        reply = self._end_attempt(outcome)
        return None if reply is None else self._replied(reply)

    def resume(self, outcome: Outcome) -> Steps:
        """Go on after a first attempt that :meth:`settle` did not take for an answer."""
        try:
            reply: Reply | None = yield from self.back_off(outcome)
            if reply is None:
                reply = yield from self._forward()
        except BaseException:
            self.abandon()
            raise
        return self._replied(reply)

    def _replied(self, reply: Reply) -> Reply:
        """Tell of the reply, whichever way it came about."""
        if type(reply) is LocalReply:
            self.details = reply.details
            if self.changes_response:
                reply.mutate(self.mutate_response)
        elif self.response_levels:
            self._learn_peer(reply.headers)
        if ExchangeFinished in self.published.observers:
            self.published.notify(exchange_finished(self, reply.status))
        if (recorder := self.recorder) is not None:
            self.status, self.response_headers = reply.status, reply.headers
            self.responded = self.published.now()
            if type(reply) is LocalReply:  # over at once
                self.recorder, self.received = None, len(reply.body)
                recorder.end(self)
            else:
                self.is_usual = self._is_bare and self.attempts == 1 and not self._flags and not self.answered_by
        return reply

    def _introduce(self, target: Target) -> None:
        """Tell the destination who this workload is."""
        self.headers.update(target.peer_headers)
        self.response_levels = target.response_levels

    def _learn_peer(self, headers: HeadersView | tuple[tuple[str, str], ...]) -> None:
        """Who answered may have said who it is: the application is not to see that, and the metrics are."""
        if self.response_levels[-1] is not NO_PEER_HEADERS:
            return
        if isinstance(headers, tuple) or not (PEER_METADATA in headers or PEER_ID in headers):
            self.response_levels = self.response_levels[:-1]  # nothing to take out
        else:
            self.answered_by = headers.get(PEER_METADATA, "")

    def routed(self) -> Steps:
        """The exchange after its route is found, for what a ClientPolicy puts around it."""
        reply: Reply | None = None
        action, caller = self.action, self.caller
        fault = action.fault
        if fault is not None and caller is not None and caller.policy.faults_under_retries:
            action = self.action = replace(action, fault=None)
        else:
            fault = None
        if action.fault is not None or action.cors is not None:
            reply = yield from run_filters(self, action)
        if reply is None:
            reply = self._mutate()
        if reply is not None:
            return reply
        if fault is not None:
            return (yield from forward_through(self, fault))
        hedges = self.hedges
        return (yield from (self._forward() if hedges is None else self.forward_hedged(hedges)))

    def attempt(self) -> Generator[Command, Outcome | None, Reply | None]:
        """One attempt; None if another is to follow, after its back-off."""
        hedges = self.hedges if self.attempts == 0 else None
        if hedges is not None:
            return (yield from self.hedged_attempt(hedges))
        refusal = self._start_attempt()
        if refusal is None and self._ticket is not None:
            refusal = yield from self._wait_for_connection(self._ticket)
        if refusal is not None:
            return refusal
        outcome = yield self._send()
        assert outcome is not None
        reply = self._end_attempt(outcome)
        return (yield from self.back_off(outcome)) if reply is None else reply

    def finish(self, received: int = -1) -> None:
        """The response's body is over, or nobody wants it any more. Safe to call again.

        ``received`` are the bytes of the body; -1: not known, or as its Content-Length says.
        """
        live, host = self.live, self.endpoint
        if self._is_counted and live is not None:
            if host is None or live.caps_connections:
                self._count_out()
            else:  # the same, with nobody to tell: most exchanges end here
                self._is_counted = False
                state = live.state
                with state.lock:
                    state.active -= 1
                    host.active -= 1
        recorder = self.recorder
        if recorder is not None:
            self.recorder, self.received = None, received
            recorder.end(self)

    def count_injected(self) -> None:
        """Count an attempt that a fault answered in place of an endpoint."""
        self.attempts += 1
        self.endpoint = None
        if self._is_counted_retry:
            self._count_out_retry()

    def mutate_response(self, headers: Headers) -> None:
        """Apply the route's operations and its CORS policy to the header fields of a response, in place."""
        if self.response_levels:
            self._apply(self.response_levels, headers, self._sent())
        if self.cors_fields is not None:
            headers.update(self.cors_fields)
        for cookie in self.cookies:
            headers.add("set-cookie", cookie)
        if self.recorder is not None:  # logs have what the caller gets
            self.response_headers = headers

    def _sent(self) -> RequestHead:
        """The request as it was sent: what operations on the response see of it (Envoy 1.39)."""
        request = self.request
        if self._path is None and self._authority is None:
            return request
        return as_sent(request, self.headers, self.sent_authority, self.sent_path)

    def _apply(self, levels: tuple[HeaderOps, ...], headers: Headers, request: RequestHead) -> None:
        published = self.published
        apply_levels(levels, headers, request, now=published.clock.time(), own=published.snapshot.address)

    def abandon(self) -> None:
        """The driver gives up: the caller went away, or raised. Steps that are closed do it themselves."""
        self._give_up()
        self.flag("DC")
        self.details = "downstream_remote_disconnect"
        if ExchangeFinished in self.published.observers:
            self.published.notify(exchange_finished(self, 0))
        if (recorder := self.recorder) is not None:
            self.recorder, self.status, self.response_headers, self.received = None, 0, (), 0
            self.responded = self.published.now()
            recorder.end(self)

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return self.published.now() - self.started

    @property
    def time_left(self) -> float | None:
        """Seconds until the route's timeout, which the body of a response must keep to as well; None without one."""
        return None if self.action.timeout is None else max(self._deadline - self.published.now(), 0.0)

    # -- route, fault, mutate --------------------------------------------------------------------

    def _identify(self) -> None:
        """Give the request its id, whether it will leave or not."""
        self._is_bare = set_exchange_headers(self.request, self.headers, self.published.request_ids)

    def _route(self) -> LocalReply | None:
        """Find the route and draw its destination; a reply unless it forwards."""
        host = self.published.find_routes(self.request)
        return self._follow(host, host.find(self.request) if host is not None else None)

    def _follow(self, host: HostPlans | None, plan: Plan | None) -> LocalReply | None:
        """Take a route that was found, and draw its destination; a reply unless it forwards."""
        if host is None or plan is None:
            return self.refuse(404, "", "route_not_found", "NR")
        self.route, self.caller = plan.route, host.caller
        if not plan.targets:
            return self._answer(plan.route.action)
        self._plan, self.action = plan, plan.action
        target = self._target = plan.only or plan.draw(self.published.chance)
        self.live = target.live
        self._destination, self.response_levels = target.destination, target.destination.response_levels
        return None

    def _take(self, plan: Plan) -> bool:
        """Take an endpoint and count the request in, where no more than that is to be done; else nothing changes."""
        live = self.live
        assert live is not None
        state, now = live.state, self.started
        with state.lock:
            if state.active >= live.max_requests or (state.next_sweep is not None and now >= state.next_sweep):
                return False
            host = live.balancer.pick()
            if host is None:
                return False
            state.active += 1
            host.active += 1
            self._is_counted = True
            self.endpoint = host
        self.attempt_started = now
        if plan.timeout is not None:
            self._deadline = now + plan.timeout
        return True

    def _answer(self, action: Action) -> LocalReply:
        """The reply of a route that does not forward."""
        assert not isinstance(action, Forward)
        self.response_levels = action.response_levels
        self._path = path_after(action, self.request.path)
        return configured_reply(action, self.request)

    def _mutate(self) -> LocalReply | None:
        """Change the request for its destination, in place; a reply if there is no such cluster."""
        action, destination, request, headers = self.action, self._destination, self.request, self.headers
        if self.live is None:
            return self.refuse(503, "", "cluster_not_found", "NC")
        if self._target.peer_headers:  # before the route's own operations, as Envoy's filter is
            self._introduce(self._target)
        if destination.request_levels:
            self._is_bare = False  # it may become anything
            self._apply(destination.request_levels, headers, request)
        if self.live.table is not None:
            self._hash = hash_request(action.hash_keys, request, self.published.chance, self.published.snapshot.address)
        self._authority = destination.host_rewrite
        if destination.tells_host:
            headers["x-envoy-original-host"] = request.authority
        if action.rewrite is not None:
            # Envoy 1.39 tells the path as it was even where the rewrite leaves it so.
            headers["x-envoy-original-path"] = request.path
            path = rewrite_path(action.rewrite, request.path)
            if path != request.path:
                self._path = path
        return None
