"""One request of a session as an exchange: its head for the engine, its attempts through aiohttp for the driver.

Each attempt names the picked endpoint to the connector, by a connection key where that
is enough (``connections.py``), else by the ``url`` of the request; Host, cookies and
``response.url`` stay those of the application.
"""

from __future__ import annotations

from collections.abc import Coroutine, Hashable
from typing import TYPE_CHECKING, Any, TypeAlias

import aiohttp
from aiohttp import ClientHandlerType
from aiohttp.payload import BytesPayload
from multidict import istr
from yarl import URL

from meshlib._engine.commands import Copy, Send
from meshlib._engine.exchange import Exchange
from meshlib._http import WEBSOCKET_SCHEMES, Failure, FailureKind, Headers, Outcome, RequestHead, Response
from meshlib._outbound.tls import CredentialError, Handshake, originator
from meshlib._runtime import Runtime
from meshlib._snapshot.clusters import Cluster, ConnectionPool, Endpoint
from meshlib.adapters.aiohttp.connections import EndpointKeys
from meshlib.adapters.aiohttp.errors import failure
from meshlib.adapters.aiohttp.lifetimes import Lifetimes
from meshlib.adapters.aiohttp.mirrors import Mirrors

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.client_reqrep import ConnectionKey
    from aiohttp.connector import Connection

__all__ = ["Governed", "Shared"]

_HOST = istr("Host")

# URLs of endpoints, by the URL that was called: yarl computes the parts of each new URL anew.
_REMEMBERED_URLS = 1024
_REPLAYED = 2**20  # Envoy's buffer for bodies that may have to be sent again
Aimed: TypeAlias = dict[tuple[URL, str, int, str | None], URL]


class Shared:
    """What the requests of one session share."""

    __slots__ = ("aimed", "identity", "keys", "lifetimes", "mirrors", "originator")

    def __init__(self, runtime: Runtime, keys: EndpointKeys) -> None:
        self.originator = originator(runtime)
        self.keys = keys
        self.identity = object()
        self.aimed: Aimed = {}
        self.lifetimes = Lifetimes()
        self.mirrors = Mirrors()

    async def close(self) -> None:
        """End what the session has in the background."""
        self.lifetimes.close()
        await self.mirrors.close()


