"""What only httpx has: transports of one's own, mounts, proxies, HTTP/2, two packages with one API."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import re
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpcore
import httpcore2
import httpx
import httpx2
import pytest

from meshlib import Mesh, MeshError, RefusedError
from meshlib._outbound.attempt import Attempt, current_attempt
from meshlib._snapshot.clusters import ConnectionPool
from meshlib.adapters.httpx import AsyncMeshTransport, MeshConnectionError, MeshTransport
from meshlib.adapters.httpx.network import SyncBackend, SyncStream
from tests.adapters.contract.servers import Loop, Upstream
from tests.patience import PACES, PATIENCE
from tests.ports import closed_port

HOST = "reviews.example.com"
URL = f"http://{HOST}/"

YAML = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews.example.com]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: tls, protocol: HTTPS}]
  endpoints: [{address: 10.0.0.1}, {address: 10.0.0.2}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ratings, namespace: default}
spec:
  hosts: [ratings.example.com]
  resolution: STATIC
  ports: [{number: 443, name: tls, protocol: HTTPS}]
  endpoints: [{address: 10.0.0.1}, {address: 10.0.0.2}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews.example.com]
  http:
    - route: [{destination: {host: reviews.example.com}}]
      retries: {attempts: 2, retryOn: "5xx,connect-failure", backoff: 1ms}
"""


@pytest.fixture
def server() -> Iterator[Upstream]:
    loop = Loop()
    made = Upstream(loop, None)
    yield made
    made.close()
    loop.close()


def local_text(port: int) -> str:
    address = f"[{{address: 127.0.0.1, ports: {{http: {port}}}}}]"
    reviews, _, route = YAML.replace("[{address: 10.0.0.1}, {address: 10.0.0.2}]", address).split("---\n")
    return reviews + "---\n" + route


def local(port: int) -> Mesh:
    return Mesh.load(local_text(port))


@pytest.mark.parametrize("package", [httpx, httpx2])
def test_a_transport_of_ones_own_carries_the_attempts(package: Any) -> None:
    """It sees endpoints; Host and the caller's URL stay."""
    seen: list[tuple[str, str]] = []

    def answer(request: Any) -> Any:
        seen.append((request.url.host, request.headers["host"]))
        return package.Response(503 if len(seen) < 3 else 200, text="hello")

    transport = MeshTransport(Mesh.load(YAML), wrapped=package.MockTransport(answer))
    with package.Client(transport=transport) as client:
        reply = client.get(URL + "x")
    assert (reply.status_code, reply.text, str(reply.url)) == (200, "hello", URL + "x")
    assert type(reply) is package.Response
    assert {host for host, _ in seen} == {"10.0.0.1", "10.0.0.2"}
    assert {authority for _, authority in seen} == {HOST}
    assert reply.extensions["mesh"].attempts == 3


@pytest.mark.anyio
@pytest.mark.parametrize("package", [httpx, httpx2])
async def test_an_asynchronous_transport_of_ones_own(package: Any) -> None:
    """The same for asyncio: an application in the process, say."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": dict(scope["headers"])[b"host"]})

    transport = AsyncMeshTransport(Mesh.load(YAML), wrapped=package.ASGITransport(app))
    async with package.AsyncClient(transport=transport) as client:
        assert (await client.get(URL)).text == HOST


def test_errors_of_a_transport_of_ones_own_are_failures() -> None:
    """Retried and told apart as those of the network."""
    errors = [httpx.ConnectError("no"), httpx.ConnectError("no")]

    def answer(request: httpx.Request) -> httpx.Response:
        if errors:
            raise errors.pop()
        return httpx.Response(200)

    with httpx.Client(transport=MeshTransport(Mesh.load(YAML), wrapped=httpx.MockTransport(answer))) as client:
        assert client.get(URL).status_code == 200


def test_a_wrapped_transport_never_shares_tls_connections_between_names() -> None:
    """It would take one that was verified for another host: refused, with the remedy."""
    transport = MeshTransport(Mesh.load(YAML), wrapped=httpx.MockTransport(lambda request: httpx.Response(200)))
    with httpx.Client(transport=transport) as client:
        for _ in range(40):  # each of two endpoints has its turn
            assert client.get(f"https://{HOST}/").status_code == 200
        with pytest.raises(MeshError, match="leave out wrapped="):
            for _ in range(40):
                client.get("https://ratings.example.com/")


@pytest.mark.parametrize(("own", "route", "status"), [(0.1, 300, None), (300, 0.1, 504)])
def test_timeouts_of_a_transport_of_ones_own(server: Upstream, own: float, route: float, status: int | None) -> None:
    """It gets the shorter one; whose it was decides between the caller's exception and a 504."""
    server.script[:] = [{"hang": True}]
    mesh = Mesh.load(local_text(server.port).partition("      retries")[0] + f"      timeout: {route}s\n")
    timeouts = httpx.Timeout(None, read=own)
    with httpx.Client(transport=MeshTransport(mesh, wrapped=httpx.HTTPTransport()), timeout=timeouts) as client:
        if status is None:
            with pytest.raises(httpx.ReadTimeout):
                client.get(URL)
        else:
            assert client.get(URL).status_code == status


