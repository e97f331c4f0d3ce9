"""urllib3 and requests within a simulation: real sessions and pools; what would be a socket ends in a script."""

from __future__ import annotations

import io
import ssl
from typing import TYPE_CHECKING, Any

from meshlib._http import Failure, FailureKind
from meshlib._outbound.attempt import current_attempt
from meshlib.adapters.requests import MeshAdapter
from meshlib.adapters.urllib3 import MeshPoolManager
from meshlib.adapters.urllib3.connections import MeshHTTPConnectionPool, MeshHTTPSConnectionPool, _Governed
from meshlib.testing.arrivals import meet
from meshlib.testing.exchange import SimulatedExchange
from meshlib.testing.wire import parse_request, render

if TYPE_CHECKING:
    import requests

    from meshlib.testing.mesh import SimulatedMesh
    from meshlib.testing.service import Service
    from meshlib.testing.upstreams import Plan, Site

__all__ = ["simulated_manager", "simulated_session"]


def simulated_manager(mesh: SimulatedMesh, **arguments: Any) -> MeshPoolManager:
    """A governed pool manager on virtual time."""
    manager = MeshPoolManager(mesh, **arguments)
    _replace_connections(manager, mesh.service)
    return manager


def simulated_session(mesh: SimulatedMesh, **arguments: Any) -> requests.Session:
    """A governed session on virtual time."""
    import requests

    session = requests.Session()
    session.trust_env = False  # neither proxies nor certificates of the machine
    adapter = MeshAdapter(mesh, **arguments)
    _replace_connections(adapter.poolmanager, mesh.service)
    for scheme in ("http://", "https://"):
        session.mount(scheme, adapter)
    return session


def _replace_connections(manager: Any, service: Service) -> None:
    made = {
        "http": (MeshHTTPConnectionPool, MeshHTTPConnectionPool.ConnectionCls),
        "https": (MeshHTTPSConnectionPool, MeshHTTPConnectionPool.ConnectionCls),
    }
    manager.pool_classes_by_scheme = {
        scheme: type(f"Memory{pool.__name__}", (pool,), {"ConnectionCls": _connection_class(connection, service)})
        for scheme, (pool, connection) in made.items()
    }


def _connection_class(base: type[Any], service: Service) -> type[Any]:
    """A connection class of the simulation; it takes the arguments for TLS too, and makes none."""

    class MemoryConnection(base):  # type: ignore[misc]
        is_verified = True

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            known = ("host", "port", "timeout", "source_address", "blocksize", "socket_options")
            super().__init__(*args, **{name: value for name, value in kwargs.items() if name in known})

        def set_cert(self, *_: Any, **__: Any) -> None:
            """Nothing is verified."""

        def _new_conn(self) -> Any:
            attempt = current_attempt.get()
            exchange = attempt.exchange if attempt is not None else None
            site, plan, peer = meet(service, exchange, self.host.strip("[]"), self.port)
            if plan.breaks_connection:
                _refuse(self, service, plan)
            return _Socket(service, site, plan, peer)

    assert issubclass(MemoryConnection, _Governed)
    return MemoryConnection


def _refuse(connection: Any, service: Service, plan: Plan) -> None:
    from urllib3.exceptions import NewConnectionError

    if plan.way == "unreachable":
        service.world.blocking.sleep(float(connection.timeout or 10.0))
    elif plan.way == "tls":
        raise ssl.SSLError(1, "TLS handshake failed")
    raise NewConnectionError(connection, "nothing listens there")


class _Socket:
    """As much of a socket as http.client needs."""

    def __init__(self, service: Service, site: Site, plan: Plan, peer: str) -> None:
        self._service = service
        self._site = site
        self._plan = plan
        self._peer = peer
        self._written = bytearray()
        self._timeout: float | None = None

    def sendall(self, data: bytes) -> None:
        """Some of the request."""
        self._written += data

    def makefile(self, mode: str, buffering: int = -1) -> io.RawIOBase:
        """The answer, once it is read."""
        return _Answer(self, self._timeout)

    def settimeout(self, seconds: float | None) -> None:
        """How long to wait for the answer."""
        self._timeout = seconds

    def gettimeout(self) -> float | None:
        """What was set."""
        return self._timeout

    def setsockopt(self, *_: object) -> None:
        """There are no options."""

    def shutdown(self, how: int) -> None:
        """Nothing is shut down."""

    def close(self) -> None:
        """Nothing is held."""

    def answer(self, own: float | None) -> bytes:
        """Wait for the answer, on virtual time. ``own`` is the caller's timeout."""
        import asyncio

        attempt = current_attempt.get()
        exchange = attempt.exchange if attempt is not None else None
        limit = exchange.limit if isinstance(exchange, SimulatedExchange) else None
        seconds = min((one for one in (limit, own) if one is not None), default=None)
        request = parse_request(bytes(self._written))
        world = self._service.world

        async def wait() -> Any:
            async with asyncio.timeout(seconds):
                return await world.answer(self._site, self._plan, request, self._peer)

        try:
            answer = world.blocking.wait(wait())
        except TimeoutError:
            if attempt is not None and seconds == limit:
                attempt.is_expired = True  # the real clock that it knows has not moved
            raise
        if not isinstance(answer, Failure):
            return render(answer, request.method)
        if answer.kind is FailureKind.PROTOCOL_ERROR:
            return b"this is not HTTP\r\n\r\n"
        raise ConnectionResetError(104, "the upstream reset the connection")


class _Answer(io.RawIOBase):
    """The bytes of the answer."""

    def __init__(self, sock: _Socket, own: float | None) -> None:
        self._socket = sock
        self._own = own
        self._bytes: io.BytesIO | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._bytes is None:
            self._bytes = io.BytesIO(self._socket.answer(self._own))
        return self._bytes.readinto(buffer)
