"""What the handlers of all frameworks do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from meshlib import Mesh

__all__ = ["PARTS", "call", "call_sync", "fail", "inside", "parts", "parts_sync"]

URL = "http://backend.test/"
PARTS = 3


async def call(mesh: Mesh) -> dict[str, str]:
    """The headers that the service saw."""
    async with mesh.aiohttp() as session, session.get(URL) as response:
        found: dict[str, str] = await response.json()
        return {**found, "status": str(response.status)}


def call_sync(mesh: Mesh) -> dict[str, str]:
    """As :func:`call`, from synchronous code."""
    with mesh.requests() as session:
        response = session.get(URL)
        found: dict[str, str] = response.json() if response.ok else {}
        return {**found, "status": str(response.status_code)}


def inside(inbound: Any) -> dict[str, str]:
    """What the handler knows of its request."""
    return {"request_id": inbound.request_id, "client": inbound.client_address}


async def parts(mesh: Mesh) -> AsyncIterator[bytes]:
    """A streamed answer: the request id of a call for each part."""
    for _ in range(PARTS):
        yield (await call(mesh))["x-request-id"].encode() + b"\n"


def parts_sync(mesh: Mesh) -> Iterator[bytes]:
    """As :func:`parts`, from synchronous code."""
    for _ in range(PARTS):
        yield call_sync(mesh)["x-request-id"].encode() + b"\n"


def fail() -> Any:
    """The application's own mistake."""
    message = "the application failed"
    raise RuntimeError(message)