def test_what_a_transport_of_ones_own_may_have_sent_is_not_sent_again() -> None:
    """It says nothing of connections: only a timeout while reading or writing tells that there was one."""
    calls: list[bytes] = []

    def silent(request: httpx.Request) -> httpx.Response:
        calls.append(request.read())
        threading.Event().wait(request.extensions["timeout"]["read"] + 0.01)
        raise httpx.ReadTimeout("nothing came", request=request)

    for pace in PACES:
        text = YAML.replace('retryOn: "5xx,connect-failure"', f"retryOn: reset-before-request, perTryTimeout: {pace}s")
        with httpx.Client(transport=MeshTransport(Mesh.load(text), wrapped=httpx.MockTransport(silent))) as client:
            assert client.post(URL, content=b"abc").status_code == 504
        if calls:  # it came to that in time
            break
    assert calls == [b"abc"]


def test_a_streamed_body_through_a_transport_of_ones_own() -> None:
    """Consumed once, not sent again."""
    calls: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        calls.append(request.read())
        return httpx.Response(503)

    with httpx.Client(transport=MeshTransport(Mesh.load(YAML), wrapped=httpx.MockTransport(answer))) as client:
        assert client.post(URL, content=iter([b"abc", b"def"])).status_code == 503
        assert calls == [b"abcdef"]
        assert client.post(URL, content=b"abc").status_code == 503
        assert calls[1:] == [b"abc"] * 3


def test_mounts_are_governed_too() -> None:
    """Each pattern with its transport."""
    mesh = Mesh.load(YAML)
    mock = httpx.MockTransport(lambda request: httpx.Response(200, text=request.url.host))
    with mesh.httpx(mounts={"http://": mock}) as client:
        assert client.get(URL).text.startswith("10.0.0.")


def test_arguments_of_the_client_are_kept(server: Upstream) -> None:
    """Base URL, headers, params, event hooks."""
    hooked: list[int] = []
    hooks = {"response": [lambda reply: hooked.append(reply.status_code)]}
    arguments = {"base_url": URL, "headers": {"x-team": "shop"}, "params": {"q": "1"}, "event_hooks": hooks}
    with local(server.port).httpx(**arguments) as client:  # type: ignore[arg-type]
        assert client.get("items").status_code == 200
    assert (server.seen[0].path, server.seen[0].headers["x-team"], hooked) == ("/items?q=1", "shop", [200])


