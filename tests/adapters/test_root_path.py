"""uvicorn behind a proxy that cuts a prefix off (``--root-path``): policies see paths as they are sent."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import aiohttp
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from meshlib import Mesh, Workload
from meshlib.adapters.asgi import MeshMiddleware
from tests.adapters.inbound_servers import serve_uvicorn
from tests.patience import PATIENCE

MESH = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: guard, namespace: shop}
spec: {action: DENY, rules: [{to: [{operation: {paths: [/users, /v1/users]}}]}]}
"""


async def page(request: Request) -> JSONResponse:
    scope = request.scope
    return JSONResponse([scope["root_path"], scope["path"], scope["raw_path"].decode(), str(request.url)])


async def socket(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text(websocket.scope["path"])
    await websocket.close()


PAGES = [WebSocketRoute("/{path:path}", socket), Route("/{path:path}", page)]


def alone(_: Mesh) -> Any:
    return Starlette(routes=PAGES)


def around(mesh: Mesh) -> Any:
    return MeshMiddleware(Starlette(routes=PAGES), mesh)


def added(mesh: Mesh) -> Any:
    app = Starlette(routes=PAGES)
    app.add_middleware(MeshMiddleware, mesh=mesh)
    return app


def mounted(mesh: Mesh) -> Any:
    return Starlette(routes=[Mount("/v1", MeshMiddleware(Starlette(routes=PAGES), mesh))])


@contextmanager
def serving(make: Callable[[Mesh], Any], **settings: Any) -> Iterator[int]:
    app = make(Mesh.load(MESH, workload=Workload(namespace="shop", labels={"app": "web"})))
    with serve_uvicorn(app, **settings) as port:
        yield port


def get(port: int, path: str, headers: Mapping[str, str] = MappingProxyType({})) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path, headers={"host": "shop.test", **headers})
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    return response.status, json.loads(body) if response.status == 200 else body.decode()


@pytest.mark.parametrize("http", ["httptools", "h11"])
@pytest.mark.parametrize("make", [around, added])
def test_a_path_is_judged_as_it_was_sent(make: Callable[[Mesh], Any], http: str) -> None:
    """As by a sidecar, which stands before uvicorn; the application sees its prefix."""
    with serving(make, root_path="/api", http=http) as port:
        for _ in range(3):
            assert get(port, "/users") == (403, "RBAC: access denied")
            # What is let in is remembered: the one is not taken for the other.
            seen = ["/api", "/api/api/users", "/api/api/users", "http://shop.test/api/api/users"]
            assert get(port, "/api/users") == (200, seen)
            assert get(port, "/open?q=1")[1] == ["/api", "/api/open", "/api/open", "http://shop.test/api/open?q=1"]
        assert get(port, "/x/../users")[0] == 403
        assert get(port, "/x/../%6fpen")[1][:3] == ["/api", "/api/open", "/api/open"]


class SometimesBetween:
    """A middleware that takes the server's ``receive`` away from requests that ask for it."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def own() -> Any:
            return await receive()

        is_asked = any(name == b"x-between" for name, _ in scope.get("headers", ()))
        await self.app(scope, own if is_asked else receive, send)


def between(mesh: Mesh) -> Any:
    return SometimesBetween(around(mesh))


def test_what_was_let_in_by_a_path_with_its_prefix_is_not_remembered_for_one_without() -> None:
    """The prefix cannot be seen through such a middleware; where it can, the request is another one."""
    with serving(between, root_path="/api") as port:
        for _ in range(3):
            assert get(port, "/users", {"x-between": "1"})[0] == 200
            assert get(port, "/users")[0] == 403


def test_a_mounted_application_keeps_its_own_prefix() -> None:
    """That of its place, behind that of the server: only the server's was never sent."""
    with serving(mounted, root_path="/api") as port:
        for _ in range(3):
            assert get(port, "/v1/users")[0] == 403
            assert get(port, "/v1/open")[1][:2] == ["/api/v1", "/api/v1/open"]
            assert get(port, "/v1//users")[0] == 403  # which frameworks may read as /users behind their place


def test_without_a_prefix_nothing_is_cut_off() -> None:
    """A place in an application is part of what was sent."""
    with serving(mounted) as port:
        assert get(port, "/v1/users")[0] == 403
        assert get(port, "/v1/open")[1][:2] == ["/v1", "/v1/open"]


async def test_websockets_are_judged_alike() -> None:
    """Their handshakes have a path like any other."""
    with serving(around, root_path="/api") as port, serving(alone, root_path="/api") as own:
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(f"http://127.0.0.1:{own}/open") as websocket:
                path = await websocket.receive_str()  # uvicorn 0.35 leaves the prefix out
            async with session.ws_connect(f"http://127.0.0.1:{port}/open") as websocket:
                assert await websocket.receive_str() == path
            with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
                await session.ws_connect(f"http://127.0.0.1:{port}/users")
