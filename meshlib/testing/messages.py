"""What scripted upstreams get and give: requests as they arrive, answers, ways to fail."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from meshlib._http import Failure, FailureKind, Headers
from meshlib.testing.transport import Answer

if TYPE_CHECKING:
    from meshlib.testing.service import Service

__all__ = [
    "CALLER",
    "FAILURES",
    "Body",
    "Break",
    "Handler",
    "Reaction",
    "UpstreamRequest",
    "Way",
    "answer_of",
    "content_of",
    "may_have_body",
]

CALLER: Final = "192.0.2.254"
"""Where callers are: in the block for documentation, which no policy names, since nobody calls from anywhere."""

Way: TypeAlias = Literal["connect", "unreachable", "reset", "hang", "tls", "protocol", "refused"]
"""How an upstream fails.

``connect``: nothing listens. ``unreachable``: the connection is never made (the connect
timeout ends it). ``reset``: the connection breaks after the request was sent. ``hang``: no
answer, ever. ``tls``: the handshake fails. ``protocol``: the answer is not HTTP.
``refused``: the stream is refused before it was processed.
"""

FAILURES: Mapping[Way, FailureKind] = {
    "connect": FailureKind.CONNECT_FAILURE,
    "unreachable": FailureKind.CONNECT_TIMEOUT,
    "reset": FailureKind.TERMINATION,
    "hang": FailureKind.TIMEOUT,
    "tls": FailureKind.CONNECT_FAILURE,
    "protocol": FailureKind.PROTOCOL_ERROR,
    "refused": FailureKind.REFUSED_STREAM,
}


@dataclass(frozen=True, slots=True)
class Break:
    """An upstream's reaction that is no answer; ``detail`` says more about a connection that was not made."""

    way: Way
    detail: str = ""

    def failure(self) -> Failure:
        """As the engine gets it."""
        never_sent = self.way in ("connect", "unreachable", "tls")
        detail = self.detail or ("TLS handshake failed" if self.way == "tls" else "")
        return Failure(FAILURES[self.way], sent=not never_sent, detail=detail)


class UpstreamRequest:
    """A request as it arrives at a scripted upstream.

    ``host`` is the Host header, ``endpoint`` (``address:port``) where it arrived,
    ``principal`` the caller's identity (``cluster.local/ns/shop/sa/web``, empty outside of
    mutual TLS).
    """

    __slots__ = ("body", "endpoint", "headers", "host", "method", "path", "principal", "serving")
    serving: Callable[[], Service]

    def __init__(self, method: str, path: str, host: str, headers: Headers, body: bytes = b"") -> None:
        self.method = method
        self.path = path
        self.host = host
        self.headers = headers
        self.body = body
        self.endpoint = ""
        self.principal = ""

    @property
    def service(self) -> Service:
        """The workload that serves the request: calls made with it go by the configuration as that one sees it."""
        return self.serving()

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    def __repr__(self) -> str:
        return f"<UpstreamRequest {self.method} {self.path} host={self.host} at {self.endpoint}>"


Reaction: TypeAlias = "Answer | int | str | bytes | Mapping[str, Any] | Break | FailureKind"
"""What a handler may return: an answer, a status, a body, a JSON body, or a failure."""

Handler: TypeAlias = "Callable[[UpstreamRequest], Reaction | Awaitable[Reaction]]"


Body: TypeAlias = "bytes | str | Mapping[str, Any] | Sequence[Any]"
"""The body of an answer: what is neither bytes nor text is sent as JSON."""


def content_of(body: Body) -> tuple[bytes, str]:
    """A body's bytes and their content type; none for bytes."""
    if isinstance(body, bytes):
        return body, ""
    if isinstance(body, str):
        return body.encode(), "text/plain; charset=utf-8"
    return json.dumps(body).encode(), "application/json"


def may_have_body(method: str, status: int) -> bool:
    """Whether an answer has a body in HTTP, whatever the script says."""
    return method != "HEAD" and status >= 200 and status not in (204, 304)


def answer_of(reaction: Reaction) -> Answer | Break:
    """The reaction in full."""
    match reaction:
        case Answer() | Break():
            return reaction
        case int():
            return Answer(status=reaction)
        case str():
            return Answer(body=reaction.encode(), headers=(("content-type", "text/plain; charset=utf-8"),))
        case bytes():
            return Answer(body=reaction)
        case FailureKind():
            return Break(next(way for way, kind in FAILURES.items() if kind is reaction))
        case Mapping():
            return Answer(body=json.dumps(reaction).encode(), headers=(("content-type", "application/json"),))
        case _:
            raise TypeError(f"an upstream cannot answer with {type(reaction).__name__}; return an Answer or a status")
