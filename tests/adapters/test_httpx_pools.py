"""What the pools of the governed transports do otherwise than those of httpcore."""

from __future__ import annotations

import asyncio
from typing import Any

import httpcore
import pytest

from meshlib.adapters.httpx.reserved import reserving_pool

URL = "http://127.0.0.1:9080/"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def pool_of(*answers: bytes) -> Any:
    """One whose upstream answers the requests of each connection so."""
    return reserving_pool(httpcore)(network_backend=httpcore.AsyncMockBackend(list(answers)))


async def test_a_connection_is_taken_from_the_moment_it_is_given() -> None:
    """No request that comes in the same turn of the loop is sent to it."""
    async with pool_of(ANSWER, ANSWER) as pool:
        assert (await pool.request("GET", URL)).status == 200
        (connection,) = pool.connections
        assert connection.is_available()
        first = asyncio.create_task(pool.request("GET", URL))
        await asyncio.sleep(0)
        assert not (connection.is_available() or connection.is_idle() or connection.has_expired())
        assert (await pool.request("GET", URL)).status == 200
        assert (await first).status == 200
        assert len(pool.connections) == 2
        assert all(one.is_available() for one in pool.connections)


async def test_what_comes_to_a_taken_connection_all_the_same_gets_another() -> None:
    """As httpcore has it: it is told so, and the pool looks again."""
    async with pool_of(ANSWER, ANSWER) as pool:
        await pool.request("GET", URL)
        (connection,) = pool.connections
        first = asyncio.create_task(pool.request("GET", URL))
        await asyncio.sleep(0)
        with pytest.raises(httpcore.ConnectionNotAvailable):
            await connection.handle_async_request(httpcore.Request("GET", URL, headers={"host": "reviews"}))
        assert (await first).status == 200


async def test_a_connection_is_free_again_when_its_request_is_cancelled() -> None:
    """One that had not begun to be used stays; another is closed by httpcore. Neither is lost to the pool."""
    async with pool_of(ANSWER, ANSWER) as pool:
        await pool.request("GET", URL)
        first = asyncio.create_task(pool.request("GET", URL))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert (await pool.request("GET", URL)).status == 200
        assert [one.is_available() for one in pool.connections] == [True]


async def test_a_connection_that_cannot_be_made_is_not_kept() -> None:
    """The next request has one of its own."""

    class Backend(httpcore.AsyncMockBackend):
        async def connect_tcp(self, *arguments: Any, **options: Any) -> Any:
            raise httpcore.ConnectError("nobody there")

    async with reserving_pool(httpcore)(network_backend=Backend([])) as pool:
        for _ in range(2):
            with pytest.raises(httpcore.ConnectError):
                await pool.request("GET", URL)
            assert pool.connections == []
