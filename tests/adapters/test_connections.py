"""Connections that carry no HTTP: ``mesh.open_connection`` for asyncio and ``mesh.create_connection`` for threads."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import trustme

from meshlib import Mesh, MeshError
from meshlib.adapters.connections import MeshConnectionError, MeshTimeoutError
from meshlib.errors import RefusedError
from meshlib.events import ConnectionClosed, ConnectionOpened, EndpointEjected, Event
from meshlib.security import DevelopmentCA, server_context
from tests.mesh_builders import AT_REST, counters

Ask: TypeAlias = Callable[..., Awaitable[str]]


async def ask_stream(mesh: Mesh, host: str, port: int, **options: Any) -> str:
    """What the other end says, by a stream."""
    reader, writer = await mesh.open_connection(host, port, **options)
    try:
        writer.write(b"who\n")
        await writer.drain()
        return (await reader.readline()).decode().strip()
    finally:
        writer.close()
        await writer.wait_closed()


async def ask_socket(mesh: Mesh, host: str, port: int, **options: Any) -> str:
    """The same by a socket, in a thread."""

    def ask() -> str:
        with mesh.create_connection((host, port), 10, **options) as made, made.makefile("rb") as lines:
            made.sendall(b"who\n")
            return lines.readline().decode().strip()

    return await asyncio.to_thread(ask)


@pytest.fixture(params=[ask_stream, ask_socket], ids=["stream", "socket"])
def ask(request: pytest.FixtureRequest) -> Ask:
    found: Ask = request.param
    return found


@asynccontextmanager
async def server(name: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Says its name, and the server name it was asked for."""
    over: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        over.add(task)
        try:
            with contextlib.suppress(ConnectionError):
                if name == "mute":
                    await reader.read(-1)
                elif await reader.readline():
                    writer.write(f"{name}\n".encode())
                    await reader.read()
        finally:
            writer.close()

    started = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield started.sockets[0].getsockname()[1]
    finally:
        started.close()
        await asyncio.gather(*over, return_exceptions=True)


def entry(host: str, *ports: int, protocol: str = "TCP", number: int = 27017, labels: str = "") -> str:
    endpoints = "".join(
        f"  - {{address: 127.0.0.1, ports: {{it: {port}}}, labels: {{n: n{place}}}}}\n"
        for place, port in enumerate(ports, 1)
    )
    return (
        f"---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {host.partition('.')[0]}}}\n"
        f"spec:\n  hosts: [{host}]\n  location: MESH_INTERNAL\n  resolution: STATIC\n"
        f"  ports: [{{number: {number}, name: it, protocol: {protocol}}}]\n  endpoints:\n{endpoints}"
    )


def policy(host: str, text: str) -> str:
    return (
        "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
        f"metadata: {{name: {host.partition('.')[0]}}}\nspec:\n  host: {host}\n{text}"
    )


async def test_connections_are_balanced_over_the_endpoints(ask: Ask) -> None:
    """A service without rules: its endpoints in turn, and every counter back at the end."""
    async with server("one") as one, server("two") as two:
        mesh = Mesh.load(
            entry("db.test", one, two) + policy("db.test", "  trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}\n")
        )
        answers = Counter([await ask(mesh, "db.test", 27017) for _ in range(10)])
    assert answers == {"one": 5, "two": 5}
    assert counters(mesh.runtime) == AT_REST
    assert all(live.state.connections == 0 for live in mesh.runtime.clusters().values())


async def test_tcp_routes_draw_their_destination_by_weight(ask: Ask) -> None:
    """By port and subset, as a VirtualService says."""
    rules = (
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: db}\n"
        "spec:\n  hosts: [db.test]\n  tcp:\n  - match: [{port: 27017}]\n    route:\n"
        "    - {destination: {host: db.test, subset: old}, weight: 75}\n"
        "    - {destination: {host: db.test, subset: new}, weight: 25}\n"
    ) + policy("db.test", "  subsets: [{name: old, labels: {n: n1}}, {name: new, labels: {n: n2}}]\n")
    async with server("old") as one, server("new") as two:
        mesh = Mesh.load(entry("db.test", one, two) + rules)
        answers = Counter([await ask(mesh, "db.test", 27017) for _ in range(80)])
    assert answers["old"] + answers["new"] == 80
    assert 5 <= answers["new"] <= 36  # 20 expected, four standard deviations either way


