"""ASGI: FastAPI, Starlette, Litestar, Quart, Django and whatever else speaks it.

``app.add_middleware(MeshMiddleware, mesh=mesh)``. Pure ASGI: bodies, websockets and the
lifespan pass untouched. Be the outermost middleware, so that nothing runs before the
policies of the mesh have been asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, MutableMapping
from functools import cache
from sys import modules
from typing import Any, TypeAlias
from urllib.parse import unquote

from meshlib._engine.recording import SDK
from meshlib._inbound.asgi_bodies import Body
from meshlib._inbound.asgi_roots import Rooted, server_root, without_root
from meshlib._inbound.asgi_scopes import again_head, arrival_of, connection_of, recall
from meshlib._inbound.asgi_short_way import Passing, enter, leave, new_passing
from meshlib._inbound.forbidden import forbid_in_asgi
from meshlib._inbound.gate import Admitted, Gate, HasRuntime, Refused
from meshlib._inbound.grants import Terms
from meshlib._inbound.inbound import Inbound
from meshlib._inbound.memory import Asked, Connection, Key, Memory
from meshlib._inbound.passage import Passage
from meshlib._inbound.shapes import Shape, Values
from meshlib._inbound.targets import reading_of
from meshlib._runtime import runtime_of

__all__ = ["MeshMiddleware"]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


class MeshMiddleware:
    """Applies the policies of the mesh to every request and websocket before ``app`` sees it.

    ``mesh`` is a :class:`meshlib.Mesh`. ``health_paths`` are answered by the
    application whatever the policies say, as Istio lets probes through.
    ``trusted_proxies`` are addresses or blocks whose X-Forwarded-For and
    X-Forwarded-Client-Cert are believed (default: nobody's); from all others the
    latter is removed. ``debug_headers`` names the deciding policy to the client.

    The application finds what was verified in ``scope["mesh"]``, a
    :class:`meshlib.Inbound`.
    """

    def __init__(
        self,
        app: App,
        mesh: HasRuntime,
        *,
        health_paths: Collection[str] = (),
        trusted_proxies: Iterable[str] = (),
        debug_headers: bool = False,
    ) -> None:
        self.app = app
        settings: dict[str, Any] = {
            "health_paths": health_paths,
            "trusted_proxies": trusted_proxies if isinstance(trusted_proxies, str) else tuple(trusted_proxies),
            "debug_headers": debug_headers,
        }
        runtime = runtime_of(mesh, "MeshMiddleware")
        self._gate = Gate(runtime, forbid=forbid_in_asgi, reading=reading_of(app), **settings)
        self._rooted = cache(lambda root: MeshMiddleware(Rooted(app, root), mesh, **settings))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, websocket or lifespan, as ASGI has it."""
        if scope["type"] != "http" or type(pairs := scope["headers"]) is not list:
            await self._pass(scope, receive, send)
            return
        gate = self._gate
        runtime, memory = gate.runtime, gate.memory
        if memory.published is not runtime.published:
            memory = gate.recall()
        asked, values, terms, key = recall(scope, pairs, receive, send, gate, memory)
        published, recorder = memory.published, runtime.recorder
        if terms is None or not terms.is_quiet or published.observers.watches_served:
            await self._serve(scope, receive, send, asked, values, memory, terms, key)
            return
        if recorder is not None and (recorder.quiet is not published.snapshot or SDK in modules):
            if not recorder.only_counts(published.snapshot):
                await self._serve(scope, receive, send, asked, values, memory, terms, key)
                return
        passing = new_passing(Passing)  # from here on as Passage does it, for all that is wanted of such a request
        changed = terms.let_in(passing, scope, values, published.request_ids)
        now = published.now
        started, outer = now(), enter(passing)
        if recorder is not None:
            passing.send, passing.status, passing.sent = send, 0, 0
            send = passing.watched
        try:
            await self.app(changed, receive, send)
        finally:
            try:  # noqa: SIM105 - which would cost a tenth of all this
                leave(outer)
            except ValueError:
                pass  # a server that ends the request in another context: that one never saw it
            if recorder is not None:
                count_again, kind = recorder.count_again, (terms.port, terms.peer, passing.status)
                if not count_again(published.snapshot.telemetry, kind, started, passing.sent):
                    recorder.serve(passing.told(scope, published.snapshot, terms, values, started))

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A lifespan, a websocket, or what cannot be told from others."""
        if scope["type"] in ("http", "websocket"):
            await self._admit(scope, receive, send, connection_of(scope, receive, send))
        else:
            await self.app(scope, receive, send)

    def _serve(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        asked: Asked,
        values: Values,
        memory: Memory,
        terms: Terms | None,
        key: Key | None,
    ) -> Awaitable[None]:
        """A request of which nothing is remembered, or more is wanted than its count."""
        connection, _, shape, *_ = asked
        if terms is not None:
            return self._serve_again(scope, receive, send, terms, values, memory)
        if not shape.is_plain:
            return self._admit(scope, receive, send, connection)
        plain = None if shape.peer else (shape, values)  # what is taken out of a head is not plain
        return self._admit(scope, receive, send, connection, plain, memory, key)

    async def _admit(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        connection: str | Connection,
        plain: tuple[Shape, Values] | None = None,
        memory: Memory | None = None,
        key: Key | None = None,
    ) -> None:
        """A request that is decided about; ``memory`` keeps that under ``key``."""
        if scope.get("root_path") and (root := server_root(scope, receive)):
            await self._rooted(root)(without_root(scope, root), receive, send)
            return
        scope = {**scope, "headers": list(scope["headers"])}  # uvicorn adds the trailers of a body to its own
        arrival = arrival_of(scope, connection, plain)
        body = Body(receive)
        passage = Passage(self._gate)
        try:
            verdict = await passage.admit_async(arrival, body.read, memory, key)
            if isinstance(verdict, Refused):
                await _refuse(scope, body.receive, send, verdict)
                return
            started = passage.watch_start(send)
            if verdict.response_headers:
                started = _adding(started, verdict.response_headers)
            _admit_into(scope, verdict)
            await self.app(scope, body.receive, started)
        finally:
            passage.end()

    async def _serve_again(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        terms: Terms,
        values: Values,
        memory: Memory,
    ) -> None:
        """A request that is let in as an equal one was."""
        gate = self._gate
        passage = Passage(gate)
        try:
            head = None
            if gate.is_watched or memory.ports is not None:
                head = again_head(scope, terms, values)
            published = memory.published
            inbound = Inbound()
            changed = terms.let_in(inbound, scope, values, published.request_ids)
            passage.admit_again(terms, published.snapshot, values, inbound, head)
            if head is not None and memory.ports is not None:
                refused = await passage.sit_async(head)
                if refused is not None:
                    await _refuse(scope, receive, send, refused)
                    return
            started = passage.watch_start(send)
            await self.app(changed, receive, _adding(started, passage.told) if passage.told else started)
        finally:
            passage.end()


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")


def _admit_into(scope: Scope, admitted: Admitted) -> None:
    """Put into our own copy of the server's scope what the application gets."""
    scope["mesh"] = admitted.inbound
    if admitted.headers is not None:
        scope["headers"] = [(_bytes(name.lower()), _bytes(value)) for name, value in admitted.headers.items()]
    if admitted.path is not None:
        raw, _, query = admitted.path.partition("?")
        scope["raw_path"], scope["query_string"] = _bytes(raw), _bytes(query)
        scope["path"] = unquote(raw)


def _adding(send: Send, added: tuple[tuple[str, str], ...]) -> Send:
    """The server's send, with more headers at the beginning of the response."""
    pairs = [(_bytes(name), _bytes(value)) for name, value in added]

    async def adding(message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.accept"):
            message = {**message, "headers": [*message.get("headers", ()), *pairs]}
        await send(message)

    return adding


async def _refuse(scope: Scope, receive: Receive, send: Send, refused: Refused) -> None:
    headers = [(_bytes(name), _bytes(value)) for name, value in refused.headers]
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": refused.status, "headers": headers})
        await send({"type": "http.response.body", "body": refused.body})
        return
    await receive()  # the handshake: nothing can be answered before
    if "websocket.http.response" in (scope.get("extensions") or {}):
        headers = [pair for pair in headers if pair[0] != b"content-length"]  # servers add it; older ones a second time
        await send({"type": "websocket.http.response.start", "status": refused.status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": refused.body})
    else:
        await send({"type": "websocket.close", "code": 1008})  # the server answers 403
