"""The admin interface for WSGI servers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from threading import Event
from time import monotonic
from typing import Any, TypeAlias

from meshlib.admin.app import AdminApp
from meshlib.admin.asgi import HEARTBEAT, SECURITY_HEADERS, STILL_HERE, STREAM_SECONDS
from meshlib.admin.feed import Listener
from meshlib.admin.messages import BODY_LIMIT, Answer, Ask, problem

__all__ = ["admin_wsgi"]

Environ: TypeAlias = dict[str, Any]
StartResponse: TypeAlias = Callable[..., Any]
WsgiApp: TypeAlias = Callable[[Environ, StartResponse], Iterable[bytes]]


def admin_wsgi(app: AdminApp) -> WsgiApp:
    """``app`` for a WSGI server, to mount as any other application.

    An event stream holds a worker thread for as long as it is open, at most 25 s at a time.
    """

    def application(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        ask = _ask(environ)
        if ask is None:
            return _send(start_response, problem(f"the body is longer than {BODY_LIMIT} bytes", 413))
        if ask.path == "/events" and ask.method == "GET":
            return _stream(app, ask, start_response)
        return _send(start_response, app.answer(ask), is_head=ask.method == "HEAD")

    return application


def _ask(environ: Environ) -> Ask | None:
    """The request; None if its body is too long."""
    headers = {name[5:].replace("_", "-").lower(): value for name, value in environ.items() if name.startswith("HTTP_")}
    headers["content-type"] = environ.get("CONTENT_TYPE") or ""
    text = environ.get("CONTENT_LENGTH") or "0"
    length = int(text) if text.isdigit() else BODY_LIMIT + 1
    if length > BODY_LIMIT:
        return None
    return Ask(
        method=environ["REQUEST_METHOD"],
        path=environ.get("PATH_INFO", ""),
        headers=headers,
        query=Ask.parse_query(environ.get("QUERY_STRING", "")),
        client=environ.get("REMOTE_ADDR", ""),
        mount=environ.get("SCRIPT_NAME", ""),
        body=environ["wsgi.input"].read(length) if length else b"",
    )


def _start(start_response: StartResponse, status: int, media_type: str, headers: tuple[tuple[str, str], ...]) -> None:
    given = {"Content-Type": media_type, **dict(SECURITY_HEADERS), **dict(headers)}
    start_response(f"{status} {HTTPStatus(status).phrase}", [*given.items()])


def _send(start_response: StartResponse, answer: Answer, *, is_head: bool = False) -> Iterable[bytes]:
    _start(
        start_response,
        answer.status,
        answer.media_type,
        (*answer.headers, ("Content-Length", str(len(answer.body)))),
    )
    return [b"" if is_head else answer.body]


def _stream(app: AdminApp, ask: Ask, start_response: StartResponse) -> Iterable[bytes]:
    news = Event()
    opened = app.open_stream(ask, news.set)
    if isinstance(opened, Answer):
        return _send(start_response, opened)
    _start(start_response, 200, "text/event-stream; charset=utf-8", ())
    return _Messages(app, opened, news)


class _Messages:
    """The messages of a stream; closed by the server."""

    def __init__(self, app: AdminApp, listener: Listener, news: Event) -> None:
        self._app = app
        self._listener = listener
        self._news = news

    def __iter__(self) -> Iterator[bytes]:
        yield b"retry: 1000\n\n"
        end = monotonic() + STREAM_SECONDS
        while (left := end - monotonic()) > 0:
            self._news.clear()
            body = b"".join(self._listener.take())
            if body:
                yield body
            if not self._news.wait(min(left, HEARTBEAT)):
                yield STILL_HERE

    def close(self) -> None:
        """The server has sent the last message, or nobody reads it any more."""
        self._app.feed.close(self._listener)