def test_proxies_of_the_environment_are_not_used(server: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mesh connects to the endpoints."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with local(server.port).httpx() as client:
        assert client.get(URL).status_code == 200


def test_a_proxy_that_is_asked_for_is_used(server: Upstream) -> None:
    """It gets the request for the endpoint."""
    with Mesh.load(YAML.split("---\n", maxsplit=1)[0]).httpx(proxy=f"http://127.0.0.1:{server.port}") as client:
        assert client.get(URL).status_code == 200
    assert server.seen[0].path.startswith("http://10.0.0.")
    assert server.seen[0].headers["host"] == HOST


@pytest.mark.parametrize("verb", ["httpx", "httpx_async"])
def test_retries_of_the_transport_are_refused(verb: str) -> None:
    """They would multiply."""
    with pytest.raises(MeshError, match=r"write spec.http\[\].retries"):
        {"httpx": MeshTransport, "httpx_async": AsyncMeshTransport}[verb](Mesh.load(YAML), retries=2)


@pytest.mark.parametrize(
    "url", ["/reviews", "reviews.example.com/", "http://", "http:///x", "ftp://reviews.example.com/", ""]
)
def test_what_is_no_absolute_url_is_httpx_s_own_error(url: str) -> None:
    """A path without base_url was once a KeyError."""
    with (
        Mesh.load(YAML).httpx() as client,
        pytest.raises(httpx.UnsupportedProtocol, match="http:// or https://") as caught,
    ):
        client.get(url)
    assert caught.value.request.method == "GET"


async def test_what_is_no_absolute_url_is_an_error_of_the_asynchronous_client_too() -> None:
    """Of each package in its own family."""
    async with Mesh.load(YAML).httpx_async() as client:
        with pytest.raises(httpx.UnsupportedProtocol):
            await client.get("/reviews")


@pytest.mark.parametrize("scheme", ["ws", "http"])
def test_urls_of_websockets_are_requests_of_http(server: Upstream, scheme: str) -> None:
    """Of a library that speaks websockets over httpx, say."""
    with local(server.port).httpx() as client:
        assert str(client.get(f"{scheme}://{HOST}/").url) == f"{scheme}://{HOST}/"
    assert server.seen[0].headers["x-forwarded-proto"] == "http"


def test_a_package_that_is_none_is_one_clear_error() -> None:
    """It names those that are."""
    with pytest.raises(MeshError, match=r"package='requests' is none .* 'httpx' or 'httpx2'"):
        Mesh.load(YAML).httpx(package="requests")


def test_a_request_of_the_other_package_is_refused() -> None:
    """One clear error."""
    transport: Any = MeshTransport(Mesh.load(YAML), wrapped=httpx.MockTransport(lambda request: httpx.Response(200)))
    with httpx2.Client(transport=transport) as client, pytest.raises(MeshError, match=r"got a request of httpx2"):
        client.get(URL)


def test_a_consumed_body_is_httpx_s_own_error(server: Upstream) -> None:
    """It says what to do."""
    with local(server.port).httpx() as client:
        request = client.build_request("POST", URL, content=(part for part in [b"abc"]))
        assert client.send(request).status_code == 200
        with pytest.raises(httpx.StreamConsumed):
            client.send(request)
    assert len(server.seen) == 1


def test_refusals_are_named_in_the_adapter() -> None:
    """For ``except``."""
    text = YAML.split("---\n", maxsplit=1)[0].replace("10.0.0.1", "127.0.0.1").replace("{address: 10.0.0.2}", "")
    mesh = Mesh.load(text.replace("{address: 127.0.0.1}", f"{{address: 127.0.0.1, ports: {{http: {closed_port()}}}}}"))
    with mesh.httpx(raise_on_refusal=True) as client, pytest.raises(MeshConnectionError) as raised:
        client.get(URL)
    assert isinstance(raised.value, (RefusedError, httpx.ConnectError))
    assert raised.value.request.url == URL  # type: ignore[attr-defined]


@pytest.mark.anyio
async def test_a_client_works_on_one_loop_after_another(server: Upstream) -> None:
    """The timers follow the loop."""
    mesh = local(server.port)

    async def call() -> int:
        async with mesh.httpx_async() as client:
            return (await client.get(URL)).status_code

    assert await call() == 200
    assert await asyncio.to_thread(asyncio.run, call()) == 200


@pytest.mark.parametrize("host", [HOST, "b\u00fccher.example.com"])
def test_endpoints_at_unix_sockets(tmp_path: Path, host: str) -> None:
    """ServiceEntry addresses ``unix:///path``. A host that is no ASCII was once a UnicodeEncodeError."""
    loop = Loop()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 X\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello")
        await writer.drain()
        writer.close()

    async def close(server: asyncio.Server) -> None:
        server.close()  # in its loop: in another thread it may meet the end of a connection

    path = tmp_path / "app.sock"
    server = loop.run(asyncio.start_unix_server(answer, path))
    text = YAML.split("---\n", maxsplit=1)[0].replace(
        "[{address: 10.0.0.1}, {address: 10.0.0.2}]", f"[{{address: 'unix://{path}'}}]"
    )
    text = text.replace(", {number: 443, name: tls, protocol: HTTPS}", "").replace(HOST, host.encode("idna").decode())
    with Mesh.load(text).httpx() as client:
        assert client.get(f"http://{host}/").text == "hello"
    loop.run(close(server))
    loop.close()


MISSING = """
import sys
for name in {names}:
    sys.modules[name] = None
from meshlib import Mesh
mesh = Mesh.load("apiVersion: v1\\nkind: Namespace\\nmetadata: {{name: x}}\\n")
try:
    print(type(mesh.{verb}()).__module__)
except ImportError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("verb", "names", "said"),
    [
        ("httpx", ["httpx", "httpx2"], r"MissingExtraError .*pip install 'proxyless-mesh\[httpx\]'"),
        ("httpx_async", ["httpx", "httpx2"], r"MissingExtraError .*pip install 'proxyless-mesh\[httpx\]'"),
        ("httpx", ["httpx"], r"httpx2"),
        ("httpx_async", ["httpx"], r"httpx2"),
        ("requests", ["requests"], r"MissingExtraError .*pip install 'proxyless-mesh\[requests\]'"),
        ("urllib3", ["urllib3"], r"MissingExtraError .*pip install 'proxyless-mesh\[requests\]'"),
        ("requests", ["httpx", "httpx2"], r"meshlib.adapters.requests"),
    ],
)
def test_a_client_whose_library_is_missing(verb: str, names: list[str], said: str) -> None:
    """One error that names the extra; the others go on working."""
    code = MISSING.format(names=names, verb=verb)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert re.match(said, done.stdout)


class _Socket:
    """A connection as httpcore has it."""

    is_closed = False

    def close(self) -> None:
        self.is_closed = True


@pytest.mark.parametrize("core", [httpcore, httpcore2])
def test_a_timeout_between_connect_and_handshake_is_one_of_httpx(core: Any) -> None:
    """Not Python's own, and the socket is closed."""
    connection = _Socket()
    stream = SyncStream(connection, core, None)
    attempt = Attempt(None, ConnectionPool(), timeout=-1.0)
    token = current_attempt.set(attempt)
    try:
        with pytest.raises(core.ConnectTimeout):
            stream.start_tls(ssl.create_default_context(), HOST, None)
    finally:
        current_attempt.reset(token)
    assert connection.is_closed
    assert attempt.is_expired


@pytest.fixture(params=[httpcore, httpcore2])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[Any, SyncStream, socket.socket]]:
    """A governed connection of either package that carries an attempt, and the upstream's end of it."""
    core = request.param
    with socket.create_server(("127.0.0.1", 0)) as listener:
        token = current_attempt.set(Attempt(None, ConnectionPool(), timeout=PATIENCE))
        try:
            stream = SyncBackend(core.SyncBackend(), core, None).connect_tcp(*listener.getsockname())
            theirs, _ = listener.accept()
            with contextlib.closing(stream), theirs:
                yield core, stream, theirs
        finally:
            current_attempt.reset(token)


