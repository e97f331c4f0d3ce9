"""Handshakes that a gateway passes on, and what it does not."""

from __future__ import annotations

import pytest
from aiohttp import web

from tests.adapters.gateway_servers import GATEWAY, gateway, service
from tests.adapters.servers import upstream

pytestmark = pytest.mark.anyio

RULES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: front, namespace: shop}
spec:
  hosts: ["*"]
  gateways: [front]
  http:
  - {match: [{uri: {prefix: /moved}}], redirect: {uri: /there}}
  - {route: [{destination: {host: a.test}}]}
---
"""
HANDSHAKE = {
    "connection": "upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize("path", ["/moved", "/away"])
async def test_a_redirect_is_the_clients_to_follow(path: str) -> None:
    """Of a route or of the service, which could name any place: the gateway goes nowhere."""
    visits: list[str] = []

    async def secret(request: web.Request) -> web.StreamResponse:
        visits.append(request.path)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        return socket

    async def away(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"location": f"http://127.0.0.1:{inside.port}/secret"})

    async with upstream(secret=secret) as inside, upstream(away=away) as a:
        async with gateway(GATEWAY + service("a", a.port) + RULES) as (client, url):
            async with client.get(f"{url}{path}", headers=HANDSHAKE, allow_redirects=False) as answer:
                told = answer.status, answer.headers["location"]
    moved, secret_place = url.removeprefix("http://"), f"http://127.0.0.1:{inside.port}/secret"
    assert told == ((301, f"http://{moved}/there") if path == "/moved" else (302, secret_place))
    assert visits == []


async def test_a_handshake_says_no_more_than_the_client() -> None:
    """No User-Agent of the gateway, and no Accept."""
    seen: list[set[str]] = []

    async def refuse(request: web.Request) -> web.Response:
        seen.append({name.lower() for name in request.headers})
        return web.Response(status=400)

    skipped = ("accept", "accept-encoding", "user-agent")
    async with upstream(refuse=refuse) as a, gateway(GATEWAY + service("a", a.port) + RULES) as (client, url):
        async with client.get(f"{url}/refuse", headers=HANDSHAKE, skip_auto_headers=skipped) as answer:
            assert answer.status == 400
    assert [names & set(skipped) for names in seen] == [set()]


@pytest.mark.parametrize(
    ("upgrade", "connection", "status"),
    [("foo", "upgrade", 403), ("foo", "keep-alive, Upgrade", 403), ("foo", "keep-alive", 200), ("h2c", "upgrade", 200)],
)
async def test_other_protocols_are_refused(upgrade: str, connection: str, status: int) -> None:
    """As by Envoy with Istio's settings."""
    async with upstream() as a, gateway(GATEWAY + service("a", a.port) + RULES) as (client, url):
        async with client.get(url, headers={"upgrade": upgrade, "connection": connection}) as response:
            assert response.status == status
    assert len(a.seen) == (status == 200)
