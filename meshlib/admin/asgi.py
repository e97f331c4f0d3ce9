"""HTTP as ASGI has it, for the admin interface of a process and for that of several: guard, bodies, event streams."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final, TypeAlias

from meshlib.admin.feed import Feed, Listener, wanted_kinds
from meshlib.admin.guard import Guard
from meshlib.admin.messages import BODY_LIMIT, Answer, Ask, BadAskError, problem

__all__ = ["HEARTBEAT", "SECURITY_HEADERS", "STILL_HERE", "STREAM_SECONDS", "Interface", "Scope"]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types"
)

SECURITY_HEADERS: Final = (
    ("content-security-policy", _POLICY),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
    ("cache-control", "no-store"),
)
"""Sent with every answer."""

STREAM_SECONDS: Final = 25.0
"""An event stream ends by itself after so long, so that no server waits for it when it shuts down; clients take it
up again where it ended."""
HEARTBEAT: Final = 10.0
STILL_HERE: Final = b": still here\n\n"


class Interface(ABC):
    """What answers requests to an admin interface, after ``guard`` has looked at them. ``feed`` has its events."""

    def __init__(self, guard: Guard, feed: Feed) -> None:
        self._guard = guard
        self.feed = feed

    @abstractmethod
    async def reply(self, ask: Ask) -> Answer:
        """The answer to a request that the guard lets pass, for anything but ``/events``. Raises BadAskError."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """What is needed only while requests are answered; here nothing."""
        yield

    def refusal(self, ask: Ask) -> Answer | None:
        """The answer to who may not ask."""
        reason = self._guard.refusal(ask)
        return problem(reason, 403) if reason else None

    def open_stream(self, ask: Ask, wake: Callable[[], object]) -> Listener | Answer:
        """The stream that ``/events`` asks for, to be closed at ``feed``; the answer to who does not get one."""
        refused = self.refusal(ask)
        if refused is not None:
            return refused
        try:
            return self.feed.open(wake, wanted_kinds(ask.query.get("kinds", "")), _last_number(ask))
        except BadAskError as error:
            return problem(str(error), error.status)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request or lifespan, as ASGI has it."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] != "http":
            raise ValueError(f"the admin interface speaks HTTP, not {scope['type']}")
        ask = _ask(scope, receive)
        if ask.path == "/events" and ask.method == "GET":
            await self._stream(ask, receive, send)
        else:
            await _send(send, await self._answer(ask, receive), is_head=ask.method == "HEAD")

    async def _answer(self, ask: Ask, receive: Receive) -> Answer:
        refused = self.refusal(ask)
        if refused is not None:
            return refused
        if ask.method == "POST":
            body = await _read(receive)
            if body is None:
                return problem(f"the body is longer than {BODY_LIMIT} bytes", 413)
            ask = replace(ask, body=body)
        try:
            return await self.reply(ask)
        except BadAskError as error:
            return problem(str(error), error.status)

    async def _stream(self, ask: Ask, receive: Receive, send: Send) -> None:
        loop, news = asyncio.get_running_loop(), asyncio.Event()
        opened = self.open_stream(ask, lambda: loop.call_soon_threadsafe(news.set))
        if isinstance(opened, Answer):
            await _send(send, opened)
            return
        gone = asyncio.ensure_future(_until_gone(receive))
        try:
            await send(_start(200, "text/event-stream; charset=utf-8"))
            await send(_part(b"retry: 1000\n\n"))
            await _pass_on(opened, news, gone, send)
            await send({"type": "http.response.body", "body": b""})
        except OSError:
            pass  # the reader went away in the middle of a message
        finally:
            self.feed.close(opened)
            gone.cancel()


def _last_number(ask: Ask) -> int | None:
    """The last event that a client has seen (``Last-Event-ID``)."""
    text = ask.headers.get("last-event-id", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def _ask(scope: Scope, receive: Receive) -> Ask:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    path, root = scope["path"], scope.get("root_path", "")
    if root and path.startswith(root):
        path = path[len(root) :]
    # The address of the connection itself: what stands in the scope may have been taken from a header.
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    peer = None if transport is None else transport.get_extra_info("peername")
    client = peer if isinstance(peer, tuple) else scope.get("client")
    return Ask(
        method=scope["method"],
        path=path,
        headers=headers,
        query=Ask.parse_query(scope.get("query_string", b"").decode("latin-1")),
        client=str(client[0]) if client else "",
        mount=root,
    )


async def _read(receive: Receive) -> bytes | None:
    """The body; None if it is too long."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        if size > BODY_LIMIT:
            return None
        parts.append(part)
        if message["type"] != "http.request" or not message.get("more_body", False):
            return b"".join(parts)


def _part(body: bytes) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": True}


async def _pass_on(listener: Listener, news: asyncio.Event, gone: asyncio.Future[None], send: Send) -> None:
    """Send what comes until the client is gone or the stream has been open long enough."""
    loop = asyncio.get_running_loop()
    end = loop.time() + STREAM_SECONDS
    while not gone.done() and (left := end - loop.time()) > 0:
        news.clear()  # before the queue is read: what comes meanwhile wakes the next turn
        body = b"".join(listener.take())
        if body:
            await send(_part(body))
        woken = asyncio.ensure_future(news.wait())
        either: set[asyncio.Future[Any]] = {gone, woken}
        await asyncio.wait(either, timeout=min(left, HEARTBEAT), return_when=asyncio.FIRST_COMPLETED)
        if not woken.done():
            woken.cancel()
            await send(_part(STILL_HERE))


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _live(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _start(status: int, media_type: str, headers: tuple[tuple[str, str], ...] = ()) -> Message:
    given = {"content-type": media_type, **dict(SECURITY_HEADERS), **dict(headers)}
    return {
        "type": "http.response.start",
        "status": status,
        "headers": [(name.encode(), value.encode("latin-1", "replace")) for name, value in given.items()],
    }


async def _send(send: Send, answer: Answer, *, is_head: bool = False) -> None:
    length = ("content-length", str(len(answer.body)))
    await send(_start(answer.status, answer.media_type, (*answer.headers, length)))
    await send({"type": "http.response.body", "body": b"" if is_head else answer.body})
