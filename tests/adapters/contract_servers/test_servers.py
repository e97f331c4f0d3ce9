"""The server half of the contract: whatever framework serves, the same happens to requests and to calls they cause."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import logging
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from werkzeug.serving import make_server

from meshlib import Mesh, Workload
from tests.adapters.contract_servers.applications import ASGI, WSGI, aiohttp_web
from tests.adapters.contract_servers.handlers import PARTS
from tests.adapters.inbound_servers import serve_uvicorn
from tests.patience import PATIENCE, wait_until

TRACE = {
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "a=1,b=2",
    "baggage": "user=ann",
    "b3": "80f198ee56343ba8-e457b5a2e4d86bd1-1",
    "x-b3-traceid": "463ac35c9f6413ad48485a3953bb6124",
    "x-request-id": "given-from-outside",
}
KINDS = [*ASGI, *WSGI, "aiohttp.web"]
SOCKETS = ["fastapi", "starlette", "litestar", "quart", "aiohttp.web"]
WORKLOAD = Workload(namespace="shop", labels={"app": "web"})


class Backend(BaseHTTPRequestHandler):
    """The service that handlers call: answers with the headers it saw, after ``wait`` seconds."""

    seen: list[dict[str, str]]
    wait: threading.Event
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.seen.append(headers)
        self.wait.wait(2 * PATIENCE)
        body = json.dumps(headers).encode()
        try:
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            self.close_connection = True  # the mesh gave up

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def backend() -> Iterator[tuple[int, type[Backend]]]:
    handler = type("Own", (Backend,), {"seen": [], "wait": threading.Event()})
    handler.wait.set()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server.server_port, handler
    handler.wait.set()
    server.shutdown()
    server.server_close()
    thread.join(PATIENCE)


def config(port: int) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: backend, namespace: shop}}
spec:
  hosts: [backend.test]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints: [{{address: 127.0.0.1, ports: {{http: {port}}}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: backend, namespace: shop}}
spec:
  hosts: [backend.test]
  http:
  - timeout: 600s
    route: [{{destination: {{host: backend.test}}}}]
---
apiVersion: meshlib.dev/v1alpha1
kind: ClientPolicy
metadata: {{name: backend, namespace: shop}}
spec:
  hosts: [backend.test]
  deadline: {{propagate: true}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: deny, namespace: shop}}
spec: {{action: DENY, rules: [{{to: [{{operation: {{paths: [/denied, /healthz, /call/../denied]}}}}]}}]}}
"""


@contextmanager
def _wsgi(app: Any) -> Iterator[int]:
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.port
    finally:
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE)


