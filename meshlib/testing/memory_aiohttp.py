"""aiohttp within a simulation: real sessions, requests and responses; what would be a socket ends in a script."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

from meshlib._http import Failure, FailureKind
from meshlib.adapters.aiohttp.connections import Connections
from meshlib.adapters.aiohttp.session import govern_session
from meshlib.testing.arrivals import meet
from meshlib.testing.exchange import SimulatedExchange
from meshlib.testing.messages import UpstreamRequest
from meshlib.testing.wire import complete_length, parse_request, render

if TYPE_CHECKING:
    from meshlib.testing.service import Service
    from meshlib.testing.upstreams import Plan, Site
    from meshlib.testing.world import World

__all__ = ["simulated_session"]


def simulated_session(service: Service, **arguments: Any) -> aiohttp.ClientSession:
    """A governed session of a workload. Raises RuntimeError outside of the simulation's loop."""
    service.world.require_loop()
    if "connector" in arguments:
        raise TypeError("the simulation brings the connector; leave connector= out")
    connector = _Memory(force_close=True)  # so that what happens does not depend on who came before
    connector.service = service
    Connections(connector)
    return govern_session(service.runtime, connector=connector, **arguments)


class _Memory(aiohttp.TCPConnector):
    """Makes connections that end in the scripts of a simulation."""

    service: Service

    async def _create_connection(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, req: aiohttp.ClientRequest, *args: Any, **kwargs: Any
    ) -> ResponseHandler:
        attempt = getattr(req, "attempt", None)  # None: a mirrored copy
        exchange = attempt.exchange if attempt is not None else None
        site, plan, peer = meet(self.service, exchange, req.url.raw_host or "", req.url.port or 80)
        if isinstance(exchange, SimulatedExchange):
            exchange.is_refused = plan.breaks_connection
            if exchange.is_connecting:
                await asyncio.sleep(0)  # it is pending for a moment
        if plan.breaks_connection:
            await self._break(req, plan)
        loop = self.service.world.loop
        protocol = ResponseHandler(loop=loop)
        protocol.connection_made(_Wire(protocol, self.service.world, site, plan, peer))
        return protocol

    async def _break(self, req: aiohttp.ClientRequest, plan: Plan) -> None:
        if plan.way == "unreachable":
            await self.service.world.loop.create_future()
        if plan.way == "tls":
            raise aiohttp.ClientConnectorSSLError(req.connection_key, ssl.SSLError(1, "TLS handshake failed"))
        raise aiohttp.ClientConnectorError(req.connection_key, ConnectionRefusedError(111, "nothing listens there"))


class _Wire(asyncio.Transport):
    """One connection: what is written is a request, which is answered when it is complete."""

    def __init__(self, protocol: ResponseHandler, world: World, site: Site, plan: Plan, peer: str) -> None:
        super().__init__()
        self._protocol = protocol
        self._world = world
        self._site = site
        self._plan = plan
        self._peer = peer
        self._written = bytearray()
        self._task: asyncio.Task[None] | None = None
        self._is_closing = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Some of the request."""
        self._written += data
        if self._task is None and complete_length(self._written) is not None:
            self._task = self._world.loop.create_task(self._answer(parse_request(bytes(self._written))))

    async def _answer(self, request: UpstreamRequest) -> None:
        answer = await self._world.answer(self._site, self._plan, request, self._peer)
        if self._is_closing:
            return
        if not isinstance(answer, Failure):
            self._protocol.data_received(render(answer, request.method))
        elif answer.kind is FailureKind.PROTOCOL_ERROR:
            self._protocol.data_received(b"this is not HTTP\r\n\r\n")
        else:
            self._lose(ConnectionResetError(104, "the upstream reset the connection"))

    def _lose(self, error: Exception | None) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._world.loop.call_soon(self._protocol.connection_lost, error)

    def close(self) -> None:
        """The client is done; a request that is still being worked on is dropped."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
        self._lose(None)

    def abort(self) -> None:
        """At once."""
        self.close()

    def is_closing(self) -> bool:
        """Whether it is over."""
        return self._is_closing

    def can_write_eof(self) -> bool:
        """A client that half-closes would not get an answer."""
        return False

    def get_write_buffer_size(self) -> int:
        """Everything arrives at once."""
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There is no buffer."""

    def pause_reading(self) -> None:
        """The whole answer has come already."""

    def resume_reading(self) -> None:
        """Nothing was held back."""