async def test_tls_routes_go_by_the_server_name(ask: Ask) -> None:
    """The application starts TLS; another name is an unknown host, as for Istio."""
    authority = trustme.CA()
    contexts = []
    for name in ("a.test", "b.test"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name, "c.test").configure_cert(context)
        contexts.append(context)
    own = ssl.create_default_context()
    authority.configure_trust(own)
    rules = (
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: sni}\n"
        "spec:\n  hosts: ['*.test']\n  tls:\n"
        "  - {match: [{port: 443, sniHosts: [a.test]}], route: [{destination: {host: first.test}}]}\n"
        "  - {match: [{port: 443, sniHosts: [b.test]}], route: [{destination: {host: second.test}}]}\n"
    )
    async with server("first", contexts[0]) as one, server("second", contexts[1]) as two:
        services = entry("first.test", one, protocol="TLS", number=443) + entry(
            "second.test", two, protocol="TLS", number=443
        )
        only = "---\noutboundTrafficPolicy: {mode: REGISTRY_ONLY}\n"
        mesh = Mesh.load(services + rules + only)
        assert await ask(mesh, "first.test", 443, ssl=own, server_hostname="b.test") == "second"
        assert await ask(mesh, "first.test", 443, ssl=own, server_hostname="a.test") == "first"
        with pytest.raises(MeshConnectionError, match="no service or route is for this name"):
            await ask(mesh, "first.test", 443, ssl=own, server_hostname="c.test")
        with pytest.raises(MeshConnectionError, match="no service or route is for this name"):
            await ask(mesh, "first.test", 443)
        assert mesh.explain("GET", "https://first.test/").outcome == "direct_response"
        passing = Mesh.load(services + rules).explain("GET", "https://first.test/")
        assert (passing.outcome, passing.route) == ("passthrough", "allow_any")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("certificates")
    authority = DevelopmentCA.create(place / "ca")
    authority.issue(place / "web", service_account="web")
    authority.issue(place / "db", service_account="db")
    authority.issue(place / "thief", service_account="thief")
    return place


@pytest.mark.parametrize(("account", "is_let_in"), [("db", True), ("thief", False)])
async def test_the_mesh_starts_tls_and_checks_the_identity(
    certificates: Path, ask: Ask, account: str, is_let_in: bool
) -> None:
    """ISTIO_MUTUAL: a server with another account gets nothing to see."""
    async with server("db", server_context(certificates / account)) as port:
        text = entry("db.test", port).replace("labels: {n: n1}", "serviceAccount: db")
        tls = policy(
            "db.test",
            "  trafficPolicy: {tls: {mode: ISTIO_MUTUAL, subjectAltNames: ['spiffe://cluster.local/ns/default/sa/db']}}\n",
        )
        mesh = Mesh.load(text + tls, certificates=certificates / "web")
        if is_let_in:
            assert await ask(mesh, "db.test", 27017) == "db"
            return
        with pytest.raises(MeshConnectionError, match="SAN matcher") as caught:
            await ask(mesh, "db.test", 27017)
    assert caught.value.flags == ("UF",)
    assert counters(mesh.runtime) == AT_REST


async def test_tls_that_cannot_be_had_is_never_plaintext(ask: Ask) -> None:
    """No certificates: no connection."""
    async with server("db") as port:
        mesh = Mesh.load(entry("db.test", port) + policy("db.test", "  trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}\n"))
        with pytest.raises(MeshConnectionError, match="no certificates"):
            await ask(mesh, "db.test", 27017)
    assert counters(mesh.runtime) == AT_REST