@contextmanager
def _aiohttp(app: web.Application) -> Iterator[int]:
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL + 1)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)

    async def start() -> int:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port: int = runner.addresses[0][1]
        return port

    try:
        yield asyncio.run_coroutine_threadsafe(start(), loop).result(PATIENCE)
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(PATIENCE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
        loop.close()


@contextmanager
def serving(kind: str, mesh: Mesh, **options: Any) -> Iterator[int]:
    if kind in ASGI:
        found = serve_uvicorn(ASGI[kind](mesh, **options))
    elif kind in WSGI:
        found = _wsgi(WSGI[kind](mesh, **options))
    else:
        found = _aiohttp(aiohttp_web(mesh, **options))
    with found as port:
        yield port


class Client:
    """Plain requests to one server, one connection each unless ``ask_all`` is used."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, path: str, method: str = "GET", body: Any = None, **headers: str) -> tuple[int, bytes]:
        return self.ask_all((path, method, body, headers))[0]

    def ask_all(self, *requests: tuple[str, str, Any, dict[str, str]]) -> list[tuple[int, bytes]]:
        """Several requests over one connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        answers = []
        try:
            for path, method, body, headers in requests:
                connection.request(method, path, body, headers)
                response = connection.getresponse()
                answers.append((response.status, response.read()))
        finally:
            connection.close()
        return answers

    def seen(self, path: str, **headers: str) -> dict[str, Any]:
        status, body = self.ask(path, **headers)
        assert status == 200, body
        found: dict[str, Any] = json.loads(body)
        return found


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Each framework in turn."""
    return str(request.param)


@pytest.fixture
def client(kind: str, backend: tuple[int, type[Backend]]) -> Iterator[Client]:
    mesh = Mesh.load(config(backend[0]), workload=WORKLOAD)
    with serving(kind, mesh, health_paths=["/healthz"]) as port:
        yield Client(port)


@pytest.mark.parametrize("path", ["/call", "/thread"])
def test_calls_carry_the_context_of_the_request(client: Client, path: str) -> None:
    """Trace, baggage and request id, from an asynchronous handler and from a synchronous one or its thread."""
    seen = client.seen(path, **TRACE)
    assert {name: seen["called"].get(name) for name in TRACE} == TRACE
    assert seen["request_id"] == "given-from-outside"
    assert seen["client"] == "127.0.0.1"


@pytest.mark.parametrize("path", ["/call", "/thread"])
def test_garbage_in_the_context_breaks_no_call(client: Client, path: str) -> None:
    """It was handed to client libraries, which cannot write it."""
    seen = client.seen(path, **{**TRACE, "baggage": "user=\xff", "tracestate": "\xc3\xa4"})
    assert (seen["called"]["status"], seen["called"]["traceparent"]) == ("200", TRACE["traceparent"])
    assert {"baggage", "tracestate"}.isdisjoint(seen["called"])


def test_calls_of_what_a_handler_starts_carry_it_too(client: Client, backend: tuple[int, type[Backend]]) -> None:
    """A background task, a task of the loop, a thread with the context of its starter."""
    assert client.ask("/task", **TRACE)[0] == 200
    wait_until(lambda: backend[1].seen)
    assert {name: backend[1].seen[0].get(name) for name in TRACE} == TRACE


def test_a_request_without_an_id_gets_one(client: Client) -> None:
    """The handler and the service that it calls see the same."""
    first, second = client.seen("/call"), client.seen("/call")
    assert first["request_id"] == first["called"]["x-request-id"]
    assert len({first["request_id"], second["request_id"]}) == 2
    assert "traceparent" not in first["called"] or first["called"]["traceparent"] != TRACE["traceparent"]


def test_nothing_stays_for_the_next_request_of_a_connection(client: Client) -> None:
    """Neither the trace nor the id."""
    first, second = client.ask_all(("/call", "GET", None, TRACE), ("/call", "GET", None, {}))
    assert json.loads(first[1])["called"]["baggage"] == "user=ann"
    after = json.loads(second[1])
    assert "baggage" not in after["called"]
    assert after["request_id"] != "given-from-outside"


def test_requests_at_the_same_time_do_not_mix(client: Client) -> None:
    """Twenty at once, each with its own id all the way."""
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda n: client.seen("/call", **{"x-request-id": f"id-{n}"}), range(20)))
    assert [answer["called"]["x-request-id"] for answer in answers] == [f"id-{n}" for n in range(20)]


def test_every_part_of_a_streamed_answer_is_made_in_the_context(client: Client) -> None:
    """The generator runs after the handler has returned."""
    status, body = client.ask("/stream", **TRACE)
    assert (status, body) == (200, b"given-from-outside\n" * PARTS)


def test_calls_are_over_when_the_caller_has_given_up(client: Client, backend: tuple[int, type[Backend]]) -> None:
    """x-envoy-expected-rq-timeout-ms bounds what is called, where a ClientPolicy keeps deadlines."""
    seen = client.seen("/call", **{"x-envoy-expected-rq-timeout-ms": "90000"})
    assert 0 < int(seen["called"]["x-envoy-expected-rq-timeout-ms"]) <= 90_000
    assert int(client.seen("/call")["called"]["x-envoy-expected-rq-timeout-ms"]) > 90_000
    backend[1].wait.clear()
    client.ask("/thread", **{"x-envoy-expected-rq-timeout-ms": "150"})  # answered, though the backend is silent
    backend[1].wait.set()


@pytest.mark.parametrize("value", ["", "-5", "x", "1e9", "99999999999999999999"])
def test_a_timeout_that_is_none_bounds_nothing(client: Client, value: str) -> None:
    """Whatever a client writes there."""
    seen = client.seen("/call", **{"x-envoy-expected-rq-timeout-ms": value})
    assert int(seen["called"]["x-envoy-expected-rq-timeout-ms"]) > 200_000


def test_a_body_streams_to_the_application(client: Client) -> None:
    """Two megabytes in chunks, and with a length."""
    parts = [bytes([number]) * 65536 for number in range(32)]
    digest = hashlib.sha256(b"".join(parts)).hexdigest()
    status, body = client.ask("/count", "POST", b"".join(parts))
    assert (status, json.loads(body)) == (200 if status == 200 else 201, {"digest": digest})


def test_a_denied_request_never_reaches_the_application(client: Client, backend: tuple[int, type[Backend]]) -> None:
    """403, whatever the framework would have said to its path."""
    assert client.ask("/denied") == (403, b"RBAC: access denied")
    assert client.ask("/x/../denied") == (403, b"RBAC: access denied")
    assert backend[1].seen == []


GUARDED = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: guard, namespace: shop}
spec: {action: DENY, rules: [{to: [{operation: {paths: [/call]}}]}]}
"""
SPELLINGS = ["/call", "/call/", "/call//", "//call", "//call/", "/call%2f", "/%2fcall", "/./call", "/call/.", "/%63all"]


def test_no_spelling_of_a_path_reaches_its_handler(kind: str, backend: tuple[int, type[Backend]]) -> None:
    """Frameworks read paths in ways of their own: Litestar sees no empty parts. Also after what was let in before."""
    mesh = Mesh.load(config(backend[0]) + "---" + GUARDED, workload=WORKLOAD)
    with serving(kind, mesh) as port:
        client = Client(port)
        for path in ("/other", "/other/", "//other", "/other//") * 3:
            assert client.ask(path)[0] in (308, 404)
        for path in SPELLINGS * 3:
            client.ask(path)
    assert backend[1].seen == []


def test_a_health_path_is_the_applications(client: Client) -> None:
    """Denied by the policy, but let through by name: the framework itself answers (404: it has no such route)."""
    assert client.ask("/healthz")[0] == 404
    assert client.ask("/healthz", "POST", b"")[0] == 403


def test_an_error_of_the_application_is_a_500(client: Client) -> None:
    """And the next request is served, with an id of its own."""
    assert client.ask("/fail", **TRACE)[0] == 500
    assert client.seen("/call")["request_id"] != "given-from-outside"


def test_the_lifespan_passes(client: Client) -> None:
    """What the application does at its start is done."""
    assert client.seen("/call")["started"] is True


def test_a_client_that_goes_away_harms_nobody(client: Client) -> None:
    """In the middle of a body, and before the answer."""
    for start in (
        b"POST /count HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\nhalf",
        b"GET /call HTTP/1.1\r\nhost: a\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", client.port)) as raw:
            raw.sendall(start)
    assert client.seen("/call")["called"]["status"] == "200"


@pytest.mark.parametrize("kind", SOCKETS)
def test_a_websocket_carries_its_context(kind: str, client: Client) -> None:
    """Calls made for its messages have the trace of its handshake; several sockets do not mix."""

    async def talk(name: str) -> list[str]:
        async with aiohttp.ClientSession(headers={**TRACE, "x-request-id": name}) as session:
            async with session.ws_connect(f"http://127.0.0.1:{client.port}/socket") as connection:
                found = []
                for _ in range(3):
                    await connection.send_str("call")
                    called = json.loads(await connection.receive_str())
                    assert called["baggage"] == "user=ann"
                    found.append(called["x-request-id"])
                return found

    async def both() -> list[list[str]]:
        return list(await asyncio.gather(talk("one"), talk("two")))

    assert asyncio.run(both()) == [["one"] * 3, ["two"] * 3]
