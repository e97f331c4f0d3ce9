"""The gate of a server: every request that arrives passes it or is refused.

An adapter says what it knows of a request (:class:`Arrival`), the gate asks the engine,
does what the engine cannot do by itself (ask an authorizer, wait for keys), and hands
back what the application gets (:class:`Admitted`) or what the client gets
(:class:`Refused`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import suppress
from contextvars import Token
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Final, Protocol, Self

from meshlib._context import carried_headers, deadline, handed_on
from meshlib._engine.authz import AskAuthorizer, AuthorizerReply
from meshlib._engine.inbound import Decision, Inspection, inspect
from meshlib._engine.jwt import TokenCache, authenticate
from meshlib._engine.local_replies import overflow_reply
from meshlib._engine.recording import Served
from meshlib._engine.rooms import Seat
from meshlib._http import Headers, RequestHead
from meshlib._inbound.arrivals import (
    Admitted,
    Arrival,
    Refused,
    changed_headers,
    client_text,
    header_text,
    other_reading,
)
from meshlib._inbound.authorizers import ask_authorizer
from meshlib._inbound.dry_runs import dry_run_counts
from meshlib._inbound.forwarded import TrustedProxies
from meshlib._inbound.inbound import Inbound, serving
from meshlib._inbound.key_managers import _managers as _managers  # noqa: PLC0414 - for tests with keys of their own
from meshlib._inbound.key_managers import key_manager
from meshlib._inbound.keys import KeyManager
from meshlib._inbound.reports import complete, request_served
from meshlib._inbound.rooms import Rooms
from meshlib._inbound.targets import problem_of
from meshlib._runtime import Runtime
from meshlib._snapshot.inbound import InboundRequest, parse_address
from meshlib._snapshot.snapshot import Snapshot
from meshlib.events import RequestServed

__all__ = ["Admitted", "Arrival", "Gate", "HasRuntime", "Passage", "Refused"]

_log = logging.getLogger("meshlib.security")

_REQUEST_ID: Final = "x-request-id"
_EXPECTED_TIMEOUT: Final = "x-envoy-expected-rq-timeout-ms"
_PLAIN: Final = (("content-type", "text/plain"),)


class HasRuntime(Protocol):
    """A :class:`meshlib.Mesh`, as far as a server needs it."""

    @property
    def runtime(self) -> Runtime:
        """Where the configuration in force is."""
        ...


ReadBody = Callable[[int], bytes]
ReadBodyAsync = Callable[[int], Awaitable[bytes]]


class Gate:
    """Made once for a server; keys are read from then on."""

    checks_peer = True
    """Whether PeerAuthentication is applied; a gateway has the TLS settings of its servers instead."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        health_paths: Collection[str] = (),
        trusted_proxies: Iterable[str] = (),
        debug_headers: bool = False,
        forbid: Callable[[str], Exception] | None = None,
        now: Callable[[], float] | None = None,
    ) -> None:
        if isinstance(health_paths, str):
            health_paths = (health_paths,)
        self.runtime = runtime
        self.health_paths = frozenset(health_paths)
        self.proxies = TrustedProxies(trusted_proxies)
        self.debug_headers = debug_headers
        self.forbid = forbid
        self.now = now or runtime.clock.time
        self.keys = key_manager(runtime)
        self.keys.prepare(runtime.published.snapshot.security.authentication)
        self.dry_runs = dry_run_counts(runtime)
        self._tokens = TokenCache()
        self.rooms = Rooms(runtime)

    def open(self) -> Passage:
        """The passage of one request; use it as a context around the application."""
        return Passage(self)

    def inspection(self, snapshot: Snapshot, request: InboundRequest) -> Inspection:
        """Begin to decide about a request on a snapshot."""
        security = snapshot.security
        rules = security.authentication
        check = None
        if rules is not None:
            self.keys.prepare(rules)
            check = partial(_check, rules, self.keys, self.now(), self._tokens)
        return inspect(security, request, check, checks_peer=self.checks_peer)


def _check(rules: Any, keys: KeyManager, now: float, tokens: TokenCache, head: RequestHead) -> Any:
    return authenticate(rules, head, keys, now, tokens)


