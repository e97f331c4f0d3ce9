"""The last good responses of a host, to stand in for failures (ClientPolicy ``fallback.lastGood``).

Rules:

* Kept are 2xx responses to GET and HEAD, once their bodies have come whole: up to 1 MiB
  each, 1,024 of them and 32 MiB for a host; the oldest goes first. None with
  ``Set-Cookie``, ``Cache-Control: no-store`` or ``Vary: *``, and none to a request with ``no-store``.
* A response stands in only for a request that is the same in all its header fields, but
  for those that differ each time and say nothing of the caller (request id, trace context,
  Envoy's own). So whatever tells callers apart, a token, a cookie or a header of your own,
  keeps their responses apart. Of these fields only a digest is kept.
* Claims of a verified token and the client's address at a gateway count as well, and what
  an adapter knows of the caller besides (``RequestHead.identity``: his TLS settings).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from hashlib import sha256
from threading import Lock
from typing import TYPE_CHECKING, Final, TypeAlias

from meshlib._engine.commands import LocalReply, Reply
from meshlib._http import HeadersView, RequestHead, Response

if TYPE_CHECKING:
    from meshlib._clock import Clock

__all__ = ["GoodResponses", "Key", "Tape", "Taped", "key_of"]

_LARGEST: Final = 2**20
_MOST: Final = 1024
_MOST_BYTES: Final = 2**25
_METHODS: Final = frozenset(("GET", "HEAD"))
_EACH_TIME: Final = frozenset(
    "b3 date grpc-trace-bin sw8 traceparent tracestate uber-trace-id x-amzn-trace-id x-client-trace-id "
    "x-cloud-trace-context x-forwarded-proto x-ot-span-context x-request-id".split()
)
_PREFIXES: Final = ("x-b3-", "x-datadog-", "x-envoy-")
# Of one connection or one delivery; the length is written anew.
_NOT_KEPT: Final = frozenset(
    "age connection content-length keep-alive proxy-authenticate proxy-connection te trailer transfer-encoding "
    "upgrade".split()
)

Fields: TypeAlias = tuple[tuple[str, str], ...]
Key: TypeAlias = tuple[bytes, Hashable]


def key_of(request: RequestHead, headers: HeadersView) -> Key | None:
    """What a request has in common with those that its response may stand in for; None: it is never kept."""
    if request.method not in _METHODS or "upgrade" in headers or _forbids(headers):
        return None
    digest = sha256()
    claims = None if request.claims is None else sorted(request.claims.items())
    where = (request.method, request.scheme, request.authority, request.host, request.port, request.path)
    digest.update(repr((where, request.source, claims)).encode())
    for name, value in sorted((name.lower(), value) for name, value in headers.items()):
        if name not in _EACH_TIME and not name.startswith(_PREFIXES):
            digest.update(repr((name, value)).encode("utf-8", "surrogatepass"))
    return digest.digest(), request.identity()


def _forbids(headers: HeadersView) -> bool:
    return any("no-store" in value.lower() for value in headers.getall("cache-control", ()))


def _may_be_kept(response: Response) -> bool:
    headers = response.headers
    if not 200 <= response.status < 300 or "set-cookie" in headers or _forbids(headers):
        return False
    return "*" not in headers.get("vary", "")


class Kept:
    """One good response; ``time`` is the clock's when its head came."""

    __slots__ = ("body", "headers", "status", "time")

    def __init__(self, status: int, headers: Fields, body: bytes, time: float) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.time = time

    @property
    def size(self) -> int:
        """What it takes, more or less."""
        return len(self.body) + sum(len(name) + len(value) for name, value in self.headers)

    def __repr__(self) -> str:
        return f"<Kept {self.status} bytes={len(self.body)}>"


class GoodResponses:
    """Those of one host, bounded; shared by all threads. ``given`` counts how often one stood in."""

    __slots__ = ("_kept", "_lock", "_size", "given")

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: OrderedDict[Key, Kept] = OrderedDict()
        self._size = 0
        self.given = 0

    def keep(self, key: Key, response: Kept) -> None:
        """Remember a response in place of the one before."""
        with self._lock:
            before = self._kept.pop(key, None)
            if before is not None:
                self._size -= before.size
            self._kept[key] = response
            self._size += response.size
            while len(self._kept) > _MOST or self._size > _MOST_BYTES:
                self._size -= self._kept.popitem(last=False)[1].size

    def find(self, key: Key, now: float, max_age: float) -> LocalReply | None:
        """The reply in place of a failure, if there is one that is not too old."""
        with self._lock:
            found = self._kept.get(key)
            if found is None or now - found.time > max_age:
                return None
            self.given += 1
        headers = (*found.headers, ("age", str(int(now - found.time))))
        return LocalReply(found.status, found.body, headers, "client_policy_last_good", refusal=False)

    def taped(self, key: Key, reply: Reply, clock: Clock) -> Reply:
        """The reply; one whose body is to be taped if it may be kept."""
        if not isinstance(reply, Response) or not _may_be_kept(reply):
            return reply
        return Taped(reply, Tape(self, key, reply, clock.monotonic()))

    def reset_lock(self) -> None:
        """In a forked child: a new lock."""
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"<GoodResponses kept={len(self._kept)} bytes={self._size} given={self.given}>"


class Tape:
    """Takes down the body of a response while the caller reads it."""

    __slots__ = ("_key", "_memory", "_parts", "_response", "_size", "_time")
    largest: Final = _LARGEST

    def __init__(self, memory: GoodResponses, key: Key, response: Response, time: float) -> None:
        self._memory: GoodResponses | None = memory
        self._key = key
        # As the upstream sent them: what the route changes in a response is changed when it is given again.
        self._response = (response.status, tuple(response.headers.items()))
        self._parts: list[bytes] = []
        self._size = 0
        self._time = time

    def feed(self, part: bytes) -> None:
        """A part has come; a body that is too large is let go of."""
        self._size += len(part)
        if self._size > self.largest:
            self.drop()
        elif self._memory is not None:
            self._parts.append(bytes(part))

    def drop(self) -> None:
        """It will not be kept."""
        self._memory = None
        self._parts.clear()

    def keep(self, *, is_decoded: bool = False) -> None:
        """The body is whole. ``is_decoded``: the client has undone its content encoding."""
        memory, self._memory = self._memory, None
        if memory is None:
            return
        body = b"".join(self._parts)
        self._parts.clear()
        status, fields = self._response
        length = [(name, value) for name, value in fields if name.lower() == "content-length"]
        if body or not length:  # that of an answer to HEAD stays
            length = [("content-length", str(len(body)))]
        left_out = _NOT_KEPT | {"content-encoding"} if is_decoded else _NOT_KEPT
        headers = (*(one for one in fields if one[0].lower() not in left_out), *length)
        memory.keep(self._key, Kept(status, headers, body, self._time))

    def __repr__(self) -> str:
        return f"<Tape bytes={self._size} kept={self._memory is not None}>"


class Taped(Response):
    """A response whose body, as it is read, goes to ``tape`` too."""

    __slots__ = ("tape",)

    def __init__(self, response: Response, tape: Tape) -> None:
        super().__init__(response.status, response.headers, response.handle)
        self.tape = tape
