"""The contract of clients: responses as streams, connections and their lives, clients and theirs."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import threading
import time
import warnings
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from meshlib.errors import MeshClosedError
from tests.adapters.contract.clients import in_threads
from tests.adapters.contract.conftest import URL, Kit
from tests.patience import PATIENCE, until, wait_until


def pause(client: Any, seconds: float) -> None:
    """Let time pass, for the loop of the client too."""
    if client.is_async:
        client.run(asyncio.sleep(seconds))
    else:
        time.sleep(seconds)


def test_connections_are_reused(kit: Kit) -> None:
    """One for each endpoint."""
    server = kit.upstream()
    client = kit.client()
    for _ in range(5):
        client.get(URL)
    assert server.connections == 1


def test_connections_are_reused_after_errors_of_the_upstream(kit: Kit) -> None:
    """A retried 503 with a short body need not cost its connection: five attempts need fewer of them."""
    server = kit.upstream(503, 200, 503)
    kit.mesh(route={"retries": {"attempts": 1, "retryOn": "5xx", "backoff": "1ms"}})
    client = kit.client()
    assert [client.get(URL).status for _ in range(3)] == [200, 200, 200]
    assert server.connections <= 3


def test_a_closed_client_leaves_no_connection(kit: Kit) -> None:
    """Not even where an attempt failed: what errors of the library hold on to need not wait for the collector."""
    server = kit.upstream({"reset": True})
    kit.mesh(route={"retries": {"attempts": 1, "retryOn": "5xx", "backoff": "1ms"}})
    gc.collect()
    gc.disable()
    try:
        client = kit.client()
        assert client.get(URL).status == 200
        kit.close_clients()
        wait_until(lambda: server.open == 0)
    finally:
        gc.enable()


def test_connections_serve_all_hosts_of_an_endpoint(plain_kit: Kit) -> None:
    """Plaintext connections carry any name."""
    kit = plain_kit
    server = kit.upstream()
    kit.mesh(more=kit.resources(host="ratings.example.com"))
    client = kit.client()
    client.get(URL)
    client.get("http://ratings.example.com/")
    assert server.connections == 1


def test_a_connection_that_the_upstream_closed_is_not_used(kit: Kit) -> None:
    """While it was idle."""
    server = kit.upstream()
    client = kit.client()
    client.get(URL)
    server.drop_connections()
    pause(client, 0.02)
    assert client.get(URL).status == 200
    assert server.connections == 2


def test_connection_close_of_the_upstream_is_kept_to(kit: Kit) -> None:
    """The next request gets a new one."""
    server = kit.upstream({"headers": [("connection", "close")], "close": True})
    client = kit.client()
    assert [client.get(URL).status for _ in range(2)] == [200, 200]
    assert server.connections == 2


@pytest.mark.parametrize(("most", "connections"), [(1, 4), (2, 2)])
def test_requests_per_connection(kit: Kit, most: int, connections: int) -> None:
    """maxRequestsPerConnection."""
    server = kit.upstream()
    kit.mesh(policy={"connectionPool": {"http": {"maxRequestsPerConnection": most}}})
    client = kit.client()
    for _ in range(4):
        client.get(URL)
    assert server.connections == connections


@pytest.mark.parametrize(
    "pool", [{"http": {"idleTimeout": "50ms"}}, {"tcp": {"maxConnectionDuration": "50ms"}}], ids=["idle", "age"]
)
def test_the_lives_of_connections(kit: Kit, pool: dict[str, object]) -> None:
    """idleTimeout and maxConnectionDuration: the next request gets a new one."""
    server = kit.upstream()
    kit.mesh(policy={"connectionPool": pool})
    client = kit.client()
    client.get(URL)
    pause(client, 0.1)
    client.get(URL)
    assert server.connections == 2


def test_a_connect_timeout_is_a_failure_of_the_attempt(kit: Kit) -> None:
    """connectTimeout, with a listener whose backlog is full: UF."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(8)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        kit.mesh(port, policy={"connectionPool": {"tcp": {"connectTimeout": "100ms"}}})
        reply = kit.client().get(URL)
        for one in waiting:
            one.close()
    assert (reply.status, reply.flags) == (503, ("UF",))
    assert reply.text.endswith("reset reason: connection timeout")
    assert kit.at_rest()


def test_requests_wait_for_a_connection(kit: Kit) -> None:
    """maxConnections 1: requests wait for each other, all are served."""
    server = kit.upstream()
    mesh = kit.mesh(policy={"connectionPool": {"tcp": {"maxConnections": 1}}})
    clients = [kit.client(mesh) for _ in range(4)]
    assert in_threads(4, lambda number: clients[number].get(URL).status) == [200] * 4
    assert server.most == 1
    kit.settle()


def test_a_response_can_be_streamed(kit: Kit) -> None:
    """Parts arrive as they are sent; the request counts until the last."""
    server = kit.upstream({"parts": [b"first", b"later"], "hold": True})
    client = kit.client()
    with client.stream(URL) as (status, parts):
        assert status == 200
        assert next(parts) == b"first"
        assert not kit.at_rest()
        server.rest.set()
        assert b"".join(parts) == b"later"
    assert kit.at_rest()


def test_a_response_that_is_not_read_is_counted_out(kit: Kit) -> None:
    """When it is closed."""
    kit.upstream({"parts": [b"x" * 5] * 2, "hold": True})
    client = kit.client()
    with client.stream(URL):
        assert not kit.at_rest()
    assert kit.at_rest()