async def test_connections_above_the_limit_are_refused() -> None:
    """``maxConnections``: UO, until one is closed."""
    async with server("db") as port:
        limits = "  trafficPolicy: {connectionPool: {tcp: {maxConnections: 2}}}\n"
        mesh = Mesh.load(entry("db.test", port) + policy("db.test", limits))
        _, first = await mesh.open_connection("db.test", 27017)
        second = await asyncio.to_thread(mesh.create_connection, ("db.test", 27017))
        with pytest.raises(MeshConnectionError) as caught:
            await mesh.open_connection("db.test", 27017)
        assert caught.value.flags == ("UO",)
        second.close()
        _, third = await mesh.open_connection("db.test", 27017)
        for writer in (first, third):
            writer.close()
            await writer.wait_closed()
    assert counters(mesh.runtime) == AT_REST


async def test_an_endpoint_that_does_not_answer_is_ejected(ask: Ask) -> None:
    """A refused connection is a connection error of the standard library, and a failure for outlier detection."""
    dead = socket.create_server(("127.0.0.1", 0))
    number = dead.getsockname()[1]
    dead.close()
    async with server("alive") as port:
        detection = (
            "  trafficPolicy:\n    loadBalancer: {simple: ROUND_ROBIN}\n"
            "    outlierDetection: {consecutive5xxErrors: 2, interval: 1h, maxEjectionPercent: 100}\n"
        )
        mesh = Mesh.load(entry("db.test", number, port) + policy("db.test", detection))
        events: list[Event] = []
        mesh.observe(events.append, EndpointEjected)
        outcomes: Counter[str] = Counter()
        for _ in range(12):
            try:
                outcomes[await ask(mesh, "db.test", 27017)] += 1
            except ConnectionError as error:
                outcomes[",".join(error.flags) if isinstance(error, RefusedError) else repr(error)] += 1
    assert outcomes == {"alive": 10, "UF": 2}
    assert [event.endpoint for event in events if isinstance(event, EndpointEjected)] == [f"127.0.0.1:{number}"]


async def test_connecting_keeps_to_its_timeout(certificates: Path, ask: Ask) -> None:
    """A server that never answers the handshake: a TimeoutError, and nothing leaks."""
    async with server("mute") as port:
        settings = (
            "  trafficPolicy:\n    connectionPool: {tcp: {connectTimeout: 50ms}}\n    tls: {mode: ISTIO_MUTUAL}\n"
        )
        mesh = Mesh.load(entry("db.test", port) + policy("db.test", settings), certificates=certificates / "web")
        with pytest.raises(TimeoutError) as caught:
            await ask(mesh, "db.test", 27017)
    assert isinstance(caught.value, MeshTimeoutError)
    assert counters(mesh.runtime) == AT_REST


@pytest.mark.parametrize("setting", ["idleTimeout: 50ms", "maxConnectionDuration: 50ms"])
async def test_streams_end_when_the_policy_says_so(setting: str) -> None:
    """Idle for long, or old: the reader sees the end."""
    async with server("db") as port:
        mesh = Mesh.load(
            entry("db.test", port) + policy("db.test", f"  trafficPolicy: {{connectionPool: {{tcp: {{{setting}}}}}}}\n")
        )
        reader, writer = await mesh.open_connection("db.test", 27017)
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
    assert counters(mesh.runtime) == AT_REST


async def test_cancelling_while_connecting_leaves_nothing_behind(certificates: Path) -> None:
    """At whatever point it is cancelled."""
    async with server("mute") as port:
        settings = policy("db.test", "  trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}\n")
        mesh = Mesh.load(entry("db.test", port) + settings, certificates=certificates / "web")
        for turns in range(8):
            task = asyncio.ensure_future(mesh.open_connection("db.test", 27017))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert counters(mesh.runtime) == AT_REST


