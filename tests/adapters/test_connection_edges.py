"""Connections that carry no HTTP, at their edges: what is offered and counted, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import tempfile

import pytest
import trustme

from meshlib import Mesh
from meshlib.adapters.connections import MeshConnectionError, MeshTimeoutError
from meshlib.events import ConnectionClosed, ConnectionOpened, Event
from tests.adapters.test_connections import Ask, ask, entry, policy, proxy, server
from tests.mesh_builders import AT_REST, counters
from tests.patience import PATIENCE, until

__all__ = ["ask"]


async def test_raw_connections_offer_no_protocol_of_http(ask: Ask) -> None:
    """As Envoy for a TCP cluster: a database that knows none but its own would hang up."""
    authority, seen = trustme.CA(), []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("db.test").configure_cert(context)
    context.set_alpn_protocols(["http/1.1"])

    class Seen(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            seen.append(self.selected_alpn_protocol())

    context.sslobject_class = Seen
    with authority.cert_pem.tempfile() as roots:
        async with server("db", context) as port:
            tls = policy("db.test", f"  trafficPolicy: {{tls: {{mode: SIMPLE, caCertificates: {roots}}}}}\n")
            assert await ask(Mesh.load(entry("db.test", port) + tls), "db.test", 27017) == "db"
    assert seen == [None]


async def test_a_port_written_as_text_is_that_port(ask: Ask) -> None:
    """As the standard library has it; the rules of the port would not have been asked. What is none is refused."""
    async with server("db") as port:
        mesh = Mesh.load(entry("db.test", port))
        assert await ask(mesh, "db.test", "27017") == "db"  # type: ignore[arg-type]
        for wrong in (0, 65536, "postgres"):
            with pytest.raises(ValueError, match="it is to be a number from 1 to 65535"):
                await ask(mesh, "db.test", wrong)  # type: ignore[arg-type]
    assert counters(mesh.runtime) == AT_REST


async def test_a_file_made_of_a_socket_keeps_the_connection() -> None:
    """The socket is closed, the file goes on: the connection counts, and its bytes."""
    async with server("db") as port:
        mesh = Mesh.load(entry("db.test", port))
        events: list[Event] = []
        mesh.observe(events.append, ConnectionClosed)

        def ask() -> bytes:
            with mesh.create_connection(("db.test", 27017), PATIENCE) as made:
                lines = made.makefile("rb")
                made.sendall(b"who\n")
            with lines:
                assert counters(mesh.runtime)["endpoint active"] == 1
                return lines.readline()

        assert await asyncio.to_thread(ask) == b"db\n"
    assert counters(mesh.runtime) == AT_REST
    (closed,) = events
    assert isinstance(closed, ConnectionClosed)
    assert (closed.sent, closed.received) == (4, 3)


async def test_messages_and_files_are_counted() -> None:
    """``sendmsg``, ``sendfile`` and ``recvmsg`` too."""
    async with server("db") as port:
        mesh = Mesh.load(entry("db.test", port))
        events: list[Event] = []
        mesh.observe(events.append, ConnectionClosed)

        def ask() -> bytes:
            with tempfile.TemporaryFile() as file, mesh.create_connection(("db.test", 27017), PATIENCE) as made:
                file.write(b"ho\n")
                file.seek(0)
                made.sendmsg([b"w"])
                made.sendfile(file)
                return bytes(made.recvmsg(3)[0])

        assert await asyncio.to_thread(ask) == b"db\n"
    (closed,) = events
    assert isinstance(closed, ConnectionClosed)
    assert (closed.sent, closed.received) == (4, 3)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes that fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_does_not_count_its_parents_connections() -> None:
    """It closes what it inherits: its counters stay at zero, and the parent's connection is not reported."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        mesh = Mesh.load(entry("db.test", listener.getsockname()[1]))
        events: list[Event] = []
        mesh.observe(events.append, ConnectionClosed)
        with mesh.create_connection(("db.test", 27017), PATIENCE) as made:
            child = os.fork()
            if child == 0:
                made.close()
                os._exit(0 if counters(mesh.runtime) == AT_REST and not events else 1)
            assert os.waitpid(child, 0)[1] == 0
            assert counters(mesh.runtime)["endpoint active"] == 1
    assert counters(mesh.runtime) == AT_REST