def test_a_response_that_is_dropped_is_counted_out(kit: Kit) -> None:
    """An error in the caller's own code while it reads."""
    kit.upstream({"parts": [b"x" * 5] * 2, "hold": True})
    client = kit.client()
    with pytest.raises(ZeroDivisionError):
        with client.stream(URL) as (_, parts):
            next(parts)
            raise ZeroDivisionError
    gc.collect()
    assert kit.at_rest()


def test_an_empty_response(kit: Kit) -> None:
    """204 and 304 have no body; the connection is used again."""
    server = kit.upstream(204, 304)
    client = kit.client()
    assert [client.get(URL).status for _ in range(3)] == [204, 304, 200]
    assert server.connections == 1
    assert kit.at_rest()


def test_a_body_until_the_connection_ends(kit: Kit) -> None:
    """Without a length: read until the upstream closes, and not taken for a broken one."""
    kit.upstream({"garbage": b"HTTP/1.1 200 X\r\nconnection: close\r\n\r\nhello"})
    assert kit.client().get(URL).text == "hello"
    kit.settle()


def test_compressed_bodies_are_decoded_by_the_library(kit: Kit) -> None:
    """As without a mesh."""
    import gzip

    kit.upstream({"headers": [("content-encoding", "gzip")], "body": gzip.compress(b"hello")})
    assert kit.client().get(URL).text == "hello"


def test_an_error_in_the_body_of_the_caller_comes_back_to_him(kit: Kit) -> None:
    """It is not retried, nothing is left behind."""
    kit.upstream()
    kit.mesh(route={"retries": {"attempts": 3, "retryOn": "5xx,reset"}})
    client = kit.client()
    with pytest.raises((LookupError, *client.family)):
        client.post(URL, broken_body(client))
    kit.settle()


def broken_body(client: Any) -> Any:
    """A body in the middle of which the caller's own code fails."""

    async def later() -> AsyncIterator[bytes]:
        yield b"abc"
        raise LookupError("mine")

    def now() -> Iterator[bytes]:
        yield b"abc"
        raise LookupError("mine")

    return later() if client.is_async else now()


def test_no_socket_outlives_its_client(kit: Kit) -> None:
    """Not even that of a broken connection whose upstream is too busy to say goodbye when the client is closed."""
    kit.upstream()
    client = kit.client()
    client.get(URL)
    gc.collect()
    with kit.busy_upstreams(), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with pytest.raises((LookupError, *client.family)):
            client.post(URL, broken_body(client))
        kit.close_clients()
        del client
        gc.collect()
    assert [str(one.message) for one in warned] == []


@pytest.mark.parametrize("times", [1, 2000])
def test_no_socket_outlives_garbage(kit: Kit, times: int) -> None:
    """Closed for what came on it, and again when it is let go: asyncio cannot abort TLS that is closed twice."""
    over = threading.Event()
    kit.upstream({"garbage": b"SSH-2.0-OpenSSH_9.2\r\n\r\n" * times, "busy": over})
    client = kit.client()
    gc.collect()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        assert client.get(URL).flags == ("UPE",)
        kit.close_clients()
        del client
        gc.collect()
    over.set()
    assert [str(one.message) for one in warned] == []


def test_a_reload_holds_for_open_clients(kit: Kit) -> None:
    """The next request sees the new configuration."""
    kit.upstream()
    mesh = kit.mesh()
    client = kit.client()
    assert client.get(URL).status == 200
    mesh.publish(kit.resources(http=[{"directResponse": {"status": 418}}]))
    assert client.get(URL).status == 418


def test_a_closed_mesh_makes_no_clients(kit: Kit) -> None:
    """One clear error; clients that are there go on working."""
    kit.upstream()
    mesh = kit.mesh()
    client = kit.client()
    mesh.close()
    assert client.get(URL).status == 200
    with pytest.raises(MeshClosedError, match=r"Mesh.load"):
        kit.client(mesh)


def test_an_interrupt_leaves_nothing_behind(kit: Kit) -> None:
    """KeyboardInterrupt while the upstream is silent: counters are right, the connection is gone."""
    server = kit.upstream({"delay": 60})
    client = kit.client()
    if client.is_async:
        task_is_cancelled(kit, client)
        return

    def interrupt() -> None:
        kit.settle(lambda: bool(server.seen))
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        client.get(URL)
        time.sleep(PATIENCE)
    thread.join(PATIENCE)
    assert kit.at_rest()
    assert client.get(URL).status == 200


def task_is_cancelled(kit: Kit, client: object) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(client.arequest("GET", URL))  # type: ignore[attr-defined]
        await until(lambda: kit.upstreams[0].seen)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    client.run(main())  # type: ignore[attr-defined]
    assert kit.at_rest()
    assert client.get(URL).status == 200  # type: ignore[attr-defined]


def test_many_requests_at_once(kit: Kit) -> None:
    """On one loop, or from the threads of one client."""
    server = kit.upstream()
    client = kit.client()
    if client.is_async:

        async def main() -> list[int]:
            return [reply.status for reply in await asyncio.gather(*(client.arequest("GET", URL) for _ in range(20)))]

        answers = client.run(main())
    else:
        answers = in_threads(8, lambda _: client.get(URL).status)
    assert set(answers) == {200}
    assert len(server.seen) == len(answers)
    kit.settle()