async def test_a_socket_that_is_thrown_away_is_counted_out() -> None:
    """Its endpoint does not seem busy for ever."""
    async with server("db") as port:
        mesh = Mesh.load(entry("db.test", port))
        made = mesh.create_connection(("db.test", 27017))
        assert counters(mesh.runtime)["endpoint active"] == 1
        raw = made.detach()
        del made
        gc.collect()
        socket.close(raw)
    assert counters(mesh.runtime) == AT_REST


@asynccontextmanager
async def proxy(status: str) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Answers CONNECT, and leads on to wherever it is asked to."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(f"HTTP/1.1 {status}\r\nx: y\r\n\r\n".encode())
            if status.startswith("200"):
                port = int(asked[-1].split()[1].rpartition(b":")[2])
                target, onward = await asyncio.open_connection("127.0.0.1", port)
                onward.write(await reader.readline())
                writer.write(await target.readline())
                await reader.read()
                onward.close()
        writer.close()

    started = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with started:
        yield started.sockets[0].getsockname()[1], asked


async def test_connections_are_led_through_a_tunnel(ask: Ask) -> None:
    """``tunnel``: the endpoint is a proxy, and a refusal of it is a failure to connect."""
    async with server("behind") as port, proxy("200 OK") as (way, asked), proxy("403 Forbidden") as (closed, _):
        tunnel = policy("db.test", f"  trafficPolicy: {{tunnel: {{targetHost: db.internal, targetPort: {port}}}}}\n")
        assert await ask(Mesh.load(entry("db.test", way) + tunnel), "db.test", 27017) == "behind"
        assert asked == [f"CONNECT db.internal:{port} HTTP/1.1\r\nhost: db.internal:{port}\r\n\r\n".encode()]
        mesh = Mesh.load(entry("db.test", closed) + tunnel)
        with pytest.raises(MeshConnectionError, match="403 Forbidden"):
            await ask(mesh, "db.test", 27017)
        post = tunnel.replace("targetHost", "protocol: POST, targetHost")
        with pytest.raises(MeshConnectionError, match="use CONNECT"):
            await ask(Mesh.load(entry("db.test", way) + post), "db.test", 27017)
    assert counters(mesh.runtime) == AT_REST


@pytest.mark.parametrize("version", ["V1", "V2"])
@pytest.mark.parametrize("tls", [False, True])
async def test_a_proxy_header_goes_first(certificates: Path, ask: Ask, version: str, tls: bool) -> None:
    """``proxyProtocol``: before the application's bytes, and before TLS."""
    seen: list[bytes] = []

    def read_header(raw: socket.socket) -> None:
        """Not a byte more: the rest may be TLS."""
        first = b""
        while not first.endswith(b"\r\n") if version == "V1" else len(first) < 16:
            first += raw.recv(1)
        seen.append(first)
        if version == "V2":
            seen.append(raw.recv(int.from_bytes(first[14:], "big"), socket.MSG_WAITALL))

    def serve(listener: socket.socket) -> None:
        raw, _ = listener.accept()
        with raw:
            read_header(raw)
            spoken = server_context(certificates / "db").wrap_socket(raw, server_side=True) if tls else raw
            with spoken, spoken.makefile("rwb") as stream, contextlib.suppress(ConnectionError, ssl.SSLError):
                stream.readline()
                stream.write(b"db\n")
                stream.flush()
                stream.read()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        serving = asyncio.ensure_future(asyncio.to_thread(serve, listener))
        identity = "subjectAltNames: ['spiffe://cluster.local/ns/default/sa/db']"
        mutual = f"tls: {{mode: ISTIO_MUTUAL, {identity}}}, " if tls else ""
        settings = f"  trafficPolicy: {{{mutual}proxyProtocol: {{version: {version}}}}}\n"
        mesh = Mesh.load(entry("db.test", port) + policy("db.test", settings), certificates=certificates / "web")
        assert await ask(mesh, "db.test", 27017) == "db"
        await serving
    if version == "V1":
        words = seen[0].split()
        assert words[:4] == [b"PROXY", b"TCP4", b"127.0.0.1", b"127.0.0.1"]
        assert int(words[5]) == port
    else:
        assert seen[0][:14] == b"\r\n\r\n\x00\r\nQUIT\n\x21\x11"
        assert seen[1][:8] == b"\x7f\x00\x00\x01" * 2
        assert int.from_bytes(seen[1][10:], "big") == port


