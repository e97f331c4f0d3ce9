"""The cookie jar of a governed aiohttp session: asked and filled as aiohttp does, with what the mesh lets through."""

from __future__ import annotations

import functools
from typing import Any

import aiohttp
from yarl import URL

from meshlib import Mesh
from meshlib.adapters.aiohttp import governed_session
from tests.adapters.servers import Resolver, raw_server
from tests.adapters.side_by_side import BASE, Server, made
from tests.mesh_builders import make_cluster, make_runtime, make_snapshot


class CountingJar(aiohttp.CookieJar):
    """A cookie jar of the application."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def filter_cookies(self, request_url: URL) -> Any:
        self.asked.append(request_url.path)
        return super().filter_cookies(request_url)


async def test_a_cookie_jar_of_the_application() -> None:
    """It is asked once an exchange."""
    server = Server()
    async with raw_server(server.talk) as port:
        runtime = make_runtime(make_snapshot(make_cluster(port)))
        asked = []
        for make in (aiohttp.ClientSession, functools.partial(governed_session, runtime)):
            jar = CountingJar()
            session: Any = make(connector=aiohttp.TCPConnector(resolver=Resolver(port)), cookie_jar=jar)
            async with session:
                for path in ("a", "b", "307", "cookie", "c", "d"):
                    await made(session, server, "GET", f"{BASE}/{path}")
            asked.append(jar.asked)
        assert asked[0] == asked[1]


async def test_cookies_that_a_route_takes_away_and_adds() -> None:
    """The session keeps those that a client behind a sidecar would see, the first time and later."""
    server = Server()
    async with raw_server(server.talk) as port:
        mesh = Mesh.load(COOKIES.replace("PORT", str(port)))
        for path, expected in (
            ("/gone/cookie", []),
            ("/more/cookie", [("mesh", "1"), ("size", "big"), ("taste", "sweet")]),
            ("/own", [("own", "1")]),
        ):
            async with mesh.aiohttp() as session:
                for _ in range(2):
                    session.cookie_jar.clear()
                    async with session.get(f"http://cakes.test{path}") as response:
                        assert sorted((one.key, one.value) for one in response.cookies.values()) == expected
                    assert sorted((one.key, one.value) for one in session.cookie_jar) == expected


COOKIES = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: cakes}
spec:
  hosts: [cakes.test]
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: PORT}]
  resolution: STATIC
  endpoints: [{address: 127.0.0.1}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cakes}
spec:
  hosts: [cakes.test]
  http:
  - match: [{uri: {prefix: /gone}}]
    headers: {response: {remove: [set-cookie]}}
    route: [{destination: {host: cakes.test}}]
  - match: [{uri: {prefix: /more}}]
    headers: {response: {add: {set-cookie: mesh=1}}}
    route: [{destination: {host: cakes.test}}]
  - match: [{uri: {prefix: /own}}]
    headers: {response: {add: {set-cookie: own=1}}}
    directResponse: {status: 200}
"""