class Passage:
    """One request on its way through the gate and the application. ``status`` is what the client saw."""

    __slots__ = (
        "_deadline", "_decision", "_gate", "_handed_on", "_head", "_inbound", "_peer", "_protocol", "_seat", "_served",
        "_serving", "_started", "status",
    )  # fmt: skip

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._decision: Decision | None = None
        self._inbound: Inbound | None = None
        self._head: RequestHead | None = None
        self._peer = ""
        self._protocol = "http"
        self._handed_on: Token[Any] | None = None
        self._serving: Token[Any] | None = None
        self._deadline: Token[Any] | None = None
        self._served: Served | None = None
        self._seat: Seat | None = None
        self._started = gate.runtime.clock.monotonic()
        self.status = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        _reset(self._handed_on, handed_on)
        _reset(self._serving, serving)
        _reset(self._deadline, deadline)
        self._handed_on = self._serving = self._deadline = None
        self.leave()
        self._report()

    def leave(self) -> None:
        """The request is served: its seat is for the next one. Safe to call again."""
        seat, self._seat = self._seat, None
        if seat is not None:
            seat.leave()

    # -- in -----------------------------------------------------------------------------------------

    def admit(self, arrival: Arrival, read_body: ReadBody) -> Admitted | Refused:
        """Decide about a request; blocks where an authorizer or keys must be waited for."""
        request, early = self._begin(arrival)
        if early is not None:
            return early
        decision = self._decide(arrival, request, read_body)
        verdict = self._conclude(arrival, request, decision)
        if isinstance(verdict, Admitted) and (room := self._gate.rooms.find(arrival.head.port)):
            self._seat = room.enter()
            if self._seat is None or not self._gate.rooms.wait(self._seat):
                return self._overflow()
        return verdict

    async def admit_async(self, arrival: Arrival, read_body: ReadBodyAsync) -> Admitted | Refused:
        """As :meth:`admit`, for an event loop: whatever blocks runs in a thread."""
        request, early = self._begin(arrival)
        if early is not None:
            return early
        snapshot = self._gate.runtime.published.snapshot
        decision = await self._run_async(snapshot, request, read_body)
        reading = self._reading(decision)
        if reading is not None and decision.wanted is not None:
            await self._gate.keys.wait_async(reading, seconds=decision.wanted.timeout)
            request.head = arrival.head  # as it came, before its path was normalized
            decision = await self._run_async(snapshot, request, read_body)
        other = other_reading(arrival, request, decision)
        if other is not None:
            second = await self._run_async(snapshot, other, read_body)
            decision = decision if second.allowed else second
        verdict = self._conclude(arrival, request, decision)
        if isinstance(verdict, Admitted) and (room := self._gate.rooms.find(arrival.head.port)):
            self._seat = room.enter()
            if self._seat is None or not await self._gate.rooms.wait_async(self._seat):
                return self._overflow()
        return verdict

    def _begin(self, arrival: Arrival) -> tuple[InboundRequest, Admitted | Refused | None]:
        head, gate = arrival.head, self._gate
        self._head, self._protocol = head, arrival.protocol
        recorder = gate.runtime.recorder
        if recorder is not None:
            served = self._served = recorder.arrive(head, gate.runtime.published.snapshot)
            if served is not None:
                served.source, served.destination = arrival.source_address, arrival.destination_address
        source = parse_address(arrival.source_address)
        is_proxied = gate.proxies.trusts(source)
        peer = arrival.peer
        if is_proxied:
            peer = gate.proxies.identity(head.headers) or peer
        inbound = gate.runtime.published.snapshot.inbound
        request = InboundRequest(
            head,
            port=head.port if inbound is None else inbound.port(head.port),
            peer=peer or "",
            source=source,
            remote=gate.proxies.client(head.headers, source) if is_proxied else source,
            destination=parse_address(arrival.destination_address),
            sni=arrival.server_name if arrival.has_tls else "",
        )
        problem = problem_of(head, arrival.target_authority)
        if problem:
            return request, self._refuse(Decision(allowed=False, status=400, reason=problem))
        if gate.health_paths and head.method in ("GET", "HEAD") and head.path_only in gate.health_paths:
            rules = gate.runtime.published.snapshot.security.authentication
            outputs = () if rules is None else rules.output_headers  # nothing was verified, so nobody may say so
            decision = Decision(allowed=True, reason="a health path", remove_headers=outputs)
            return request, self._conclude(arrival, request, decision)
        return request, None

    def _decide(self, arrival: Arrival, request: InboundRequest, read_body: ReadBody) -> Decision:
        snapshot = self._gate.runtime.published.snapshot
        decision = self._run(snapshot, request, read_body)
        reading = self._reading(decision)
        if reading is not None and decision.wanted is not None:
            self._gate.keys.wait(reading, decision.wanted.timeout)
            request.head = arrival.head  # as it came, before its path was normalized
            decision = self._run(snapshot, request, read_body)
        other = other_reading(arrival, request, decision)
        if other is not None:
            second = self._run(snapshot, other, read_body)
            decision = decision if second.allowed else second
        return decision

    def _reading(self, decision: Decision) -> Any:
        """What to wait for, if the decision could be another one with fresher keys."""
        return None if decision.wanted is None else self._gate.keys.hurry(decision.wanted)

    def _run(self, snapshot: Snapshot, request: InboundRequest, read_body: ReadBody) -> Decision:
        steps = self._gate.inspection(snapshot, request)
        try:
            ask = next(steps)
            while True:
                ask = steps.send(self._ask(snapshot, ask, read_body))
        except StopIteration as end:
            decision: Decision = end.value
            return decision

    async def _run_async(self, snapshot: Snapshot, request: InboundRequest, read_body: ReadBodyAsync) -> Decision:
        steps = self._gate.inspection(snapshot, request)
        try:
            ask = next(steps)
            while True:
                limit = ask.authorizer.body_limit
                body = await read_body(limit) if limit else b""
                ask = steps.send(await asyncio.to_thread(ask_authorizer, snapshot, ask, body))
        except StopIteration as end:
            decision: Decision = end.value
            return decision

    def _ask(self, snapshot: Snapshot, ask: AskAuthorizer, read_body: ReadBody) -> AuthorizerReply:
        limit = ask.authorizer.body_limit
        return ask_authorizer(snapshot, ask, read_body(limit) if limit else b"")

    # -- out ----------------------------------------------------------------------------------------

    def _conclude(self, arrival: Arrival, request: InboundRequest, decision: Decision) -> Admitted | Refused:
        self._decision, self._peer = decision, request.peer
        if decision.dry_runs:
            self._gate.dry_runs.count(decision.dry_runs)
        if not decision.allowed:
            return self._refuse(decision)
        head, gate = arrival.head, self._gate
        headers = changed_headers(head.headers, decision, keeps_xfcc=gate.proxies.trusts(request.source))
        request_id = head.headers.get(_REQUEST_ID, "")
        if not request_id:
            request_id = gate.runtime.published.request_ids.next()
            headers = Headers(head.headers) if headers is None else headers
            headers[_REQUEST_ID] = request_id
        inbound = self._inbound = Inbound.of(
            decision, peer=request.peer, client_address=client_text(request, arrival), request_id=request_id
        )
        inbound.forbid = gate.forbid
        source = head.headers if headers is None else headers
        if self._served is not None:
            self._served.request_id = request_id
        self._handed_on = handed_on.set(carried_headers(source.items()))
        self._serving = serving.set(inbound)
        self._bound(head.headers.get(_EXPECTED_TIMEOUT, ""))
        returned = decision.response_headers
        return Admitted(inbound=inbound, headers=headers, path=decision.path, response_headers=returned)

    def _bound(self, milliseconds: str) -> None:
        """Calls made while serving are over when the caller has given up, where a ClientPolicy keeps deadlines."""
        if milliseconds.isdecimal() and len(milliseconds) < 10:
            end, outer = self._gate.runtime.clock.monotonic() + int(milliseconds) / 1000, deadline.get()
            self._deadline = deadline.set(end if outer is None else min(end, outer))

    def _refuse(self, decision: Decision) -> Refused:
        self._decision = decision
        self.status = decision.status
        _log.debug("refused: %s", decision.reason)
        headers = decision.headers
        if decision.body and not any(name == "content-type" for name, _ in headers):
            headers = (*headers, *_PLAIN)
        if self._gate.debug_headers:
            headers = (
                *headers,
                ("x-meshlib-policy", decision.policy or "-"),
                ("x-meshlib-reason", header_text(decision.reason)),
            )
        headers = (*headers, ("content-length", str(len(decision.body))))
        return Refused(status=decision.status, body=decision.body, headers=headers)

    def _overflow(self) -> Refused:
        """The application serves as many as it may, and as many wait as may."""
        assert self._head is not None and self._decision is not None  # noqa: PT018 - it was let in
        reply = overflow_reply(self._head)
        self.status, self._decision = reply.status, replace(self._decision, details=reply.details)
        if self._served is not None:
            self._served.response_headers, self._served.sent = reply.headers, len(reply.body)
        return Refused(status=reply.status, body=reply.body, headers=reply.headers)

    def watch_status(self, start_response: Callable[..., Any]) -> Callable[..., Any]:
        """WSGI's start_response that also tells the status."""

        def start(status: str, headers: Any, *arguments: Any) -> Any:
            self.status = int(status[:3])
            if self._served is not None:
                self._served.response_headers = headers
            return start_response(status, headers, *arguments)

        return start

    def watch_start(self, send: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
        """ASGI's send that also tells the status; ``send`` itself where nobody listens."""
        served = self._served
        if served is None and RequestServed not in self._gate.runtime.published.observers:
            return send

        async def watched(message: Any) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                if served is not None:
                    served.response_headers, served.sent = message.get("headers", ()), 0
            elif message["type"] == "websocket.accept":
                self.status = 101
            elif served is not None and message["type"] == "http.response.body":
                served.sent += len(message.get("body", b""))
            await send(message)

        return watched

    def answer(self, status: int, headers: Any, sent: int | None = None) -> None:
        """What the application answered; ``sent`` None: the bytes of its body are what Content-Length says."""
        self.status = status
        if self._served is not None:
            self._served.response_headers = headers
            self._served.sent = -1 if sent is None else sent

    def _report(self) -> None:
        runtime, decision, head = self._gate.runtime, self._decision, self._head
        served, self._served = self._served, None
        if served is not None and runtime.recorder is not None:
            complete(served, decision, status=self.status, peer=self._peer)
            runtime.recorder.serve(served)
        published = runtime.published
        if RequestServed in published.observers and decision is not None and head is not None:
            duration = runtime.clock.monotonic() - self._started
            event = request_served(
                head, decision, status=self.status, duration=duration, peer=self._peer, protocol=self._protocol
            )
            published.notify(event)


def _reset(token: Token[Any] | None, variable: Any) -> None:
    if token is not None:
        # A server that closes the response in another context: that one never saw the value.
        with suppress(ValueError):
            variable.reset(token)
