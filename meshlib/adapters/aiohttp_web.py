"""aiohttp.web: ``web.Application(middlewares=[mesh_middleware(mesh)])``."""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable, Collection, Iterable, MutableMapping
from typing import Any, Final, TypeAlias, cast

from aiohttp import web
from yarl import URL

from meshlib._http import Headers, RequestHead
from meshlib._inbound.certificates import identity_of_tls, server_name_of_tls
from meshlib._inbound.gate import Admitted, Arrival, Gate, HasRuntime, Refused
from meshlib._inbound.inbound import ForbiddenError
from meshlib._inbound.passage import Passage
from meshlib._inbound.targets import split_target
from meshlib._runtime import runtime_of

__all__ = ["mesh_middleware"]

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
Middleware: TypeAlias = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]

_CHUNK: Final = 65536
_ROUTED_AGAIN: Final = "meshlib.routed_again"


class _ForbiddenError(ForbiddenError, web.HTTPForbidden):
    """The 403 of a handler's own requirements. Its ``reason`` is the phrase of the status line, its text says why."""

    def __init__(self, reason: str) -> None:
        web.HTTPForbidden.__init__(self, text="RBAC: access denied")
        self._why = reason

    def __str__(self) -> str:
        return self._why


def mesh_middleware(
    mesh: HasRuntime,
    *,
    health_paths: Collection[str] = (),
    trusted_proxies: Iterable[str] = (),
    debug_headers: bool = False,
) -> Middleware:
    """The middleware that applies the policies of the mesh; make it the first of the outermost application.

    Arguments as those of :class:`meshlib.adapters.asgi.MeshMiddleware`. Handlers find
    what was verified in ``request["mesh"]``, a :class:`meshlib.Inbound`.
    """
    gate = Gate(
        runtime_of(mesh, "mesh_middleware"),
        health_paths=health_paths,
        trusted_proxies=trusted_proxies,
        debug_headers=debug_headers,
        forbid=_ForbiddenError,
    )

    @web.middleware
    async def govern(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.get(_ROUTED_AGAIN):
            return await handler(request)
        with Passage(gate) as passage:
            verdict = await passage.admit_async(_arrival(request), _reader(request))
            if isinstance(verdict, Refused):
                return _refusal(verdict)
            admitted = _admitted(request, verdict)
            if verdict.path is not None:
                handler = _again(request)
            add = _added(admitted, verdict.response_headers)
            try:
                response = await handler(admitted)
            except web.HTTPException as error:
                add(error)
                passage.answer(error.status, error.headers, error.content_length)
                raise
            add(response)
            passage.answer(response.status, response.headers, _length(response))
            return response

    return govern


def _length(response: web.StreamResponse) -> int | None:
    """The bytes of a body: as announced, else as streamed so far."""
    return response.content_length if response.content_length is not None else response.body_length


def _arrival(request: web.Request) -> Arrival:
    transport = request.transport
    tls = None if transport is None else transport.get_extra_info("ssl_object")
    server: tuple[Any, ...] = () if transport is None else transport.get_extra_info("sockname") or ()
    address, port = (str(server[0]), int(server[1])) if len(server) >= 2 else ("", 0)
    head = RequestHead(
        request.method,
        "http" if tls is None else "https",
        request.headers.get("host", ""),
        request.rel_url.raw_path_qs,
        Headers(request.headers),
        port=port,
    )
    peer: tuple[Any, ...] = () if transport is None else transport.get_extra_info("peername") or ()
    return Arrival(
        head=head,
        source_address=str(peer[0]) if len(peer) >= 2 else "",
        destination_address=address,
        peer=identity_of_tls(tls),
        has_tls=tls is not None,
        server_name=server_name_of_tls(tls),
        protocol="websocket" if request.headers.get("upgrade", "").lower() == "websocket" else "http",
        target_authority=split_target(request.raw_path)[1],
    )


def _reader(request: web.Request) -> Callable[[int], Awaitable[bytes]]:
    async def read(limit: int) -> bytes:
        """The first bytes of the body; the application still gets all of it."""
        stream = request.content
        parts: list[bytes] = []
        size = 0
        while size <= limit and (part := await stream.read(min(_CHUNK, limit + 1 - size))):
            parts.append(part)
            size += len(part)
        start = b"".join(parts)
        if start:
            with warnings.catch_warnings():
                # There is no other way to look at a body that somebody else will read.
                warnings.simplefilter("ignore", DeprecationWarning)
                stream.unread_data(start)
        return start

    return read


def _admitted(request: web.Request, verdict: Admitted) -> web.Request:
    """The request as the application sees it: the same object, unless a policy changed what it says."""
    if verdict.headers is not None and verdict.path is not None:
        request = request.clone(headers=_sent(verdict.headers), rel_url=_url(verdict.path))
    elif verdict.headers is not None:
        request = request.clone(headers=_sent(verdict.headers))
    elif verdict.path is not None:
        request = request.clone(rel_url=_url(verdict.path))
    _state(request)["mesh"] = verdict.inbound
    return request


class _Sent(str):
    """A header value with bytes that are no UTF-8, which aiohttp could not make bytes again."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "surrogateescape") -> bytes:
        return super().encode(encoding, errors)


def _sent(headers: Headers) -> Headers:
    """Headers as ``clone`` can take them."""
    if "".join(headers.values()).isascii():
        return headers
    return Headers([(name, value if value.isascii() else _Sent(value)) for name, value in headers.items()])


def _added(request: web.Request, headers: tuple[tuple[str, str], ...]) -> Callable[[web.StreamResponse], None]:
    """What adds headers to the response: at its end, or earlier when the handler begins to send it."""
    left = list(headers)

    def put(response: web.StreamResponse) -> None:
        for name, value in left:
            response.headers.add(name, value)
        left.clear()

    def add(response: web.StreamResponse) -> None:
        if not response.prepared:
            put(response)

    prepare = getattr(request, "_prepare_hook", None)  # what a response calls first; no public name exists
    if left and prepare is not None:

        async def hook(response: web.StreamResponse) -> None:
            put(response)
            await prepare(response)

        request._prepare_hook = hook  # type: ignore[method-assign]
    return add


def _url(path: str) -> URL:
    """A path with its query; one that begins with two slashes names no host."""
    raw, _, query = path.partition("?")
    return URL.build(path=raw, query_string=query, encoded=True)


def _state(request: web.Request) -> MutableMapping[str, Any]:
    """Where a request keeps what middlewares add.

    Item assignment says the same, but warns of text keys since aiohttp 3.14, whoever reads them.
    """
    state: MutableMapping[str, Any] | None = getattr(request, "_state", None)
    return cast("MutableMapping[str, Any]", request) if state is None else state


def _again(request: web.Request) -> Handler:
    """The way of a request whose path was changed: it was routed by the old one, so it is routed again."""
    route = getattr(request.app, "_handle", None)  # the application's own entry; no public name exists
    if route is None:
        raise web.HTTPBadRequest

    async def handle(changed: web.Request) -> web.StreamResponse:
        _state(changed)[_ROUTED_AGAIN] = True
        response: web.StreamResponse = await route(changed)
        return response

    return handle


def _refusal(refused: Refused) -> web.Response:
    return web.Response(status=refused.status, body=refused.body, headers=Headers(refused.headers))
