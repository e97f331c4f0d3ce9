"""Limits of inbound requests, through the three kinds of server."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import flask
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient as Client
from aiohttp.test_utils import TestServer as Server
from flask.testing import FlaskClient

from meshlib import Mesh, Workload
from meshlib.adapters.aiohttp_web import mesh_middleware
from meshlib.adapters.asgi import MeshMiddleware as AsgiMiddleware
from meshlib.adapters.wsgi import MeshMiddleware as WsgiMiddleware
from meshlib.events import Event, RequestServed
from tests.patience import PATIENCE, until

Answer: TypeAlias = tuple[int, str, str]
Ask: TypeAlias = Callable[[], Awaitable[Answer]]

SIDECAR = """
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: web, namespace: shop}
spec:
  egress: [{hosts: ["*/*"]}]
  inboundConnectionPool: %s
"""
OVERFLOW = (503, "true", "upstream connect error or disconnect/reset before headers. reset reason: overflow")
FINE = (200, "", "done")


def load(pool: str) -> Mesh:
    return Mesh.load(SIDECAR % pool, workload=Workload(namespace="shop"))


class Door:
    """The application stands here until it is opened; ``most`` were there at once."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.inside = self.most = 0
        self._lock = threading.Lock()

    def enter(self) -> None:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)

    def leave(self) -> None:
        with self._lock:
            self.inside -= 1

    async def pass_async(self) -> None:
        self.enter()
        await asyncio.to_thread(self.open.wait)
        self.leave()

    def pass_through(self) -> None:
        self.enter()
        self.open.wait(PATIENCE)
        self.leave()


def by_asgi(mesh: Mesh, door: Door) -> Ask:
    async def app(_: Any, __: Any, send: Any) -> None:
        await door.pass_async()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done"})

    governed = AsgiMiddleware(app, mesh)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def ask() -> Answer:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/", "raw_path": b"/", "query_string": b"", "scheme": "http"}
        await governed({**scope, "headers": [(b"host", b"web")], "server": ("10.0.0.1", 8080)}, receive, send)
        headers = dict(sent[0]["headers"])
        return sent[0]["status"], headers.get(b"x-envoy-overloaded", b"").decode(), sent[1]["body"].decode()

    return ask


def by_wsgi(mesh: Mesh, door: Door) -> Ask:
    def app(_: Any, start: Any) -> list[bytes]:
        door.pass_through()
        start("200 OK", [])
        return [b"done"]

    governed = WsgiMiddleware(app, mesh)

    def ask() -> Answer:
        seen: list[Any] = []
        environ = {"REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": "/", "SERVER_PORT": "8080"}
        body = governed({**environ, "wsgi.url_scheme": "http", "HTTP_HOST": "web"}, lambda *start: seen.append(start))
        text = b"".join(body).decode()
        getattr(body, "close", list)()
        status, headers = seen[0][:2]
        return int(status[:3]), dict(headers).get("x-envoy-overloaded", ""), text

    return lambda: asyncio.to_thread(ask)


def by_aiohttp(mesh: Mesh, door: Door) -> Ask:
    async def handler(_: web.Request) -> web.Response:
        await door.pass_async()
        return web.Response(text="done")

    application = web.Application(middlewares=[mesh_middleware(mesh)])
    application.router.add_get("/", handler)
    started: list[Client[Any, Any]] = []
    lock = asyncio.Lock()

    async def ask() -> Answer:
        async with lock:
            if not started:
                started.append(Client(Server(application)))
                await started[0].start_server()
        async with started[0].get("/") as response:
            return response.status, response.headers.get("x-envoy-overloaded", ""), await response.text()

    ask.clients = started  # type: ignore[attr-defined]
    return ask


MAKERS = [by_asgi, by_wsgi, by_aiohttp]


async def answers(ask: Ask, door: Door, count: int, refused: int) -> Counter[Answer]:
    """Ask ``count`` times at once; the door is opened as soon as ``refused`` have their answer."""
    tasks = [asyncio.ensure_future(ask()) for _ in range(count)]
    try:
        await until(lambda: sum(task.done() for task in tasks) == refused)
        door.open.set()
        return Counter(await asyncio.gather(*tasks))
    finally:
        door.open.set()
        for client in getattr(ask, "clients", ()):
            await client.close()


@pytest.mark.parametrize("make", MAKERS)
async def test_requests_above_the_limit_are_refused_at_once(make: Callable[[Mesh, Door], Ask]) -> None:
    """``http2MaxRequests``: Envoy's answer, and it is reported."""
    mesh, door = load("{http: {http2MaxRequests: 2}}"), Door()
    events: list[Event] = []
    mesh.observe(events.append, RequestServed)
    assert await answers(make(mesh, door), door, 5, 3) == {FINE: 2, OVERFLOW: 3}
    assert door.most == 2
    seen = Counter((event.status, event.details) for event in events if isinstance(event, RequestServed))
    assert seen[503, "upstream_reset_before_response_started{overflow}"] == 3


