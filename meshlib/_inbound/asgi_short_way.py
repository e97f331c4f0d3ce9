"""The short way of an ASGI request that is let in as an equal one was, where nobody wants more of it than its count.

It does what :class:`~meshlib._inbound.passage.Passage` does for such a request, and nothing of what it does
for others: no seat to take, no deadline, no span, no log, nobody who listens to events.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from meshlib._context import handed_on
from meshlib._engine.recording import Served
from meshlib._inbound.asgi_scopes import Fields, Receive, Scope, Send, again_head, again_scope
from meshlib._inbound.gate import Gate
from meshlib._inbound.heads import text_of
from meshlib._inbound.inbound import Inbound, serving
from meshlib._inbound.memory import Grant
from meshlib._inbound.reports import complete
from meshlib._inbound.shapes import REQUEST_ID, Shape
from meshlib._snapshot.snapshot import Snapshot

__all__ = ["serve_short"]

App = Callable[[Scope, Receive, Send], Awaitable[None]]


async def serve_short(
    app: App, scope: Scope, receive: Receive, send: Send, gate: Gate, grant: Grant, fields: Fields, shape: Shape
) -> None:
    """Have the request served, and count it."""
    published, recorder = gate.runtime.published, gate.runtime.recorder
    request_id = fields.get(REQUEST_ID)
    if not request_id:
        text = published.request_ids.next()
    else:  # most are plain, and read in half the time
        text = request_id.decode() if request_id.isascii() else text_of(request_id)
    carried = {"x-request-id": text}
    if shape.carried_besides:
        carried.update((name, text_of(fields[raw])) for raw, name in shape.carried_besides)
    inbound = Inbound.of(grant.decision, grant.peer, grant.client, text, gate.forbid)
    changed = again_scope(scope, grant, fields, shape, inbound)
    status, sent, headers = 0, 0, ()

    def watched(message: Any) -> Awaitable[None]:
        nonlocal status, sent, headers
        kind = message["type"]
        if kind == "http.response.body":
            sent += len(message.get("body", b""))
        elif kind == "http.response.start":
            status, headers = message["status"], message.get("headers", ())
        return send(message)

    started = published.now()
    before, outer = handed_on.set(carried), serving.set(inbound)
    try:
        await app(changed, receive, send if recorder is None else watched)
    finally:
        try:
            handed_on.reset(before)
            serving.reset(outer)
        except ValueError:
            pass  # a server that ends the request in another context: that one never saw the values
        if recorder is not None:
            key, snapshot = (grant.port, grant.peer, status), published.snapshot
            if not status or not recorder.count_again(snapshot.telemetry, key, started, sent):
                served = _served(scope, snapshot, grant, fields, shape)
                served.started, served.status, served.response_headers, served.sent = started, status, headers, sent
                recorder.serve(served)


def _served(scope: Scope, snapshot: Snapshot, grant: Grant, fields: Fields, shape: Shape) -> Served:
    """What is told in full: of the first of its kind, and of one that the client went away from."""
    served = Served(again_head(scope, grant, fields, shape), snapshot, 0.0)
    served.source, served.destination, served.is_bare = grant.source, grant.destination, True
    complete(served, grant.decision, status=0, peer=grant.peer)
    return served
