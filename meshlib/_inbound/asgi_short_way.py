"""The short way of an ASGI request that is let in as an equal one was, where nobody wants more of it than its count.

:class:`~meshlib.adapters.asgi.MeshMiddleware` goes it by itself. It does what
:class:`~meshlib._inbound.passage.Passage` does for such a request, and nothing of what it does for others: no seat to
take, no deadline, no span, no log, nobody who listens to events.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, Final

from meshlib._context import serving
from meshlib._engine.recording import Served
from meshlib._inbound.asgi_scopes import Send, again_head
from meshlib._inbound.grants import Scope, Terms
from meshlib._inbound.inbound import Inbound
from meshlib._inbound.reports import complete
from meshlib._inbound.shapes import Values
from meshlib._snapshot.snapshot import Snapshot

__all__ = ["Passing", "enter", "leave", "new_passing"]

# Names of their own: Python makes an object for each call of a method of what a module has imported.
enter: Final = serving.set
leave: Final = serving.reset
new_passing: Final = object.__new__


class Passing(Inbound):
    """A request on the short way: what the application may know of it, and what it has sent.

    What it has sent is known only where requests are counted: then ``send`` is the server's, ``status`` 0 until the
    response begins, and ``begun`` the message that began it.
    """

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

    def told(self, scope: Scope, snapshot: Snapshot, terms: Terms, values: Values, started: float) -> Served:
        """What is told in full: of the first of its kind, and of one that the client went away from."""
        grant = terms.grant
        served = Served(again_head(scope, terms, values), snapshot, started)
        served.source, served.destination, served.is_bare = grant.source, grant.destination, True
        complete(served, grant.decision, status=self.status, peer=grant.peer)
        served.sent, served.request_id = self.sent, self.request_id
        if self.status:
            served.response_headers = self.begun.get("headers", ())
        return served