async def test_a_proxy_that_dawdles_is_given_the_time_to_connect_once(ask: Ask) -> None:
    """``connectTimeout`` is for all of it, not for each byte of the answer to CONNECT."""
    over = asyncio.Event()

    async def dawdle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.005)  # how slow it is
        writer.close()
        over.set()

    tunnel = (
        "  trafficPolicy:\n    connectionPool: {tcp: {connectTimeout: 200ms}}\n"
        "    tunnel: {targetHost: db.internal, targetPort: 1}\n"
    )
    async with await asyncio.start_server(dawdle, "127.0.0.1", 0) as started:
        mesh = Mesh.load(entry("db.test", started.sockets[0].getsockname()[1]) + policy("db.test", tunnel))
        with pytest.raises(MeshTimeoutError):
            await asyncio.wait_for(ask(mesh, "db.test", 27017), PATIENCE)
        await asyncio.wait_for(over.wait(), PATIENCE)
    assert counters(mesh.runtime) == AT_REST


async def test_a_proxy_that_hangs_up_is_reported_in_order(ask: Ask) -> None:
    """Opened first, then closed, both with the flag."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as started:
        tunnel = policy("db.test", "  trafficPolicy: {tunnel: {targetHost: db.internal, targetPort: 1}}\n")
        mesh = Mesh.load(entry("db.test", started.sockets[0].getsockname()[1]) + tunnel)
        events: list[Event] = []
        mesh.observe(events.append, ConnectionOpened, ConnectionClosed)
        with pytest.raises(MeshConnectionError):
            await ask(mesh, "db.test", 27017)
    assert [type(event) for event in events] == [ConnectionOpened, ConnectionClosed]
    assert {event.flag for event in events if isinstance(event, ConnectionOpened | ConnectionClosed)} == {"UF"}
    assert counters(mesh.runtime) == AT_REST


async def test_the_answer_of_a_proxy_is_not_the_applications(ask: Ask) -> None:
    """What a tunnel takes to set up is not counted among the bytes of the connection."""
    async with server("behind") as port, proxy("200 OK") as (way, _):
        tunnel = policy("db.test", f"  trafficPolicy: {{tunnel: {{targetHost: db.internal, targetPort: {port}}}}}\n")
        mesh = Mesh.load(entry("db.test", way) + tunnel)
        events: list[Event] = []
        mesh.observe(events.append, ConnectionClosed)
        assert await ask(mesh, "db.test", 27017) == "behind"
    (closed,) = events
    assert isinstance(closed, ConnectionClosed)
    assert (closed.sent, closed.received) == (4, 7)


async def test_hosts_without_a_service_are_not_named(ask: Ask) -> None:
    """As in Istio: there is no Host header to name them by; the cluster is all that is told."""
    async with server("outside") as port:
        for text, name in (
            (entry("db.test", 1), "PassthroughCluster"),
            ("outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n", "BlackHoleCluster"),
        ):
            mesh = Mesh.load(text)
            metrics = mesh.metrics()
            with contextlib.suppress(MeshConnectionError):
                await ask(mesh, "127.0.0.1", port)
            named = {"destination_service": "unknown", "destination_service_name": name}
            assert metrics.value("istio_tcp_connections_opened_total") == 1
            assert metrics.value("istio_tcp_connections_opened_total", **named) == 1


def addresses(mesh: Mesh) -> set[str]:
    return {one.endpoint.address for live in mesh.runtime.clusters().values() for one in live.endpoints}


async def test_names_of_endpoints_are_looked_up_for_raw_connections_too(ask: Ask) -> None:
    """An application that makes no request has its DNS names looked up all the same."""
    async with server("db") as port:
        text = entry("db.test", port).replace("STATIC", "DNS").replace("address: 127.0.0.1", "address: localhost")
        with Mesh.load(text) as mesh:
            assert await ask(mesh, "db.test", 27017) == "db"
            await until(lambda: "localhost" not in addresses(mesh))
