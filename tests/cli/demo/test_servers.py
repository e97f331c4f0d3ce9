"""The Bookinfo servers of the demo, called without a mesh."""

from __future__ import annotations

import aiohttp
import pytest

from meshlib.cli.demo.servers import BookinfoServers, Server


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def server_of(bookinfo: BookinfoServers, name: str) -> Server:
    return next(server for server in bookinfo.servers if server.name == name)


async def test_every_server_has_a_port_of_its_own() -> None:
    """Fourteen servers listen while the block runs, and count what reaches them."""
    async with BookinfoServers() as bookinfo, aiohttp.ClientSession() as session:
        assert len({server.port for server in bookinfo.servers}) == len(bookinfo.servers) == 14
        server = server_of(bookinfo, "details-v1-2")
        async with session.get(f"http://{server.address}/details/0") as response:
            assert (await response.json())["server"] == "details-v1-2"
        assert server.served == 1


async def test_a_broken_server_answers_503_and_counts_it() -> None:
    """What the drill breaks is broken for everyone."""
    async with BookinfoServers() as bookinfo, aiohttp.ClientSession() as session:
        server = server_of(bookinfo, "reviews-v1-1")
        server.is_broken = True
        async with session.get(f"http://{server.address}/reviews/0") as response:
            assert response.status == 503
        assert server.refused == 1


async def test_a_service_hands_on_who_the_visitor_is() -> None:
    """Jason's header reaches ratings through reviews, and a caller's failure is told as status 0."""
    async with BookinfoServers() as bookinfo, aiohttp.ClientSession() as session:
        ratings = server_of(bookinfo, "ratings-v1-1")
        async with aiohttp.ClientSession(middlewares=[redirect_to(ratings)]) as inner:
            bookinfo.sessions = {"reviews": inner}
            url = f"http://{server_of(bookinfo, 'reviews-v3-1').address}/reviews/0"
            async with session.get(url, headers={"end-user": "jason"}) as response:
                assert (await response.json())["ratings"]["status"] == 200
            ratings.is_broken = True
            async with session.get(url) as response:
                assert (await response.json())["ratings"] == {"status": 503}


def redirect_to(server: Server) -> aiohttp.ClientMiddlewareType:
    async def middleware(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        request.url = request.url.with_host("127.0.0.1").with_port(server.port)
        return await handler(request)

    return middleware
