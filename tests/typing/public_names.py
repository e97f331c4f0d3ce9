"""What type checkers see of the public names. Checked by mypy and pyright, never run."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import assert_type

import aiohttp
import httpx
import requests

import meshlib
from meshlib import ConfigError, Finding, Mesh, MeshError, RefusedError, Workload
from meshlib.adapters.httpx import AsyncMeshTransport, MeshTransport
from meshlib.adapters.requests import MeshAdapter
from meshlib.adapters.urllib3 import MeshPoolManager
from meshlib.events import ConfigPublished, EndpointEjected, Event

assert_type(meshlib.__version__, str)

workload = Workload(namespace="shop", labels={"app": "web"}, service_account="web")
assert_type(workload.spiffe_id, str)
Workload("shop")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]

mesh = Mesh.load("mesh/", workload=workload, strict=True)
assert_type(mesh, Mesh)
assert_type(Mesh.load(["mesh/", "more.yaml"]), Mesh)
assert_type(mesh.findings, tuple[Finding, ...])
assert_type(mesh.reload(), None)
assert_type(mesh.watch(interval=1.0), None)
assert_type(str(mesh.report()), str)
assert_type(str(mesh.explain("GET", "http://reviews:9080/", headers={"end-user": "jason"})), str)
assert_type([step.reason for step in mesh.explain("GET", "http://reviews:9080/").passed_over()], list[str])


def listen(event: Event) -> None:
    """An observer takes any event."""
    if isinstance(event, EndpointEjected):
        assert_type(event.seconds, float)


assert_type(mesh.observe(listen), Callable[[], None])
assert_type(mesh.observe(listen, EndpointEjected), Callable[[], None])


def listen_to_ejections(event: EndpointEjected) -> None:
    """An observer may take only the kinds that it asks for."""
    assert_type(event.seconds, float)


assert_type(mesh.observe(listen_to_ejections, EndpointEjected), Callable[[], None])
mesh.observe(listen_to_ejections, ConfigPublished)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def call() -> None:
    """A governed session is a session."""
    async with mesh.aiohttp(timeout=aiohttp.ClientTimeout(total=5), raise_on_refusal=True) as session:
        assert_type(session, aiohttp.ClientSession)
        try:
            async with session.get("http://reviews:9080/") as response:
                assert_type(response, aiohttp.ClientResponse)
        except RefusedError as error:
            assert_type(error.status, int)
            assert_type(error.flags, tuple[str, ...])


async def connect() -> None:
    """A connection is what the standard library makes."""
    reader, writer = await mesh.open_connection("db", 27017, ssl=True)
    assert_type(reader, asyncio.StreamReader)
    assert_type(writer, asyncio.StreamWriter)


def call_in_a_thread() -> None:
    """Clients of other libraries are theirs."""
    assert_type(mesh.create_connection(("db", 27017), timeout=5), socket.socket)
    with mesh.httpx(base_url="http://reviews:9080/", raise_on_refusal=True) as client:
        assert_type(client, httpx.Client)
    assert_type(mesh.httpx_async(), httpx.AsyncClient)
    with mesh.requests(pool_maxsize=20) as session:
        assert_type(session, requests.Session)
    assert_type(mesh.urllib3(maxsize=4), MeshPoolManager)
    httpx.Client(transport=MeshTransport(mesh, wrapped=httpx.HTTPTransport()))
    httpx.AsyncClient(transport=AsyncMeshTransport(mesh))
    requests.Session().mount("http://reviews:9080/", MeshAdapter(mesh))


def load() -> None:
    """Errors carry their facts."""
    try:
        Mesh.load("mesh/")
    except ConfigError as error:
        assert_type(error.findings, tuple[Finding, ...])
    except MeshError as error:
        assert_type(error.status_hint, int | None)