async def test_hosts_that_are_not_known(ask: Ask) -> None:
    """Passed through, unless the mesh lets nobody out."""
    async with server("outside") as port:
        assert await ask(Mesh.load(entry("db.test", 1)), "127.0.0.1", port) == "outside"
        closed = Mesh.load("outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n")
        with pytest.raises(MeshConnectionError, match="REGISTRY_ONLY"):
            await ask(closed, "127.0.0.1", port)


async def test_a_port_that_carries_http_is_not_for_raw_connections(ask: Ask) -> None:
    """Its routes could not be kept to: the error says what to use."""
    mesh = Mesh.load(entry("web.test", 1, protocol="HTTP", number=80))
    with pytest.raises(MeshError, match="one of its HTTP clients"):
        await ask(mesh, "web.test", 80)


async def test_what_happens_is_reported(ask: Ask) -> None:
    """Opened, then closed with the bytes of both directions; or refused with its flag."""
    async with server("db") as port:
        mesh = Mesh.load(
            entry("db.test", port) + entry("none.test", number=5432).replace("endpoints:\n", "endpoints: []\n")
        )
        events: list[Event] = []
        mesh.observe(events.append, ConnectionOpened, ConnectionClosed)
        await ask(mesh, "db.test", 27017)
        with pytest.raises(MeshConnectionError):
            await ask(mesh, "none.test", 5432)
    opened, closed, refused, over = events
    assert isinstance(opened, ConnectionOpened)
    assert isinstance(closed, ConnectionClosed)
    assert (opened.host, opened.endpoint, opened.flag) == ("db.test", f"127.0.0.1:{port}", "")
    assert (closed.sent, closed.received, closed.flag) == (4, 3, "")
    assert isinstance(refused, ConnectionOpened)
    assert isinstance(over, ConnectionClosed)
    assert (refused.flag, over.flag, over.sent) == ("UH", "UH", 0)


async def test_connections_are_counted_under_istios_names(ask: Ask) -> None:
    """Opened, closed and bytes; Telemetry may change or switch off each."""
    rules = (
        "---\napiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {name: tcp, namespace: istio-system}\n"
        "spec:\n  metrics:\n  - providers: [{name: prometheus}]\n    overrides:\n"
        "    - {match: {metric: TCP_CLOSED_CONNECTIONS}, disabled: true}\n"
        "    - match: {metric: TCP_OPENED_CONNECTIONS}\n"
        "      tagOverrides: {source_app: {operation: REMOVE}, shop: {value: \"'books'\"}}\n"
    )
    async with server("db") as port:
        plain, changed = Mesh.load(entry("db.test", port)), Mesh.load(entry("db.test", port) + rules)
        for mesh in (plain, changed):
            metrics = mesh.metrics()
            await ask(mesh, "db.test", 27017)
            named = {"destination_service": "db.test", "request_protocol": "tcp", "response_flags": "-"}
            assert metrics.value("istio_tcp_connections_opened_total", **named) == 1
            assert metrics.value("istio_tcp_received_bytes_total", **named) == 4
            assert metrics.value("istio_tcp_sent_bytes_total", **named) == 3
            assert (
                "response_code"
                not in metrics.text().partition("istio_tcp_connections_opened_total{")[2].partition("}")[0]
            )
    assert plain.metrics().value("istio_tcp_connections_closed_total") == 1
    assert changed.metrics().value("istio_tcp_connections_closed_total") == 0
    assert changed.metrics().value("istio_tcp_connections_opened_total", shop="books") == 1
