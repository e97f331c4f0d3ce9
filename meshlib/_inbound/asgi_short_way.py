"""The short way of an ASGI request that is let in as an equal one was, where nobody wants more of it than its count.

It does what :class:`~meshlib._inbound.passage.Passage` does for such a request, and nothing of what it does
for others: no seat to take, no deadline, no span, no log, nobody who listens to events.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from meshlib._context import serving
from meshlib._engine.published import Published
from meshlib._engine.recording import Recorder, Served
from meshlib._inbound.asgi_scopes import Receive, Send, again_head
from meshlib._inbound.grants import Scope, Terms
from meshlib._inbound.reports import complete
from meshlib._inbound.shapes import Values
from meshlib._snapshot.snapshot import Snapshot

__all__ = ["serve_short"]

# Names of their own: Python makes an object for each call of a method of what a module has imported.
_enter: Final = serving.set
_leave: Final = serving.reset

_NOT_BEGUN: Final[dict[str, Any]] = {}

App = Callable[[Scope, Receive, Send], Awaitable[None]]


async def serve_short(
    app: App,
    scope: Scope,
    receive: Receive,
    send: Send,
    published: Published,
    recorder: Recorder | None,
    terms: Terms,
    values: Values,
) -> None:
    """Have the request served, and count it."""
    inbound, changed = terms.let_in(scope, values, published.request_ids)
    status, sent, begun = 0, 0, _NOT_BEGUN

    def watched(message: Any) -> Awaitable[None]:
        nonlocal status, sent, begun
        kind = message["type"]
        if kind == "http.response.body":
            sent += len(message.get("body", b""))
        elif kind == "http.response.start":
            status, begun = message["status"], message
        return send(message)

    now = published.now
    started, outer = now(), _enter(inbound)
    try:
        await app(changed, receive, send if recorder is None else watched)
    finally:
        try:  # noqa: SIM105 - which would cost a tenth of all this
            _leave(outer)
        except ValueError:
            pass  # a server that ends the request in another context: that one never saw the request
        if recorder is not None:
            grant, snapshot = terms.grant, published.snapshot
            key = grant.port, grant.peer, status
            count_again = recorder.count_again
            if not status or not count_again(snapshot.telemetry, key, started, sent):
                served = _served(scope, snapshot, terms, values)
                served.started, served.status, served.sent = started, status, sent
                served.response_headers = begun.get("headers", ())
                recorder.serve(served)


def _served(scope: Scope, snapshot: Snapshot, terms: Terms, values: Values) -> Served:
    """What is told in full: of the first of its kind, and of one that the client went away from."""
    grant = terms.grant
    served = Served(again_head(scope, terms, values), snapshot, 0.0)
    served.source, served.destination, served.is_bare = grant.source, grant.destination, True
    complete(served, grant.decision, status=0, peer=grant.peer)
    return served
