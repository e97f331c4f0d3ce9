"""Requests and responses as the engine sees them: heads without bodies, nothing of any client library."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import quote, urlsplit

from multidict import CIMultiDict, CIMultiDictProxy, istr

__all__ = [
    "REDACTED",
    "WEBSOCKET_SCHEMES",
    "Failure",
    "FailureKind",
    "Headers",
    "HeadersView",
    "Outcome",
    "RequestHead",
    "Response",
    "Target",
    "grpc_code",
    "is_bare",
    "target_of",
]

REDACTED: Final = "[redacted]"
"""What is shown in place of a secret."""

Headers: TypeAlias = CIMultiDict[str]
"""Header fields: case-insensitive names, several values a name, order kept."""

HeadersView: TypeAlias = CIMultiDict[str] | CIMultiDictProxy[str]
"""Header fields that are only read."""


class RequestHead:
    """One request of the application, as it was made.

    ``authority`` is the value of the Host header (with a port only if the caller
    wrote one there), ``path`` the raw path with its query, ``port`` the port that
    was dialled, which selects the listener, ``host`` the name that was dialled.
    ``claims`` are those of a verified token, for claim routing at a gateway, ``source`` is
    the address of the client there; empty: this process. ``source_port`` is 0 where the address
    comes out of a header.
    """

    # Most requests leave these as they are.
    claims: dict[str, Any] | None = None
    source: str = ""
    source_port: int = 0
    _only: str | None = None  # the path without its query; not looked for yet

    def __init__(
        self,
        method: str,
        scheme: str,
        authority: str,
        path: str,
        headers: HeadersView,
        *,
        port: int,
        host: str | None = None,
    ) -> None:
        self.method = method
        self.scheme = scheme
        self.authority = authority
        self.path = path
        self.headers = headers
        self.port = port
        self.host = authority if host is None else host

    @property
    def path_only(self) -> str:
        """The path without query and fragment."""
        only = self._only
        if only is None:
            path = self.path
            only = path.partition("?")[0] if "?" in path else path
            if "#" in only:
                only = only.partition("#")[0]
            self._only = only
        return only

    @property
    def query(self) -> str:
        """The raw query without its question mark; empty if there is none."""
        if "?" not in self.path:
            return ""
        rest = self.path[len(self.path_only) :]
        return rest[1:].partition("#")[0] if rest.startswith("?") else ""

    def identity(self) -> Hashable:
        """What tells this caller from others besides the header fields: his TLS settings, where he has any."""
        return None

    def changed(self, path: str, headers: HeadersView) -> RequestHead:
        """The same request with another raw path and other fields; ``claims`` and ``source`` are not taken over."""
        return RequestHead(self.method, self.scheme, self.authority, path, headers, port=self.port, host=self.host)

    def change_path(self, path: str) -> None:
        """Put another raw path, with its query, in the place of what was asked for."""
        self.path = path
        self._only = None

    def values(self, name: str) -> Sequence[str]:
        """The values of a header field, ``name`` in lower case; empty if it is not there."""
        return self.headers.getall(name, ())

    def value(self, name: str) -> str:
        """The first value of a header field, ``name`` in lower case; empty if it is not there."""
        return self.headers.get(name, "")

    def __repr__(self) -> str:  # without the query: a token may stand there
        return f"<RequestHead {self.method} {self.scheme}://{self.authority}{self.path_only} port={self.port}>"


class FailureKind(Enum):
    """How an attempt ended without a response. The values are Envoy's reset reasons."""

    CONNECT_FAILURE = "remote connection failure"
    CONNECT_TIMEOUT = "connection timeout"
    TERMINATION = "connection termination"
    REMOTE_RESET = "remote reset"
    LOCAL_RESET = "local reset"
    REFUSED_STREAM = "remote refused stream reset"
    PROTOCOL_ERROR = "protocol error"
    TIMEOUT = "timeout"
    OVERFLOW = "overflow"


class Response:
    """The head of an upstream's response.

    ``handle`` is the client library's own response object; the engine passes it on
    untouched.
    """

    __slots__ = ("handle", "headers", "status")

    def __init__(self, status: int, headers: HeadersView, handle: Any = None) -> None:
        self.status = status
        self.headers = headers
        self.handle = handle

    def __repr__(self) -> str:
        return f"<Response {self.status}>"


class Failure:
    """An attempt that ended without a response.

    ``sent`` is whether a byte of the request may have reached the upstream,
    ``error`` the client library's exception (chained to what the caller sees),
    ``detail`` its transport text, for the body that Envoy would send.
    """

    __slots__ = ("detail", "error", "kind", "sent")

    def __init__(self, kind: FailureKind, *, sent: bool, error: BaseException | None = None, detail: str = "") -> None:
        self.kind = kind
        self.sent = sent
        self.error = error
        self.detail = detail

    def __repr__(self) -> str:
        return f"<Failure {self.kind.value} sent={self.sent}>"


_GRPC_CODE: Final = re.compile(r"\s*\+?0*([0-9]{1,19})\s*", re.ASCII)


def grpc_code(text: str) -> int | None:
    """What a ``grpc-status`` says, read as Envoy does: any spelling of a number; -1 for what is none, None if empty."""
    if not text:
        return None
    found = _GRPC_CODE.fullmatch(text)
    return int(found[1]) if found is not None else -1


Outcome: TypeAlias = Response | Failure
"""What came back from one attempt."""

WEBSOCKET_SCHEMES: Final = {"ws": "http", "wss": "https"}
"""What the handshakes of websockets are to everybody but browsers: requests of HTTP."""

_CONTENT_TYPE, _CONTENT_LENGTH = istr("content-type"), istr("content-length")


def is_bare(headers: HeadersView) -> bool:
    """Whether a head says nothing of a body."""
    return _CONTENT_TYPE not in headers and _CONTENT_LENGTH not in headers


NO_HEADERS: Final[Headers] = CIMultiDict()


class Target(NamedTuple):
    """Where a request for a URL goes, and what it asks for there."""

    scheme: str
    authority: str
    host: str
    port: int
    path: str


_UNSENDABLE: Final = re.compile(r"[^\x21-\x7e]+")


def target_of(url: str) -> Target:
    """What a client makes of a URL: all of it ASCII, without user and fragment. Raises ValueError."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        authority = parts.netloc.rpartition("@")[2]
        if host and not authority.isascii():
            host = host.encode("idna").decode("ascii")
            authority = host if port is None else f"{host}:{port}"
    except ValueError as error:
        raise ValueError(f"{url!r} is no URL: {error}") from None
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(f"{url!r} is not an absolute http:// or https:// URL")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    path = _UNSENDABLE.sub(lambda found: quote(found[0]), path)
    return Target(parts.scheme, authority, host, port or (443 if parts.scheme == "https" else 80), path)
