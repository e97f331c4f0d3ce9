"""Websockets of a governed aiohttp session, by URLs of their own schemes."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from meshlib import Mesh
from meshlib._inbound.certificates import identity_of_tls
from meshlib.security import CertificateFiles, DevelopmentCA
from tests.adapters.contract.servers import tls_for

MESH = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: chat, namespace: default}}
spec:
  hosts: [localhost, chat.example]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}, {{number: 443, name: https, protocol: HTTPS}}]
  endpoints: [{{address: 127.0.0.1, serviceAccount: "{account}", ports: {{http: {port}, https: {port}}}}}]
"""


@asynccontextmanager
async def chat(tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, list[web.Request]]]:
    """A server that says hello; its port, and the handshakes that it saw."""
    seen: list[web.Request] = []

    async def hello(request: web.Request) -> web.WebSocketResponse:
        seen.append(request)
        reply = web.WebSocketResponse()
        await reply.prepare(request)
        transport = request.transport
        await reply.send_str(str(identity_of_tls(transport and transport.get_extra_info("ssl_object"))))
        return reply

    app = web.Application()
    app.router.add_get("/", hello)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    try:
        yield runner.addresses[0][1], seen
    finally:
        await runner.cleanup()


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> DevelopmentCA:
    return DevelopmentCA.create(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def server(ca: DevelopmentCA, tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    return ca.issue(tmp_path_factory.mktemp("server"), service_account="chat", names=["localhost"])


async def hear(mesh: Mesh, url: str, **arguments: Any) -> str:
    async with mesh.aiohttp() as session, session.ws_connect(url, **arguments) as socket:
        return str(await socket.receive_str())


@pytest.mark.parametrize("url", ["http://chat.example/", "ws://chat.example/"])
async def test_the_handshake_is_a_request_of_http(url: str) -> None:
    """Whatever the scheme of the URL, a service is told the one of HTTP, as by a sidecar, and a match sees it."""
    async with chat() as (port, seen):
        rule = """
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: chat, namespace: default}
spec:
  hosts: [chat.example]
  http: [{match: [{scheme: {exact: http}}], route: [{destination: {host: chat.example}}]}]
"""
        with Mesh.load(MESH.format(port=port, account="") + rule) as mesh:
            assert await hear(mesh, url) == "None"
    assert seen[0].headers["x-forwarded-proto"] == "http"


@pytest.mark.parametrize("url", ["http://chat.example/", "ws://chat.example/"])
async def test_an_endpoint_of_the_mesh_is_never_called_in_plaintext(
    url: str, ca: DevelopmentCA, server: CertificateFiles, tmp_path: Path
) -> None:
    """Automatic mutual TLS holds for websockets, too."""
    ca.issue(tmp_path, service_account="web")
    account = "chat"
    async with chat(tls_for(server)) as (port, _):
        with Mesh.load(MESH.format(port=port, account=account), certificates=tmp_path) as mesh:
            assert await hear(mesh, url) == "spiffe://cluster.local/ns/default/sa/web"


@pytest.mark.parametrize("url", ["https://localhost/", "wss://localhost/"])
async def test_the_certificate_is_that_of_the_host_in_the_url(url: str, server: CertificateFiles) -> None:
    """Not that of the address of the endpoint, which the application never named."""
    own = ssl.create_default_context(cafile=str(server.root))
    async with chat(tls_for(server, asks_for_client=False)) as (port, seen):
        with Mesh.load(MESH.format(port=port, account="")) as mesh:
            assert await hear(mesh, url, ssl=own) == "None"
    assert seen[0].headers["x-forwarded-proto"] == "https"
