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
from meshlib._inbound.inbound import Inbound
from meshlib._inbound.reports import complete
from meshlib._inbound.shapes import Values
from meshlib._snapshot.snapshot import Snapshot

__all__ = ["serve_short"]

# Names of their own: Python makes an object for each call of a method of what a module has imported.
_enter: Final = serving.set
_leave: Final = serving.reset

_new: Final = object.__new__

App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Passing(Inbound):
    """A request on the short way: what the application may know of it, and what it has sent."""

    __slots__ = ("begun", "send", "sent", "status")

    begun: Any
    send: Send
    sent: int
    status: int

    def watched(self, message: Any) -> Awaitable[None]:
        """The server's ``send``, with a note of the status, of how the response began, and of the bytes of its body."""
        kind = message["type"]
        if kind == "http.response.body":
            self.sent += len(message.get("body", b""))
        elif kind == "http.response.start":
            self.status, self.begun = message["status"], message
        return self.send(message)


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
    inbound = _new(Passing)
    changed = terms.let_in(inbound, scope, values, published.request_ids)
    now = published.now
    started, outer = now(), _enter(inbound)
    if recorder is not None:
        inbound.send, inbound.status, inbound.sent = send, 0, 0
        send = inbound.watched
    try:
        await app(changed, receive, send)
    finally:
        try:  # noqa: SIM105 - which would cost a tenth of all this
            _leave(outer)
        except ValueError:
            pass  # a server that ends the request in another context: that one never saw the request
        if recorder is not None:
            snapshot, status = published.snapshot, inbound.status
            count_again = recorder.count_again
            if not status or not count_again(
                snapshot.telemetry, (terms.port, terms.peer, status), started, inbound.sent
            ):
                recorder.serve(_served(scope, snapshot, terms, values, started, inbound))


def _served(scope: Scope, snapshot: Snapshot, terms: Terms, values: Values, started: float, passing: Passing) -> Served:
    """What is told in full: of the first of its kind, and of one that the client went away from."""
    grant = terms.grant
    served = Served(again_head(scope, terms, values), snapshot, started)
    served.source, served.destination, served.is_bare = grant.source, grant.destination, True
    complete(served, grant.decision, status=passing.status, peer=grant.peer)
    served.sent, served.request_id = passing.sent, passing.request_id
    if passing.status:
        served.response_headers = passing.begun.get("headers", ())
    return served