class Governed(RequestHead):
    """One request: its head for the engine, its attempts through aiohttp for the driver."""

    exchange: Exchange
    key: ConnectionKey | None
    current: Send
    handshake: Handshake | None = None  # of the mesh, in place of the TLS settings of the session
    protocol: ResponseHandler | None = None
    _ssl: Any = None

    # Sets what RequestHead does by itself: the call of its own is not free, and every request is one of these.
    def __init__(self, request: Any, handler: ClientHandlerType, shared: Shared) -> None:  # pyright: ignore[reportMissingSuperCall]
        url = self.url = request.url
        headers = self.headers = request.headers
        self.method = request.method
        scheme: str = url.scheme
        self.scheme = WEBSOCKET_SCHEMES.get(scheme, scheme)
        self.authority = headers.get(_HOST, "")
        self.path = url.raw_path_qs
        self.port = url.port or 0
        self.host = url.raw_host
        self.request = request
        self._handler = handler
        self._shared = shared
        request.attempt = self

    def identity(self) -> Hashable:
        """The session and the TLS settings of the request; aiohttp gives bodies without their encoding."""
        return ("decoded", self._shared.identity, self.request.ssl) if self.scheme == "https" else "decoded"

    @property
    def own_scheme(self) -> str:
        """The scheme that the session was asked for; ``scheme`` is at a gateway that of the request that came in."""
        scheme: str = self.url.scheme
        return WEBSOCKET_SCHEMES.get(scheme, scheme)

    @property
    def pool(self) -> ConnectionPool:
        """The caps and timeouts of connections to where the attempt goes."""
        return self.current.cluster.policy.connection_pool

    def can_replay(self) -> bool:
        """Bytes and seekable files can be sent again, a consumed stream or more than Envoy would keep cannot."""
        body = self.request.body
        return not body or (not body.consumed and (body.size is None or body.size <= _REPLAYED))

    async def send(self, send: Send) -> Outcome:
        """One attempt."""
        request = self.request
        self.current = send
        key, keys = None, self._shared.keys
        if request.proxy is None and self.scheme == "http":
            key = keys.known[send] if send in keys.known else keys.find(send)
        self.key = key
        if key is None:
            try:
                await self._prepare(send, request)
            except CredentialError as error:
                return Failure(FailureKind.CONNECT_FAILURE, sent=False, error=error, detail=str(error))
        try:
            response = await self._handler(request)
        except (aiohttp.ClientError, OSError) as error:
            return failure(error)
        return Response(response.status, response.headers, response)

    async def _prepare(self, send: Send, request: Any) -> None:
        """What an attempt may need that is more than a connection to its endpoint. Raises CredentialError."""
        if send.attempt > 1:
            await request.close()  # the writer of the attempt before must have let go of the body
        if send.authority is not None:
            request.headers["Host"] = send.authority
        policy = send.cluster.policy
        if policy.connection_pool.ends_connections:
            request.send = self._send_on
        if policy.tls.mode != "DISABLE":
            self._secure(send.cluster, send.endpoint)
        if send.endpoint is not None:
            self.aim(send.endpoint.address, send.endpoint.port, send.path)
        elif send.path is not None or send.cluster.original_port is not None or self.handshake is not None:
            self.aim(self.url.raw_host or "", send.cluster.original_port or self.url.port or 0, send.path)

    async def discard(self, response: Response) -> None:
        """Let go of a response that is not used."""
        handle = response.handle
        assert isinstance(handle, aiohttp.ClientResponse)
        handle.release()
        self.release()

    def beside(self, headers: Headers) -> Beside | None:
        """The same request, for an attempt at the same time; None if its body is a stream or a file."""
        body = self.request.body
        if body and not isinstance(body, BytesPayload):
            return None
        beside = Beside(self._twin(headers), self._handler, self._shared)
        beside.exchange = self.exchange
        return beside

    def _twin(self, headers: Headers) -> Any:
        """The request with header fields of its own, which nobody is sending yet."""
        request = self.request
        made = object.__new__(type(request))
        vars(made).update(
            (name, value)
            for name, value in vars(request).items()
            if name != "send" and not name.endswith("__writer")  # those of the attempt that is on its way
        )
        made.url, made.headers = self.url, headers
        if self.handshake is not None:
            made._ssl = self._ssl
        return made

    def adopt(self, winner: Beside) -> None:
        """Go on with the attempt that another has sent."""
        self.key, self.current, self.protocol = winner.key, winner.current, winner.protocol

    def _send_on(self, connection: Connection) -> Coroutine[Any, Any, aiohttp.ClientResponse]:
        """Send the attempt on a connection that has an end of its own."""
        request, protocol = self.request, connection.protocol
        self.release()
        if protocol is not None:
            self.protocol = protocol
            self._shared.lifetimes.use(protocol, self.pool)
        sent: Coroutine[Any, Any, aiohttp.ClientResponse] = type(request).send(request, connection)
        return sent

    def release(self) -> None:
        """The response on the connection is over."""
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            self._shared.lifetimes.release(protocol, self.pool)

    def mirror(self, copy: Copy) -> None:
        """Start a copy in the background; the call does not wait for it."""
        try:
            shake = self._handshake(copy.cluster, copy.endpoint)
        except CredentialError:
            self._shared.mirrors.dropped += 1
            return
        self._shared.mirrors.start(self.request, copy, "https" if shake is not None else self.own_scheme, shake)

    def _handshake(self, cluster: Cluster, endpoint: Endpoint | None) -> Handshake | None:
        """How the mesh secures a connection; None where that is the application's business, or nobody's."""
        if cluster.policy.tls.mode == "AUTO" and self.own_scheme != "http":
            return None
        return self._shared.originator.handshake(cluster, endpoint, self.request.headers.get(_HOST, ""))

    def _secure(self, cluster: Cluster, endpoint: Endpoint | None) -> None:
        """TLS for an attempt, if the mesh wants any. Raises CredentialError where it must be used and cannot be."""
        request, before = self.request, self.handshake
        shake = self.handshake = self._handshake(cluster, endpoint)
        if before is None:
            self._ssl = request.ssl
        request._ssl = self._ssl if shake is None else shake.context
        if shake is not None:
            request.server_hostname = shake.server_name

    def aim(self, host: str, port: int, path: str | None) -> None:
        """Point the request at an endpoint, and at another path if it was rewritten."""
        request, url, aimed, own_scheme = self.request, self.url, self._shared.aimed, self.own_scheme
        scheme = "https" if self.handshake is not None else own_scheme
        if own_scheme == "https" and request.server_hostname is None and self.handshake is None:
            request.server_hostname = url.raw_host
        key = (url, host, port, path if scheme == own_scheme else f"{scheme} {path}")
        target = aimed.get(key)
        if target is None:
            raw_path, _, query = (path or url.raw_path_qs).partition("?")
            target = URL.build(scheme=scheme, host=host, port=port, path=raw_path, query_string=query, encoded=True)
            if len(aimed) >= _REMEMBERED_URLS:
                aimed.clear()
            aimed[key] = target
        request.url = target


class Beside(Governed):
    """The second of two attempts at the same request; holds on to nothing once it is sent."""

    __slots__ = ()

    async def send(self, send: Send) -> Outcome:
        """The one attempt."""
        request = self.request
        try:
            return await super().send(send)
        finally:
            request.attempt = None
            vars(request).pop("send", None)
            del self.request, self.exchange
