"""The short way of an ASGI request that is let in as an equal one was, where nobody wants more of it than its count.

It does what :class:`~meshlib._inbound.passage.Passage` does for such a request, and nothing of what it does
for others: no seat to take, no deadline, no span, no log, nobody who listens to events.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from meshlib._context import serving
from meshlib._engine.recording import Served
from meshlib._inbound.asgi_scopes import Receive, Scope, Send, again_head, again_scope
from meshlib._inbound.gate import Gate
from meshlib._inbound.grants import Terms
from meshlib._inbound.heads import text_of
from meshlib._inbound.inbound import let_in
from meshlib._inbound.reports import complete
from meshlib._inbound.shapes import Values
from meshlib._snapshot.snapshot import Snapshot

__all__ = ["serve_short"]

App = Callable[[Scope, Receive, Send], Awaitable[None]]


async def serve_short(
    app: App, scope: Scope, receive: Receive, send: Send, gate: Gate, terms: Terms, values: Values
) -> None:
    """Have the request served, and count it."""
    runtime, grant, shape = gate.runtime, terms.grant, terms.shape
    published, recorder, at = runtime.published, runtime.recorder, shape.id_at
    if at is not None and (raw := values[at]):
        made = None
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            text = text_of(raw)
    else:
        made = text = published.request_ids.next()
    inbound = let_in(grant.verified, text, (shape, values))
    changed = again_scope(scope, terms, values, inbound, made)
    status, sent, headers = 0, 0, ()

    def watched(message: Any) -> Awaitable[None]:
        nonlocal status, sent, headers
        kind = message["type"]
        if kind == "http.response.body":
            sent += len(message.get("body", b""))
        elif kind == "http.response.start":
            status, headers = message["status"], message.get("headers", ())
        return send(message)

    started, outer = published.now(), serving.set(inbound)
    try:
        await app(changed, receive, send if recorder is None else watched)
    finally:
        try:  # noqa: SIM105 - which would cost a tenth of all this
            serving.reset(outer)
        except ValueError:
            pass  # a server that ends the request in another context: that one never saw the request
        if recorder is not None:
            key, snapshot = (grant.port, grant.peer, status), published.snapshot
            if not status or not recorder.count_again(snapshot.telemetry, key, started, sent):
                served = _served(scope, snapshot, terms, values)
                served.started, served.status, served.response_headers, served.sent = started, status, headers, sent
                recorder.serve(served)


def _served(scope: Scope, snapshot: Snapshot, terms: Terms, values: Values) -> Served:
    """What is told in full: of the first of its kind, and of one that the client went away from."""
    grant = terms.grant
    served = Served(again_head(scope, terms, values), snapshot, 0.0)
    served.source, served.destination, served.is_bare = grant.source, grant.destination, True
    complete(served, grant.decision, status=0, peer=grant.peer)
    return served