@pytest.mark.parametrize("make", MAKERS)
async def test_requests_wait_for_their_turn(make: Callable[[Mesh, Door], Ask]) -> None:
    """``maxConnections`` at once, ``http1MaxPendingRequests`` wait; the rest is refused."""
    mesh, door = load("{tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 2}}"), Door()
    assert await answers(make(mesh, door), door, 6, 3) == {FINE: 3, OVERFLOW: 3}
    assert door.most == 1


async def test_who_gives_up_waiting_leaves_the_queue() -> None:
    """And its place is free for the next."""
    mesh, door = load("{tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}"), Door()
    ask = by_asgi(mesh, door)
    first = asyncio.ensure_future(ask())
    await until(lambda: door.inside == 1)
    second = asyncio.ensure_future(ask())
    await asyncio.sleep(0)
    assert await ask() == OVERFLOW
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    third = asyncio.ensure_future(ask())
    await asyncio.sleep(0)
    door.open.set()
    assert (await first, await third) == (FINE, FINE)


async def test_limits_outlive_a_reload() -> None:
    """Requests that are inside count against the new limits."""
    mesh, door = load("{http: {http2MaxRequests: 2}}"), Door()
    ask = by_asgi(mesh, door)
    first = asyncio.ensure_future(ask())
    await until(lambda: door.inside == 1)
    mesh.publish(SIDECAR % "{http: {http2MaxRequests: 1}}")
    assert await ask() == OVERFLOW
    door.open.set()
    assert await first == FINE
    assert await ask() == FINE


async def test_policies_know_a_server_by_the_port_of_its_listener() -> None:
    """The application listens behind an ingress listener: ``ports`` of a policy are the listener's."""
    text = (
        SIDECAR % "{http: {http2MaxRequests: 9}}"
        + "  ingress: [{port: {number: 80, protocol: HTTP, name: http}, defaultEndpoint: 127.0.0.1:8080}]\n"
    )
    deny = (
        "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: port, namespace: shop}\n"
        "spec: {action: DENY, rules: [{to: [{operation: {ports: ['80']}}]}]}\n"
    )
    door = Door()
    door.open.set()
    ask = by_asgi(Mesh.load(text + deny, workload=Workload(namespace="shop")), door)
    assert (await ask())[0] == 403


def by_flask(pool: str) -> FlaskClient:
    shop = flask.Flask("shop")
    shop.wsgi_app = WsgiMiddleware(shop.wsgi_app, load(pool))  # type: ignore[method-assign]
    shop.add_url_rule("/", view_func=lambda: "done")
    return shop.test_client()


@pytest.mark.parametrize("pool", ["{http: {http2MaxRequests: 1}}", "{tcp: {maxConnections: 1}}"])
async def test_responses_that_nobody_closes_keep_no_seat(pool: str) -> None:
    """A test client of Flask closes nothing: it would be refused for ever, or wait."""
    client = by_flask(pool)

    def ask() -> list[int]:
        thrown_away = [client.get("/").status_code for _ in range(3)]
        kept = [client.get("/") for _ in range(1)]
        texts = [response.text for response in kept]  # read to the end
        kept.append(client.get("/"))
        return [*thrown_away, *(response.status_code for response in kept), texts == ["done"]]

    task = asyncio.get_running_loop().run_in_executor(None, ask)
    assert await asyncio.wait_for(task, PATIENCE) == [200] * 5 + [True]


async def test_a_seat_may_be_given_back_in_the_middle_of_anything() -> None:
    """The garbage collector runs where it wants to, on a thread that has just locked the counters too."""
    client, door = by_flask("{http: {http2MaxRequests: 1}}"), threading.Event()

    def throw_away() -> None:
        cycle: list[Any] = [client.get("/")]
        cycle.append(cycle)
        room = client.application.wsgi_app._gate.rooms.find(80)  # type: ignore[attr-defined]
        assert room.live.state.active == 1
        del cycle
        with room.live.state.lock:
            gc.collect()
        assert room.live.state.active == 0
        door.set()

    threading.Thread(target=throw_away, daemon=True).start()
    assert await asyncio.to_thread(door.wait, PATIENCE)


async def test_a_refusal_of_a_head_has_no_body() -> None:
    """Servers pass on what WSGI applications answer: a client that keeps the connection would read it as the next."""
    governed = WsgiMiddleware(lambda _, __: [], load("{http: {http2MaxRequests: 1}}"))
    room = governed._gate.rooms.find(80)
    assert room is not None
    seat, seen = room.enter(), []
    environ = {"REQUEST_METHOD": "HEAD", "PATH_INFO": "/", "SERVER_PORT": "80", "HTTP_HOST": "web"}
    assert b"".join(governed(environ, lambda *start: seen.append(start))) == b""
    assert seen[0][0] == "503 Service Unavailable"
    assert seat is not None
    seat.leave()
