"""httpx and httpx2 within a simulation: real clients whose innermost transport ends in a script."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from meshlib._engine.exchange import Exchange
from meshlib._http import Failure, FailureKind, Headers
from meshlib._outbound.attempt import current_attempt
from meshlib.adapters.httpx.clients import governed_async_client, governed_client
from meshlib.adapters.httpx.network import PendingOverflowError
from meshlib.adapters.httpx.packages import Package, default_package, package_of
from meshlib.testing.arrivals import arrive, current_exchange
from meshlib.testing.exchange import SimulatedExchange
from meshlib.testing.messages import UpstreamRequest, may_have_body
from meshlib.testing.transport import Answer

if TYPE_CHECKING:
    import httpx

    from meshlib.testing.mesh import SimulatedMesh
    from meshlib.testing.service import Service

__all__ = ["simulated_async_client", "simulated_client"]


def simulated_client(mesh: SimulatedMesh, *, package: str | None = None, **arguments: Any) -> httpx.Client:
    """A governed client on virtual time; ``transport`` and ``mounts`` are the simulation's."""
    known = _package(package, arguments)
    made = type("MemoryTransport", (_Memory, known.api.BaseTransport), {})
    return governed_client(mesh, package=package, transport=made(known, mesh.service), **arguments)


def simulated_async_client(mesh: SimulatedMesh, *, package: str | None = None, **arguments: Any) -> httpx.AsyncClient:
    """The same, asynchronous."""
    known = _package(package, arguments)
    made = type("AsyncMemoryTransport", (_AsyncMemory, known.api.AsyncBaseTransport), {})
    return governed_async_client(mesh, package=package, transport=made(known, mesh.service), **arguments)


def _package(name: str | None, arguments: dict[str, Any]) -> Package:
    for taken in ("transport", "mounts", "proxy"):
        if taken in arguments:
            raise TypeError(f"the simulation brings the transport; leave {taken}= out")
    return default_package() if name is None else package_of(name)


class _Messages:
    """What both transports do alike."""

    def __init__(self, package: Package, service: Service) -> None:
        self._package = package
        self._service = service

    async def exchange(self, request: Any, body: bytes, exchange: Exchange | None, limit: float | None = None) -> Any:
        """One attempt, within the timeout of the request, and its own ``limit`` where nothing else keeps it."""
        api = self._package.api
        url = request.url
        headers = Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw)
        arrived = UpstreamRequest(request.method, url.raw_path.decode("ascii"), headers.get("host", ""), headers, body)
        own = (request.extensions.get("timeout") or {}).get("read")
        seconds = min((one for one in (own, limit) if one is not None), default=None)
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            async with asyncio.timeout(seconds):
                answer = await arrive(self._service, exchange, url.host, port, arrived)
        except TimeoutError:
            _blame(exchange, seconds)
            attempt = current_attempt.get()
            kind = api.ConnectTimeout if attempt is not None and not attempt.is_sent else api.ReadTimeout
            raise kind("the simulated upstream took too long", request=request) from None
        if isinstance(answer, Failure) and answer.kind is FailureKind.OVERFLOW:
            raise PendingOverflowError
        if isinstance(answer, Failure):
            raise self._error(answer, request)
        return self._response(answer, request.method)

    def _error(self, failure: Failure, request: Any) -> Exception:
        api = self._package.api
        kinds = {
            FailureKind.CONNECT_FAILURE: api.ConnectError,
            FailureKind.CONNECT_TIMEOUT: api.ConnectError,
            FailureKind.PROTOCOL_ERROR: api.RemoteProtocolError,
        }
        error: Exception = kinds.get(failure.kind, api.ReadError)(failure.detail or failure.kind.value, request=request)
        return error

    def _response(self, answer: Answer, method: str) -> Any:
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
        is_framed = any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in headers)
        if not is_framed and may_have_body("", answer.status):
            headers.append((b"content-length", str(len(answer.body)).encode()))
        body = answer.body if may_have_body(method, answer.status) else b""
        return self._package.api.Response(answer.status, headers=headers, stream=self._package.api.ByteStream(body))


def _blame(exchange: Exchange | None, seconds: float | None) -> None:
    """Say whose timeout it was: the real clock, by which the adapter would tell, has not moved."""
    attempt = current_attempt.get()
    if attempt is not None:
        attempt.is_expired = isinstance(exchange, SimulatedExchange) and seconds == exchange.limit
        attempt.is_impatient = not attempt.is_expired


class _Memory(_Messages):
    """The transport of a client."""

    def handle_request(self, request: Any) -> Any:
        work = self.exchange(request, request.read(), current_exchange())
        return self._service.world.blocking.wait(work)


class _AsyncMemory(_Messages):
    """The transport of an asynchronous client."""

    async def handle_async_request(self, request: Any) -> Any:
        world, exchange = self._service.world, current_exchange()
        body = await request.aread()
        if asyncio._get_running_loop() is world.loop:
            return await self.exchange(request, body, exchange)
        # On a framework's own loop it is a blocking client; the timers of that loop would be real.
        limit = exchange.limit if isinstance(exchange, SimulatedExchange) else None
        return world.blocking.wait(self.exchange(request, body, exchange, limit))
