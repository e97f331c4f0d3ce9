"""What the engine asks a driver to do, and what it answers itself."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from threading import Lock
from typing import TypeAlias

from meshlib._http import NO_HEADERS, Headers, Outcome, Response
from meshlib._snapshot.clusters import Cluster, Endpoint

__all__ = ["Backoff", "Command", "Copy", "LocalReply", "Race", "Reply", "Send", "Steps", "Ticket", "Wait"]


class Send:
    """Send the request to ``endpoint`` and answer with the outcome.

    ``endpoint`` None means the address that the application dialled. ``path`` and
    ``authority`` replace those of the request if they are not None. ``timeout`` in
    seconds cuts the attempt off; the driver then answers ``Failure(TIMEOUT)``.
    ``attempt`` counts from 1.
    """

    __slots__ = ("attempt", "authority", "cluster", "endpoint", "path", "timeout")

    def __init__(
        self,
        cluster: Cluster,
        endpoint: Endpoint | None,
        attempt: int = 1,
        timeout: float | None = None,
        path: str | None = None,
        authority: str | None = None,
    ) -> None:
        self.cluster = cluster
        self.endpoint = endpoint
        self.attempt = attempt
        self.timeout = timeout
        self.path = path
        self.authority = authority

    def __repr__(self) -> str:
        where = self.endpoint.key if self.endpoint else "original address"
        return f"<Send attempt={self.attempt} {self.cluster.name} to {where} timeout={self.timeout}>"


class Backoff:
    """Drop ``discard`` (a response that will not be used) and wait ``seconds``; the answer is None."""

    __slots__ = ("discard", "seconds")

    def __init__(self, seconds: float, discard: Response | None = None) -> None:
        self.seconds = seconds
        self.discard = discard

    def __repr__(self) -> str:
        return f"<Backoff {self.seconds:.3f}s discard={self.discard}>"


class Copy:
    """Send a copy of the request to ``endpoint`` and forget it: the driver goes on at once, the answer is None.

    ``headers`` are set on the copy alone.
    """

    __slots__ = ("cluster", "endpoint", "headers", "path")

    def __init__(
        self, cluster: Cluster, endpoint: Endpoint, path: str | None, headers: Mapping[str, str] = NO_HEADERS
    ) -> None:
        self.cluster = cluster
        self.endpoint = endpoint
        self.path = path
        self.headers = headers

    def __repr__(self) -> str:
        return f"<Copy {self.cluster.name} to {self.endpoint.key}>"


class Ticket:
    """A place in the queue for a connection. Who is told of its turn may be on another thread."""

    __slots__ = ("_lock", "_wake", "is_granted", "is_told")

    def __init__(self) -> None:
        self._lock = Lock()
        self._wake: Callable[[], object] | None = None
        self.is_granted = False
        self.is_told = False

    def subscribe(self, wake: Callable[[], object]) -> bool:
        """Have ``wake`` called at its turn, once and on any thread; False if its turn has come already."""
        with self._lock:
            self._wake = wake
            return not self.is_told

    def tell(self) -> None:
        """Its turn has come."""
        with self._lock:
            self.is_told = True
            wake = self._wake
        if wake is not None:
            wake()

    def __repr__(self) -> str:
        return f"<Ticket granted={self.is_granted}>"


class Wait:
    """Wait for the turn of ``ticket``, at most ``seconds`` (None: as long as it takes); the answer is None."""

    __slots__ = ("seconds", "ticket")

    def __init__(self, ticket: Ticket, seconds: float | None) -> None:
        self.ticket = ticket
        self.seconds = seconds

    def __repr__(self) -> str:
        return f"<Wait {self.ticket!r} seconds={self.seconds}>"


class Race:
    """Send ``first``; after ``delay`` seconds without an answer send what ``enter`` gives beside it, if anything.

    ``headers`` are those of the second. ``ended`` is told what came back, by number (0 or
    1), and says whether that is the answer; who is still on its way then is given up. The
    driver answers with that outcome, or with that of the last attempt if none was good, and
    writes its number to ``winner``. All three are called where the exchange is driven.
    """

    __slots__ = ("delay", "ended", "enter", "first", "headers", "winner")

    def __init__(
        self,
        first: Send,
        delay: float,
        headers: Headers,
        enter: Callable[[], Send | None],
        ended: Callable[[int, Outcome], bool],
    ) -> None:
        self.first = first
        self.delay = delay
        self.headers = headers
        self.enter = enter
        self.ended = ended
        self.winner = 0

    def __repr__(self) -> str:
        return f"<Race {self.first!r} delay={self.delay:.3f}s>"


class LocalReply:
    """The mesh answers in place of the upstream.

    ``details`` is Envoy's response code detail, ``error`` the client library's
    exception behind it. ``refusal`` is False for a redirect or a direct response: the
    configuration answers, nothing was refused.
    """

    __slots__ = ("body", "details", "error", "headers", "refusal", "status")

    def __init__(
        self,
        status: int,
        body: bytes,
        headers: tuple[tuple[str, str], ...],
        details: str,
        *,
        refusal: bool = True,
        error: BaseException | None = None,
    ) -> None:
        self.status = status
        self.body = body
        self.headers = headers
        self.details = details
        self.refusal = refusal
        self.error = error

    def mutate(self, change: Callable[[Headers], object]) -> None:
        """Change the header fields in place."""
        headers = Headers(self.headers)
        change(headers)
        self.headers = tuple(headers.items())

    def __repr__(self) -> str:
        return f"<LocalReply {self.status} {self.details}>"


Command: TypeAlias = Send | Backoff | Copy | Wait | Race
Reply: TypeAlias = Response | LocalReply
Steps: TypeAlias = Generator[Command, Outcome | None, Reply]
"""An exchange in progress: yields commands, takes outcomes, returns the reply."""
