"""Asks an external authorizer over HTTP, as Envoy's ext_authz filter does (semantics 6.5).

The check is a request of its own: method and path of the original (behind
``pathPrefix``), its Host, the headers that the provider lists, and its body if asked
for. 200 is a yes; 5xx, no complete answer in time or no connection is a failure; every
other status is a no, with the authorizer's own answer for the client.

It is written and read in one place (:class:`_Check`, :func:`read_answer`); a thread and
an event loop each have a way to carry it. Both give up when the timeout is over, however
the time was spent.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import selectors
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote_from_bytes

from meshlib._engine.authz import AskAuthorizer, AuthorizerReply
from meshlib._engine.mutations import as_sent, header_text
from meshlib._inbound.deadlines import time_left
from meshlib._inbound.http_answers import Answer, BadAnswerError, Reading, read_answer
from meshlib._snapshot.clusters import Cluster, Endpoint
from meshlib._snapshot.inbound import address_text
from meshlib._snapshot.security import Authorizer
from meshlib._snapshot.snapshot import Snapshot

__all__ = ["ask_authorizer", "ask_authorizer_async"]

_UNUSABLE: Final = AuthorizerReply(answer="unusable")
_UNAVAILABLE: Final = AuthorizerReply(answer="unavailable")
_TOO_LARGE: Final = AuthorizerReply(
    answer="deny", status=413, body=b"Payload Too Large", details="request_payload_too_large"
)
_CHUNK: Final = 65536
_ALWAYS_SENT: Final = ("authorization",)  # as Envoy's HTTP client does
_ALWAYS_RETURNED: Final = ("www-authenticate", "location")
_PARTIAL: Final = "x-envoy-auth-partial-body"
_FRAMING: Final = frozenset(("content-length", "transfer-encoding", "keep-alive", "proxy-connection", "trailer"))
"""What is said of one message on one connection, and is not true of another."""
_OF_THE_CHECK: Final = _FRAMING | {"host", "expect", _PARTIAL}
_OF_THE_ANSWER: Final = _FRAMING | {"connection", "upgrade", "date", "server"}
_SENT_AS_IT_IS: Final = "".join(map(chr, range(0x21, 0x7F)))
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NO_VALUE: Final = re.compile(r"[\0\r\n]")
_UNIX: Final = "unix://"
_turns = itertools.count()


@dataclass(slots=True, kw_only=True)
class _Check:
    """A check that is ready to be sent. Times in seconds."""

    address: str
    port: int
    connect_timeout: float
    timeout: float
    written: bytes
    reading: Reading


def ask_authorizer(snapshot: Snapshot, ask: AskAuthorizer, body: bytes) -> AuthorizerReply:
    """The authorizer's answer; blocks for at most its timeout. ``body`` is the beginning of the request's."""
    check = _prepare(snapshot, ask, body)
    if isinstance(check, AuthorizerReply):
        return check
    try:
        return _reply(ask.authorizer, _carry(check))
    except (OSError, ValueError, BadAnswerError):  # ValueError: a name that is none in DNS
        return _UNAVAILABLE


async def ask_authorizer_async(snapshot: Snapshot, ask: AskAuthorizer, body: bytes) -> AuthorizerReply:
    """As :func:`ask_authorizer`, without blocking the event loop or a thread."""
    check = _prepare(snapshot, ask, body)
    if isinstance(check, AuthorizerReply):
        return check
    try:
        async with asyncio.timeout(check.timeout):
            return _reply(ask.authorizer, await _carry_async(check))
    except (OSError, ValueError, BadAnswerError):  # ValueError: a name that is none in DNS
        return _UNAVAILABLE


# -- there and back ---------------------------------------------------------------------------------------


def _carry(check: _Check) -> Answer:
    end = time.monotonic() + check.timeout
    with _connected(check) as connection, selectors.DefaultSelector() as selector:
        connection.settimeout(0)
        selector.register(connection, selectors.EVENT_READ | selectors.EVENT_WRITE)
        unsent = memoryview(check.written)
        next(check.reading)
        while True:
            for _, events in selector.select(time_left(end)):
                if events & selectors.EVENT_READ and (answer := _read_on(connection, check.reading)) is not None:
                    return answer  # who says no early may read no further
                if events & selectors.EVENT_WRITE:
                    unsent = _sent(connection, unsent)
                    if not unsent:
                        selector.modify(connection, selectors.EVENT_READ)


def _read_on(connection: socket.socket, reading: Reading) -> Answer | None:
    """The answer, if it is complete now."""
    try:
        reading.send(connection.recv(_CHUNK))
    except BlockingIOError:
        return None
    except StopIteration as done:
        answer: Answer = done.value
        return answer
    return None


def _sent(connection: socket.socket, unsent: memoryview) -> memoryview:
    """What is left to send."""
    try:
        return unsent[connection.send(unsent) :]
    except BlockingIOError:
        return unsent
    except ConnectionError:
        return unsent[:0]  # there may be an answer nevertheless


def _connected(check: _Check) -> socket.socket:
    if not check.address.startswith(_UNIX):
        return socket.create_connection((check.address, check.port), check.connect_timeout)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(check.connect_timeout)
        connection.connect(check.address.removeprefix(_UNIX))
    except BaseException:
        connection.close()
        raise
    return connection


async def _carry_async(check: _Check) -> Answer:
    async with asyncio.timeout(check.connect_timeout):
        if check.address.startswith(_UNIX):
            reader, writer = await asyncio.open_unix_connection(check.address.removeprefix(_UNIX))
        else:
            reader, writer = await asyncio.open_connection(check.address, check.port)
    try:
        writer.write(check.written)  # and not waited for: who says no early may read no further
        next(check.reading)
        while True:
            data = await reader.read(_CHUNK)
            try:
                check.reading.send(data)
            except StopIteration as done:
                answer: Answer = done.value
                return answer
    finally:
        writer.transport.abort()


# -- what is asked ----------------------------------------------------------------------------------------


def _prepare(snapshot: Snapshot, ask: AskAuthorizer, body: bytes) -> _Check | AuthorizerReply:
    """The check, or the answer where there is nothing to ask."""
    authorizer = ask.authorizer
    if not authorizer.is_usable:
        return _UNUSABLE
    cluster = snapshot.clusters.get(f"outbound|{authorizer.port}||{authorizer.host}")
    endpoint = None if cluster is None else _endpoint(cluster)
    if cluster is None or endpoint is None:
        return _UNAVAILABLE
    is_partial = len(body) > authorizer.body_limit > 0
    if is_partial:
        if not authorizer.allows_partial_body:
            return _TOO_LARGE
        body = body[: authorizer.body_limit]
    written = _write(ask, body, is_partial=is_partial)
    if written is None:
        # Nobody was asked, and the client has seen to it: that is no outage, after which some let everybody in.
        return _UNUSABLE
    return _Check(
        address=endpoint.address,
        port=endpoint.port,
        connect_timeout=min(cluster.policy.connection_pool.connect_timeout, authorizer.timeout),
        timeout=authorizer.timeout,
        written=written,
        reading=read_answer(ask.request.head.method),
    )


def _endpoint(cluster: Cluster) -> Endpoint | None:
    """One of the healthy endpoints that are first in line, each in turn."""
    healthy = [endpoint for endpoint in cluster.endpoints if endpoint.healthy]
    if not healthy:
        return None
    first = min(endpoint.priority for endpoint in healthy)
    found = [endpoint for endpoint in healthy if endpoint.priority == first]
    return found[next(_turns) % len(found)]


def _write(ask: AskAuthorizer, body: bytes, *, is_partial: bool) -> bytes | None:
    """The check as it is sent; None if the request cannot be told in HTTP/1."""
    authorizer, head = ask.authorizer, ask.request.head
    headers = _check_headers(ask)
    if body:
        headers[_PARTIAL] = "true" if is_partial else "false"
    headers["content-length"] = str(len(body))
    fields = [("host", head.authority), *headers.items()]
    if _TOKEN.fullmatch(head.method) is None:
        return None
    if any(_TOKEN.fullmatch(name) is None or _NO_VALUE.search(value) is not None for name, value in fields):
        return None
    path = quote_from_bytes(_bytes(authorizer.path_prefix + head.path), _SENT_AS_IT_IS)
    lines = [f"{head.method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields), "", ""]
    return _bytes("\r\n".join(lines)) + body


def _bytes(text: str) -> bytes:
    """As it came."""
    return text.encode("utf-8", "surrogateescape")


def _check_headers(ask: AskAuthorizer) -> dict[str, str]:
    """The listed ones, several of a name as one, and in place of them those that the provider adds."""
    authorizer, head = ask.authorizer, ask.request.head
    headers, wanted = head.headers, (*_ALWAYS_SENT, *authorizer.request_headers)
    is_upgrade = "upgrade" in headers
    sent: dict[str, str] = {}
    for written, value in headers.items():
        name = written.lower()
        if name in _OF_THE_CHECK or not _listed(name, wanted) or (name == "connection" and not is_upgrade):
            continue
        sent[name] = f"{sent[name]},{value}" if name in sent else value
    if authorizer.added_headers:
        sent.update(_added_headers(ask))
    return sent


def _added_headers(ask: AskAuthorizer) -> Iterator[tuple[str, str]]:
    head, remote = ask.request.head, ask.request.remote
    known = as_sent(head, head.headers, head.authority, head.path)
    # Never empty: that would leave what the client says.
    known.source = "-" if remote is None else address_text(remote)
    for name, added in ask.authorizer.added_headers.items():
        text = header_text(added, known, head.headers, time.time())
        if text and name not in _OF_THE_CHECK:
            yield name, text


def _listed(name: str, patterns: tuple[str, ...]) -> bool:
    for pattern in patterns:
        if pattern.startswith("*"):
            if name.endswith(pattern[1:]):
                return True
        elif pattern.endswith("*"):
            if name.startswith(pattern[:-1]):
                return True
        elif name == pattern:
            return True
    return False


# -- what is made of the answer ---------------------------------------------------------------------------


def _reply(authorizer: Authorizer, answer: Answer) -> AuthorizerReply:
    status = answer.status
    if 500 <= status < 600:
        return _UNAVAILABLE
    headers = [pair for pair in answer.headers if pair[0] not in _OF_THE_ANSWER]
    if status == 200:
        kept = tuple(pair for pair in headers if _listed(pair[0], authorizer.upstream_headers))
        returned = tuple(pair for pair in headers if _listed(pair[0], authorizer.allow_headers))
        return AuthorizerReply(answer="allow", headers=kept, response_headers=returned)
    if authorizer.deny_headers:
        wanted = (*_ALWAYS_RETURNED, *authorizer.deny_headers)
        headers = [pair for pair in headers if _listed(pair[0], wanted)]
    # A number that is no status of an answer says no, too, but servers cannot hand it on.
    return AuthorizerReply(
        answer="deny", status=status if 200 <= status < 600 else 403, headers=tuple(headers), body=answer.body
    )
