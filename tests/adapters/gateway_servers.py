"""A gateway on real ports before real services, for tests."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import uvicorn

from meshlib import Mesh, Workload
from meshlib.adapters.gateway import MeshGateway
from tests.patience import until

__all__ = ["GATEWAY", "INGRESS", "gateway", "serve_app", "service"]

INGRESS = Workload(namespace="shop", labels={"istio": "ingressgateway"}, gateway=True)

GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front, namespace: shop}
spec:
  selector: {istio: ingressgateway}
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ["*"]
---
"""


def service(name: str, *ports: int, host: str = "") -> str:
    """A ServiceEntry whose endpoints are loopback ports."""
    endpoints = "".join(f"\n  - {{address: 127.0.0.1, ports: {{http: {port}}}}}" for port in ports)
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: shop}}
spec:
  hosts: [{host or name + ".test"}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints:{endpoints}
---
"""


@asynccontextmanager
async def serve_app(app: object, *, tls: ssl.SSLContext | None = None, http: str = "auto") -> AsyncIterator[int]:
    """A uvicorn of this event loop; yields its port."""
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        host="127.0.0.1",
        port=0,
        http=http,
        log_level="critical",
        ws="websockets-sansio",
        server_header=False,
        date_header=False,
        lifespan="on",
        timeout_graceful_shutdown=1,
    )
    config.load()
    config.ssl = tls
    server = uvicorn.Server(config)
    task = asyncio.ensure_future(server._serve())
    await until(lambda: server.started or task.done())
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def gateway(yaml: str, **options: object) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    """A served gateway with a plain client; yields the client and the gateway's URL."""
    mesh = Mesh.load(yaml, workload=INGRESS)
    async with serve_app(MeshGateway(mesh), **options) as port:  # type: ignore[arg-type]
        async with aiohttp.ClientSession(auto_decompress=False) as client:
            yield client, f"http://127.0.0.1:{port}"
