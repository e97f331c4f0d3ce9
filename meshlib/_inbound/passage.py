"""The passage of one request through the gate and the application, and what is told of it at its end."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextvars import Token
from types import TracebackType
from typing import Any, Final, Self

from msgspec.structs import replace

from meshlib._context import carried_of, deadline, serving
from meshlib._engine.decisions import Decision
from meshlib._engine.local_replies import overflow_reply
from meshlib._engine.recording import Served
from meshlib._engine.rooms import Seat
from meshlib._http import Headers, RequestHead, is_bare
from meshlib._inbound.arrivals import (
    Admitted,
    Arrival,
    Refused,
    changed_headers,
    client_text,
    hide_peer_headers,
    other_reading,
    refusal,
)
from meshlib._inbound.forwarded import XFCC
from meshlib._inbound.gate import Gate
from meshlib._inbound.grants import Grant, Terms
from meshlib._inbound.heads import PlainHead, text_of, without_header
from meshlib._inbound.inbound import Inbound, Verified, let_in
from meshlib._inbound.inspections import ReadBody, ReadBodyAsync, await_keys, decide, decide_async
from meshlib._inbound.memory import Key, Memory
from meshlib._inbound.refusals import as_sent
from meshlib._inbound.reports import complete, request_served
from meshlib._inbound.shapes import DEADLINE, Values
from meshlib._inbound.targets import problem_of
from meshlib._snapshot.inbound import InboundRequest, parse_address
from meshlib._snapshot.peers import PEER_ID, PEER_METADATA
from meshlib._snapshot.snapshot import Snapshot

__all__ = ["Passage"]

_log = logging.getLogger("meshlib.security")

_REQUEST_ID: Final = "x-request-id"
_PEER_METADATA: Final = PEER_METADATA.encode()
_EXPECTED_TIMEOUT: Final = "x-envoy-expected-rq-timeout-ms"


class Passage:
    """One request on its way through the gate and the application. ``status`` is what the client saw.

    Use it as a context around the application, or call :meth:`end`. ``told`` are headers
    of the answer for a peer that said who it is: who we are.
    """

    # Most requests need few of these: defaults of the class cost nothing to set.
    status = 0
    told: tuple[tuple[str, str], ...] = ()
    _decision: Decision | None = None
    _head: RequestHead | None = None
    _peer = ""
    _protocol = "http"
    _serving: Token[Any] | None = None
    _deadline: Token[Any] | None = None
    _served: Served | None = None
    _seat: Seat | None = None
    _started = 0.0
    _version = 0
    _hides_peer = False

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        self.end()

    def end(self) -> None:
        """The request is over, whatever came of it."""
        if self._serving is not None:
            try:
                serving.reset(self._serving)
                if self._deadline is not None:
                    deadline.reset(self._deadline)
            except ValueError:
                pass  # a server that closes the response in another context: that one never saw the values
            self._serving = None
        if self._seat is not None:
            self.leave()
        if self._head is not None:
            self._report(self._head)

    def leave(self) -> None:
        """The request is served: its seat is for the next one. Safe to call again."""
        seat, self._seat = self._seat, None
        if seat is not None:
            seat.leave()

    # -- in -----------------------------------------------------------------------------------------

    def admit(self, arrival: Arrival, read_body: ReadBody) -> Admitted | Refused:
        """Decide about a request; blocks where an authorizer or keys must be waited for."""
        snapshot = self._gate.runtime.published.snapshot
        request, early = self._begin(arrival, snapshot)
        if early is not None:
            return early
        decision = decide(self._gate, snapshot, arrival, request, read_body)
        verdict = self._conclude(arrival, request, decision)
        if isinstance(verdict, Admitted) and (room := self._gate.rooms.find(arrival.head.port)):
            self._seat = room.enter()
            if self._seat is None or not self._gate.rooms.wait(self._seat):
                return self._overflow(arrival.head)
        return verdict

    async def admit_async(
        self, arrival: Arrival, read_body: ReadBodyAsync, memory: Memory | None = None, key: Key | None = None
    ) -> Admitted | Refused:
        """As :meth:`admit`, for an event loop: whatever blocks runs in a thread. ``memory`` keeps it under ``key``."""
        gate = self._gate
        snapshot = gate.runtime.published.snapshot
        request, early = self._begin(arrival, snapshot)
        if early is not None:
            return early
        self._version = gate.keys.version  # before they are looked at: what comes in between is not remembered
        decision = gate.decide(snapshot, request) or await decide_async(gate, snapshot, request, read_body)
        if decision.wanted and await await_keys(gate, decision):
            request.head = arrival.head  # as it came, before its path was normalized
            decision = await decide_async(gate, snapshot, request, read_body)
        other = other_reading(arrival, request, decision, gate.reading)
        if other is not None:
            second = await decide_async(gate, snapshot, other, read_body)
            decision = decision if second.allowed else second
        verdict = self._conclude(arrival, request, decision)
        if isinstance(verdict, Refused):
            return verdict
        if memory is not None and key is not None and other is None and memory.is_of(snapshot):
            keeps_xfcc = gate.proxies.trusts(request.source)
            grant = Grant(arrival, request, decision, version=self._version, keeps_xfcc=keeps_xfcc, forbid=gate.forbid)
            memory.keep(key, grant)
        if snapshot.inbound is None:
            return verdict
        return await self.sit_async(arrival.head) or verdict

    def admit_again(
        self, terms: Terms, snapshot: Snapshot, values: Values, inbound: Inbound, head: PlainHead | None
    ) -> None:
        """Let a request in as an equal one was. ``head`` None: nobody watches."""
        gate, grant, shape = self._gate, terms.grant, terms.shape
        decision, fields = grant.decision, shape.fields(values)
        self._decision, self._peer = decision, grant.peer
        if head is not None:
            self._head = head
            self._watch(head, snapshot, grant.source, grant.destination)
            if self._served is not None:
                self._served.request_id = inbound.request_id
        if decision.dry_runs:
            gate.dry_runs.count(decision.dry_runs)
        if shape.peer:
            self.told = tuple((name, value) for name in shape.peer if (value := snapshot.peer_headers.get(name)))
            if self._served is not None:
                self._served.claimed = text_of(fields.get(_PEER_METADATA, b""))
        self._serving = serving.set(inbound)
        if shape.has_deadline:
            self._bound(text_of(fields[DEADLINE]))

    async def sit_async(self, head: RequestHead) -> Refused | None:
        """Take a seat where the port has limits; None: the request has one, or needs none."""
        rooms = self._gate.rooms
        room = rooms.find(head.port)
        if room is None:
            return None
        self._seat = room.enter()
        if self._seat is None or not await rooms.wait_async(self._seat):
            return self._overflow(head)
        return None

    def _watch(self, head: RequestHead, snapshot: Snapshot, source: str, destination: str) -> None:
        """Tell those who measure that a request is here."""
        runtime = self._gate.runtime
        if runtime.recorder is not None:
            served = self._served = runtime.recorder.arrive(head, snapshot)
            if served is not None:
                served.source, served.destination = source, destination
                served.is_bare = head.shape.is_bare if isinstance(head, PlainHead) else is_bare(head.headers)
        if runtime.published.observers.watches_served:
            self._started = runtime.clock.monotonic()

    def _begin(self, arrival: Arrival, snapshot: Snapshot) -> tuple[InboundRequest, Admitted | Refused | None]:
        gate = self._gate
        source = parse_address(arrival.source_address)
        is_proxied = gate.proxies.trusts(source)
        if not is_proxied and arrival.head.values(XFCC):
            arrival.head = without_header(arrival.head, XFCC)  # anybody can say so: policies do not see it, as in Envoy
            self._hides_peer = True
        head = arrival.head
        self._head, self._protocol = head, arrival.protocol
        self._watch(head, snapshot, arrival.source_address, arrival.destination_address)
        if not isinstance(head, PlainHead) and (head.values(PEER_METADATA) or head.values(PEER_ID)):
            self._hides_peer = True
            if self._served is not None:
                self._served.claimed, self._served.is_bare = head.value(PEER_METADATA), False
            self.told = hide_peer_headers(head, snapshot.peer_headers if gate.checks_peer else {})
        peer = arrival.peer
        if is_proxied and (told := gate.proxies.identity(head.headers)) is not None:
            peer = told
        inbound = snapshot.inbound
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
            rules = snapshot.security.authentication
            outputs = () if rules is None else rules.output_headers  # nothing was verified, so nobody may say so
            decision = Decision(allowed=True, reason="a health path", remove_headers=outputs)
            return request, self._conclude(arrival, request, decision)
        return request, None

    # -- out ----------------------------------------------------------------------------------------

    def _conclude(self, arrival: Arrival, request: InboundRequest, decision: Decision) -> Admitted | Refused:
        self._decision, self._peer = decision, request.peer
        if decision.dry_runs:
            self._gate.dry_runs.count(decision.dry_runs)
        if not decision.allowed:
            return self._refuse(decision)
        head, gate = arrival.head, self._gate
        headers = changed_headers(head, decision)
        request_id = head.value(_REQUEST_ID)
        if not request_id:
            request_id = gate.runtime.published.request_ids.next()
            headers = Headers(head.headers) if headers is None else headers
            headers[_REQUEST_ID] = request_id
        if self._hides_peer and headers is None:
            headers = Headers(head.headers)
        if self._served is not None:
            self._served.request_id = request_id
        verified = Verified(decision, request.peer, client_text(request, arrival), gate.forbid)
        if headers is None and isinstance(head, PlainHead):
            inbound = let_in(verified, request_id, (head.shape, tuple(head.fields.values())))
        else:
            inbound = let_in(verified, request_id, carried_of(head.headers if headers is None else headers))
        self._serving = serving.set(inbound)
        if not isinstance(head, PlainHead) or head.shape.has_deadline:
            self._bound(head.value(_EXPECTED_TIMEOUT))
        returned = (*decision.response_headers, *self.told)
        return Admitted(inbound=inbound, headers=headers, path=decision.path, response_headers=returned)

    def _bound(self, milliseconds: str) -> None:
        """Calls made while serving are over when the caller has given up, where a ClientPolicy keeps deadlines."""
        if milliseconds.isdecimal() and len(milliseconds) < 10:
            end, outer = self._gate.runtime.clock.monotonic() + int(milliseconds) / 1000, deadline.get()
            self._deadline = deadline.set(end if outer is None else min(end, outer))

    def _refuse(self, decision: Decision) -> Refused:
        self._decision = decision
        _log.debug("refused: %s", decision.reason)
        refused = refusal(decision, is_told_why=self._gate.debug_headers)
        if self._head is not None:
            refused = as_sent(refused, self._head)
        self.status = refused.status
        if self._served is not None:
            self._served.response_headers, self._served.sent = refused.headers, len(refused.body)
        refused.headers = (*self.told, *refused.headers)
        return refused

    def _overflow(self, head: RequestHead) -> Refused:
        """The application serves as many as it may, and as many wait as may."""
        assert self._decision is not None  # it was let in
        reply = overflow_reply(head)
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
        if served is None and not self._gate.runtime.published.observers.watches_served:
            return send

        def watched(message: Any) -> Awaitable[None]:
            kind = message["type"]
            if kind == "http.response.start":
                self.status = message["status"]
                if served is not None:
                    served.response_headers, served.sent = message.get("headers", ()), 0
            elif kind == "websocket.accept":
                self.status = 101
            elif served is not None and kind == "http.response.body":
                served.sent += len(message.get("body", b""))
            return send(message)

        return watched

    def answer(self, status: int, headers: Any, sent: int | None = None) -> None:
        """What the application answered; ``sent`` None: the bytes of its body are what Content-Length says."""
        self.status = status
        if self._served is not None:
            self._served.response_headers = headers
            self._served.sent = -1 if sent is None else sent

    def _report(self, head: RequestHead) -> None:
        runtime, decision = self._gate.runtime, self._decision
        served, self._served = self._served, None
        if served is not None and runtime.recorder is not None:
            complete(served, decision, status=self.status, peer=self._peer)
            runtime.recorder.serve(served)
        published = runtime.published
        if published.observers.watches_served and decision is not None:
            duration = runtime.clock.monotonic() - self._started if self._started else 0.0
            event = request_served(
                head, decision, status=self.status, duration=duration, peer=self._peer, protocol=self._protocol
            )
            published.notify(event)