def test_a_large_body_goes_out_in_as_many_parts_as_it_takes(ends: tuple[Any, SyncStream, socket.socket]) -> None:
    """The kernel takes some of it at a time."""
    _, stream, theirs = ends
    body = bytes(range(256)) * 2**16  # 16 MB
    with concurrent.futures.ThreadPoolExecutor() as pool:
        arrived = pool.submit(theirs.makefile("rb").read, len(body))
        stream.write(body)
        assert arrived.result() == body


def test_a_connection_that_is_reset_fails_in_the_words_of_httpcore(ends: tuple[Any, SyncStream, socket.socket]) -> None:
    """Reading as well as writing, and it looks readable to the pool."""
    core, stream, theirs = ends
    stream.write(b"GET")
    assert theirs.recv(3) == b"GET"
    assert not stream.get_extra_info("is_readable")
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset instead of a goodbye
    theirs.close()
    with pytest.raises(core.ReadError):
        stream.read(1)
    with pytest.raises(core.WriteError):
        for _ in range(2):
            stream.write(b"GET")
    stream.close()
    assert stream.get_extra_info("is_readable")


def test_an_upstream_that_takes_a_little_at_a_time_is_late_too(ends: tuple[Any, SyncStream, socket.socket]) -> None:
    """Each part goes out in time, the whole body does not."""
    core, stream, theirs = ends
    ended = threading.Event()

    def take() -> None:
        while not ended.wait(0.02):
            theirs.recv(2**20)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        taking = pool.submit(take)
        token = current_attempt.set(Attempt(None, ConnectionPool(), timeout=0.5))
        try:
            with pytest.raises(core.WriteTimeout):
                stream.write(bytes(2**27))
        finally:
            current_attempt.reset(token)
            ended.set()
        taking.result()
