"""Real applications as upstreams: ASGI and WSGI, called without a server."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import io
import logging
import sys
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from contextvars import Context
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias
from urllib.parse import unquote, unquote_to_bytes

from meshlib.testing.messages import CALLER, UpstreamRequest
from meshlib.testing.transport import Answer

if TYPE_CHECKING:
    from meshlib.testing.blocking import Blocking

__all__ = ["App", "AsgiApp", "WsgiApp", "mounted"]

_log = logging.getLogger("meshlib.testing")
_ERROR = Answer(status=500, headers=(("content-type", "text/plain"),), body=b"Internal Server Error")
Message: TypeAlias = MutableMapping[str, Any]


class App(Protocol):
    """An application that answers in place of a script."""

    async def answer(self, request: UpstreamRequest) -> Answer:
        """Its answer to a request."""
        ...

    async def shut_down(self) -> None:
        """No more requests come."""
        ...


def mounted(blocking: Blocking, application: Any) -> App:
    """The application as an upstream. Raises TypeError for what is neither ASGI nor WSGI."""
    if not callable(application):
        raise TypeError(f"{application!r} is neither an ASGI nor a WSGI application")
    app: Any = application
    if inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(type(app).__call__):
        return AsgiApp(blocking, app)
    return WsgiApp(blocking, app)


class AsgiApp:
    """FastAPI, Starlette and their kin; the lifespan begins with the first request."""

    def __init__(self, blocking: Blocking, application: Callable[..., Awaitable[None]]) -> None:
        self._blocking = blocking
        self._application = application
        self._lifespan: _Lifespan | None = None

    async def answer(self, request: UpstreamRequest) -> Answer:
        """In a context of its own, as in another process."""
        if self._lifespan is None:
            self._lifespan = _Lifespan(self._application)
            await self._lifespan.start()
        self._blocking.watch_threads()
        return await asyncio.get_running_loop().create_task(self._answer(request), context=Context())

    async def _answer(self, request: UpstreamRequest) -> Answer:
        exchange = _AsgiExchange(request, self._lifespan.state if self._lifespan is not None else {})
        try:
            await self._application(exchange.scope, exchange.receive, exchange.send)
        except Exception:  # noqa: BLE001 - a server answers 500, whatever it is
            _log.exception("the application at %s raised", request.endpoint)
            return _ERROR
        return exchange.answer()

    async def shut_down(self) -> None:
        """End the lifespan."""
        if self._lifespan is not None:
            await self._lifespan.stop()
            self._lifespan = None


class _AsgiExchange:
    """One request to an ASGI application."""

    def __init__(self, request: UpstreamRequest, state: dict[str, Any]) -> None:
        path, _, query = request.path.partition("?")
        self._body: bytes | None = request.body
        self._start: Message = {"status": 500, "headers": []}
        self._parts: list[bytes] = []
        self._over = asyncio.Event()
        self.scope: dict[str, Any] = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1",
            "method": request.method, "scheme": "http", "path": unquote(path), "raw_path": path.encode("latin-1"),
            "query_string": query.encode("latin-1"), "root_path": "", "client": (CALLER, 40000),
            "server": _place(request), "state": dict(state), "extensions": {},
            "headers": [
                (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in _headers(request)
            ],
        }  # fmt: skip
        if request.principal:
            chain = [certificate(f"spiffe://{request.principal}")]
            self.scope["extensions"]["tls"] = {"client_cert_chain": chain, "tls_version": 0x0304}

    async def receive(self) -> Message:
        body, self._body = self._body, None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        await self._over.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
        elif message["type"] == "http.response.body":
            self._parts.append(bytes(message.get("body", b"")))
            if not message.get("more_body", False):
                self._over.set()

    def answer(self) -> Answer:
        """What it has sent."""
        headers = tuple(
            (bytes(name).decode("latin-1"), bytes(value).decode("latin-1")) for name, value in self._start["headers"]
        )
        return Answer(status=self._start["status"], headers=headers, body=b"".join(self._parts))


class _Lifespan:
    """The lifespan protocol; an application that does not speak it is none the worse."""

    def __init__(self, application: Callable[..., Awaitable[None]]) -> None:
        self._application = application
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._outbox: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self.state: dict[str, Any] = {}

    async def start(self) -> None:
        """Begin; raises RuntimeError if the application says that it cannot start."""
        self._task = asyncio.get_running_loop().create_task(self._run(), context=Context())
        await self._inbox.put({"type": "lifespan.startup"})
        reply = await self._outbox.get()
        if reply["type"] == "lifespan.startup.failed":
            raise RuntimeError(f"the application did not start: {reply.get('message', '')}")

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        try:
            await self._application(scope, self._inbox.get, self._outbox.put)
        except Exception as error:  # noqa: BLE001 - an application that knows no lifespan raises, and is served without
            _log.debug("no lifespan: %s", error)
        await self._outbox.put({"type": "over"})

    async def stop(self) -> None:
        """End."""
        await self._inbox.put({"type": "lifespan.shutdown"})
        if self._task is not None:
            await self._task


class WsgiApp:
    """Flask, Django and their kin, in a thread that takes part in virtual time."""

    def __init__(self, blocking: Blocking, application: Callable[..., Iterable[bytes]]) -> None:
        self._blocking = blocking
        self._application = application

    async def answer(self, request: UpstreamRequest) -> Answer:
        """In a thread and a context of its own."""
        work = self._blocking.run(partial(self._answer, request))
        return await asyncio.get_running_loop().create_task(work, context=Context())

    def _answer(self, request: UpstreamRequest) -> Answer:
        started: list[Any] = ["500 Internal Server Error", []]
        parts: list[bytes] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[..., None]:
            started[:] = [status, headers]
            return parts.append

        try:
            body = self._application(_environ(request), start_response)
            try:
                parts += body
            finally:
                close = getattr(body, "close", None)
                if close is not None:
                    close()
        except Exception:  # noqa: BLE001 - a server answers 500, whatever it is
            _log.exception("the application at %s raised", request.endpoint)
            return _ERROR
        return Answer(status=int(started[0][:3]), headers=tuple(started[1]), body=b"".join(parts))

    async def shut_down(self) -> None:
        """There is nothing to end."""


def _environ(request: UpstreamRequest) -> dict[str, Any]:
    path, _, query = request.path.partition("?")
    address, port = _place(request)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method, "SCRIPT_NAME": "", "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query, "RAW_URI": request.path, "SERVER_NAME": address, "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": "HTTP/1.1", "REMOTE_ADDR": CALLER, "CONTENT_LENGTH": str(len(request.body)),
        "wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.input": io.BytesIO(request.body),
        "wsgi.errors": sys.stderr, "wsgi.multithread": True, "wsgi.multiprocess": False, "wsgi.run_once": False,
    }  # fmt: skip
    for name, value in _headers(request):
        key = name.upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        environ[key] = f"{environ[key]},{value}" if key.startswith("HTTP_") and key in environ else value
    if request.principal:  # as werkzeug tells of a verified certificate
        environ["SSL_CLIENT_CERT"] = certificate(f"spiffe://{request.principal}")
        environ["werkzeug.socket"] = None
    return environ


def _place(request: UpstreamRequest) -> tuple[str, int]:
    """The address and the port where it arrived."""
    address, _, port = request.endpoint.rpartition(":")
    return address.strip("[]"), int(port)


def _headers(request: UpstreamRequest) -> list[tuple[str, str]]:
    fields = [(name, value) for name, value in request.headers.items() if name.lower() != "host"]
    fields.insert(0, ("host", request.host))
    if request.body and "content-length" not in request.headers and "transfer-encoding" not in request.headers:
        fields.append(("content-length", str(len(request.body))))
    return fields


@lru_cache(maxsize=256)
def certificate(identity: str) -> str:
    """A certificate with this SPIFFE id, in PEM: what a server would hand its application after the handshake.

    The same bytes in every run.
    """
    from datetime import UTC, datetime

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding

    key = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(identity.encode()).digest())
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2120, 1, 1, tzinfo=UTC))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)]), critical=True)
        .sign(key, None)
    )
    return made.public_bytes(Encoding.PEM).decode()
