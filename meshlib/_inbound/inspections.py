"""What is decided of a request once everybody is asked: authorizers by their policies, issuers for their keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Final, TypeAlias

from meshlib._engine.authz import AskAuthorizer, AuthorizerReply
from meshlib._engine.decisions import Decision
from meshlib._inbound.arrivals import Arrival, other_reading
from meshlib._inbound.authorizers import ask_authorizer, ask_authorizer_async
from meshlib._inbound.gate import Gate
from meshlib._snapshot.inbound import InboundRequest
from meshlib._snapshot.snapshot import Snapshot

__all__ = ["ReadBody", "ReadBodyAsync", "await_keys", "decide", "decide_async"]

ReadBody: TypeAlias = Callable[[int], bytes | None]
ReadBodyAsync: TypeAlias = Callable[[int], Awaitable[bytes | None]]

_GONE: Final = AuthorizerReply(answer="deny", status=400, details="downstream_remote_disconnect")


def decide(gate: Gate, snapshot: Snapshot, arrival: Arrival, request: InboundRequest, read_body: ReadBody) -> Decision:
    """Decide about a request, in every way in which the application may read it; blocks."""
    decision = _run(gate, snapshot, request, read_body)
    if decision.wanted and (readings := _readings(gate, decision)):
        for reading, seconds in readings:
            gate.keys.wait(reading, seconds)
        request.head = arrival.head  # as it came, before its path was normalized
        decision = _run(gate, snapshot, request, read_body)
    other = other_reading(arrival, request, decision, gate.reading)
    if other is not None:
        second = _run(gate, snapshot, other, read_body)
        decision = decision if second.allowed else second
    return decision


def _run(gate: Gate, snapshot: Snapshot, request: InboundRequest, read_body: ReadBody) -> Decision:
    steps = gate.inspection(snapshot, request)
    try:
        ask = next(steps)
        while True:
            ask = steps.send(_ask(snapshot, ask, read_body))
    except StopIteration as end:
        decision: Decision = end.value
        return decision


def _ask(snapshot: Snapshot, ask: AskAuthorizer, read_body: ReadBody) -> AuthorizerReply:
    limit = ask.authorizer.body_limit
    body = read_body(limit) if limit else b""
    return _GONE if body is None else ask_authorizer(snapshot, ask, body)


async def decide_async(gate: Gate, snapshot: Snapshot, request: InboundRequest, read_body: ReadBodyAsync) -> Decision:
    """Decide about a request as it stands, for an event loop."""
    steps = gate.inspection(snapshot, request)
    try:
        ask = next(steps)
        while True:
            limit = ask.authorizer.body_limit
            body = await read_body(limit) if limit else b""
            ask = steps.send(_GONE if body is None else await ask_authorizer_async(snapshot, ask, body))
    except StopIteration as end:
        decision: Decision = end.value
        return decision


async def await_keys(gate: Gate, decision: Decision) -> bool:
    """Wait for the keys that a decision lacked; whether it could be another one now."""
    readings = _readings(gate, decision)
    for reading, seconds in readings:
        await gate.keys.wait_async(reading, seconds=seconds)
    return bool(readings)


def _readings(gate: Gate, decision: Decision) -> list[tuple[Future[None], float]]:
    """What to wait for, and how long, if the decision could be another one with fresher keys."""
    begun = [(gate.keys.hurry(origin), origin.timeout) for origin in decision.wanted]
    return [(reading, seconds) for reading, seconds in begun if reading is not None]
