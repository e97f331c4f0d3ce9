"""The governed session: every exchange goes through the mesh, whatever aiohttp arguments are used.

The mesh is the innermost client middleware, closest to the wire, like a sidecar: the
user's own middlewares run once an exchange and see what the mesh answers. Each attempt
names the picked endpoint to the connector, by the connection key of the request where
that is enough (``connections.py``), else by its ``url``; Host, cookies and
``response.url`` stay those of the application.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import aiohttp
from aiohttp import ClientHandlerType, ClientMiddlewareType
from multidict import istr
from yarl import URL

from meshlib._drivers import agovern
from meshlib._engine.commands import Copy, LocalReply, Send
from meshlib._engine.exchange import Exchange
from meshlib._http import Failure, FailureKind, Outcome, RequestHead, Response
from meshlib._outbound.tls import CredentialError, Handshake, handshake_reason, originator
from meshlib._runtime import Runtime
from meshlib._snapshot.clusters import Cluster, ConnectionPool, Endpoint
from meshlib._timers import Timers
from meshlib.adapters.aiohttp.connections import EndpointKeys, Lifetimes, MeshConnector, PendingOverflowError
from meshlib.adapters.aiohttp.errors import refusal_error
from meshlib.adapters.aiohttp.mirrors import Mirrors
from meshlib.adapters.aiohttp.response import MeshResponse, local_response, response_class
from meshlib.errors import MeshError

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.client_reqrep import ConnectionKey

__all__ = ["governed_session"]

_HOST = istr("Host")

# URLs of endpoints, by the URL that was called: yarl computes the parts of each new URL anew.
_REMEMBERED_URLS = 1024
_REPLAYED = 2**20  # Envoy's buffer for bodies that may have to be sent again
Aimed: TypeAlias = dict[tuple[URL, str, int, str | None], URL]


class MeshRequest(aiohttp.ClientRequest):
    """aiohttp's request; refuses to be sent around the mesh."""

    attempt: _Governed | None = None
    handshake: Handshake | None = None  # of the mesh, in place of the TLS settings of the session
    endpoint_key: ConnectionKey | None = None  # of connections to the endpoint, where the URL does not name it

    @property
    def ssl(self) -> Any:
        """The TLS setting that holds for the attempt."""
        return super().ssl if self.handshake is None else self.handshake.context

    @property
    def connection_key(self) -> Any:
        """What a connection must have in common with the request to carry it."""
        if self.endpoint_key is not None:
            return self.endpoint_key
        key = super().connection_key
        return key if self.handshake is None else key._replace(ssl=self.handshake.context)

    # Returns aiohttp's own coroutine instead of awaiting it in another: a frame less for each call.
    def send(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, conn: Any
    ) -> Coroutine[Any, Any, aiohttp.ClientResponse]:
        attempt = self.attempt
        if attempt is None:
            raise MeshError(
                f"{self.method} {self.original_url} would leave the process without passing the mesh; "
                "make requests only through the session's own methods"
            )
        if attempt.ends_connections and conn.protocol is not None:
            attempt.use(conn.protocol)
        return super().send(conn)


with warnings.catch_warnings():
    # Inheriting is discouraged because private methods may change. Only `_request` is overridden,
    # passing everything on; without it, MeshRequest.send still keeps ungoverned requests in.
    warnings.simplefilter("ignore", DeprecationWarning)

    class MeshSession(aiohttp.ClientSession):
        """A session whose ``middlewares=`` of a single request add to the mesh instead of replacing it."""

        ATTRS = aiohttp.ClientSession.ATTRS | {"_governor"}
        _governor: _Governor

        def _request(  # pyright: ignore[reportIncompatibleMethodOverride]
            self, *args: Any, **kwargs: Any
        ) -> Coroutine[Any, Any, aiohttp.ClientResponse]:
            own: Sequence[ClientMiddlewareType] | None = kwargs.get("middlewares")
            if own is not None:
                kwargs["middlewares"] = (*own, self._governor.govern)
            return super()._request(*args, **kwargs)

        async def close(self) -> None:
            await self._governor.close()
            await super().close()
            await asyncio.sleep(0)  # in this turn the loop lets go of the sockets


def governed_session(runtime: Runtime, *, raise_on_refusal: bool = False, **arguments: Any) -> aiohttp.ClientSession:
    """A :class:`aiohttp.ClientSession` governed by ``runtime``; every argument of ClientSession is accepted.

    A request that the mesh refuses gets the response that Envoy would send (a 503 with
    Envoy's body, say), as behind a sidecar; ``raise_on_refusal=True`` raises instead: an
    error that is both a :class:`meshlib.errors.RefusedError` and an aiohttp error.

    Without ``connector=``, connections are made as the DestinationRules say (connect
    timeout, keep-alive, pending requests), at most ``limit`` at a time (default: 100, as in
    aiohttp; 0: any number); a connector of your own does that its own way.
    """
    connections = arguments.pop("limit", 100)
    if arguments.get("connector") is None:
        arguments["connector"] = MeshConnector(limit=connections)
    governor = _Governor(runtime, EndpointKeys(arguments["connector"]), raise_on_refusal=raise_on_refusal)
    arguments["middlewares"] = (*(arguments.get("middlewares") or ()), governor.govern)
    arguments["response_class"] = response_class(arguments.get("response_class"))
    arguments["request_class"] = _request_class(arguments.get("request_class"))
    session = MeshSession(**arguments)
    session._governor = governor
    return session


def _request_class(base: type[aiohttp.ClientRequest] | None) -> type[MeshRequest]:
    if base is None or base is aiohttp.ClientRequest:
        return MeshRequest
    return type(f"Mesh{base.__name__}", (MeshRequest, base), {})


class _Governor:
    """What the requests of one session share; ``govern`` is the client middleware."""

    __slots__ = ("_raise_on_refusal", "_runtime", "_timers", "aimed", "keys", "lifetimes", "mirrors", "originator")

    def __init__(self, runtime: Runtime, keys: EndpointKeys, *, raise_on_refusal: bool) -> None:
        self._runtime = runtime
        self._raise_on_refusal = raise_on_refusal
        self._timers: Timers | None = None
        self.originator = originator(runtime)
        self.keys = keys
        self.aimed: Aimed = {}
        self.lifetimes = Lifetimes()
        self.mirrors = Mirrors()

    async def close(self) -> None:
        """End what the session has in the background."""
        self.lifetimes.close()
        await self.mirrors.close()

    async def govern(self, request: Any, handler: ClientHandlerType) -> aiohttp.ClientResponse:
        """One exchange each time aiohttp enters the chain, with a :class:`MeshRequest`."""
        timers = self._timers
        if timers is None:
            timers = self._timers = Timers()  # a session belongs to one loop
        governed = _Governed(request, handler, self)
        can_replay = governed.can_replay if request.body else _without_body
        exchange = governed.exchange = self._runtime.begin(governed, request.headers, can_replay)
        try:
            reply = await agovern(exchange, governed, timers)
        finally:  # no cycle through here is left to the collector
            request.attempt = None
            del governed.request, governed.exchange
        if type(reply) is Response:
            response: MeshResponse = reply.handle
            response.attach(exchange, governed.release if governed.protocol is not None else None)
            return response
        assert isinstance(reply, LocalReply)
        if self._raise_on_refusal and reply.refusal:
            raise refusal_error(exchange, reply, request) from reply.error
        return local_response(request, reply, exchange)


def _without_body() -> bool:
    """A request without a body can always be sent again."""
    return True


class _Governed(RequestHead):
    """One request: its head for the engine, its attempts through aiohttp for the driver."""

    __slots__ = ("_governor", "_handler", "_url", "ends_connections", "exchange", "pool", "protocol", "request")
    exchange: Exchange
    pool: ConnectionPool

    def __init__(self, request: MeshRequest, handler: ClientHandlerType, governor: _Governor) -> None:
        url = self._url = request.url
        headers = request.headers
        host, port = url.raw_host, url.port or 0
        super().__init__(
            request.method, url.scheme, headers.get(_HOST, ""), url.raw_path_qs, headers, port=port, host=host
        )
        self.request = request
        self._handler = handler
        self._governor = governor
        self.ends_connections = False
        self.protocol: ResponseHandler | None = None
        request.attempt = self

    def can_replay(self) -> bool:
        """Bytes and seekable files can be sent again, a consumed stream or more than Envoy would keep cannot."""
        body = self.request.body
        return not body or (not body.consumed and (body.size is None or body.size <= _REPLAYED))

    async def send(self, send: Send) -> Outcome:
        request = self.request
        self.pool = send.cluster.policy.connection_pool
        key, keys = None, self._governor.keys
        if request.proxy is None and self.scheme == "http":
            key = keys.known[send] if send in keys.known else keys.find(send)
        request.endpoint_key = key
        if key is None:
            try:
                await self._prepare(send, request)
            except CredentialError as error:
                return Failure(FailureKind.CONNECT_FAILURE, sent=False, error=error, detail=str(error))
        try:
            response = await self._handler(request)
        except (aiohttp.ClientError, OSError) as error:
            return _failure(error)
        return Response(response.status, response.headers, response)

    async def _prepare(self, send: Send, request: MeshRequest) -> None:
        """What an attempt may need that is more than a connection to its endpoint. Raises CredentialError."""
        if send.attempt > 1:
            await request.close()  # the writer of the attempt before must have let go of the body
        if send.authority is not None:
            request.headers["Host"] = send.authority
        policy = send.cluster.policy
        self.ends_connections = policy.connection_pool.ends_connections
        if policy.tls.mode != "DISABLE":
            self._secure(send.cluster, send.endpoint)
        if send.endpoint is not None:
            self.aim(send.endpoint.address, send.endpoint.port, send.path)
        elif send.path is not None or send.cluster.original_port is not None or request.handshake is not None:
            self.aim(self._url.raw_host or "", send.cluster.original_port or self._url.port or 0, send.path)

    async def discard(self, response: Response) -> None:
        handle = response.handle
        assert isinstance(handle, aiohttp.ClientResponse)
        handle.release()
        self.release()

    def use(self, protocol: ResponseHandler) -> None:
        """The attempt goes out on this connection."""
        self.release()
        self.protocol = protocol
        self._governor.lifetimes.use(protocol, self.pool)

    def release(self) -> None:
        """The response on the connection is over."""
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            self._governor.lifetimes.release(protocol, self.pool)

    def mirror(self, copy: Copy) -> None:
        """Start a copy in the background; the call does not wait for it."""
        try:
            shake = self._handshake(copy.cluster, copy.endpoint)
        except CredentialError:
            self._governor.mirrors.dropped += 1
            return
        self._governor.mirrors.start(self.request, copy, "https" if shake is not None else self._url.scheme, shake)

    def _handshake(self, cluster: Cluster, endpoint: Endpoint | None) -> Handshake | None:
        """How the mesh secures a connection; None where that is the application's business, or nobody's."""
        if cluster.policy.tls.mode == "AUTO" and self._url.scheme != "http":
            return None
        return self._governor.originator.handshake(cluster, endpoint, self.request.headers.get(_HOST, ""))

    def _secure(self, cluster: Cluster, endpoint: Endpoint | None) -> None:
        """TLS for an attempt, if the mesh wants any. Raises CredentialError where it must be used and cannot be."""
        request = self.request
        shake = request.handshake = self._handshake(cluster, endpoint)
        if shake is not None:
            request.server_hostname = shake.server_name

    def aim(self, host: str, port: int, path: str | None) -> None:
        """Point the request at an endpoint, and at another path if it was rewritten."""
        request, url, aimed = self.request, self._url, self._governor.aimed
        scheme = "https" if request.handshake is not None else url.scheme
        if url.scheme == "https" and request.server_hostname is None and request.handshake is None:
            request.server_hostname = url.raw_host
        key = (url, host, port, path if scheme == url.scheme else f"{scheme} {path}")
        target = aimed.get(key)
        if target is None:
            raw_path, _, query = (path or url.raw_path_qs).partition("?")
            target = URL.build(scheme=scheme, host=host, port=port, path=raw_path, query_string=query, encoded=True)
            if len(aimed) >= _REMEMBERED_URLS:
                aimed.clear()
            aimed[key] = target
        request.url = target


def _failure(error: aiohttp.ClientError | OSError) -> Failure:
    """What aiohttp raised, in Envoy's words; the application's own timeouts and mistakes are raised again."""
    match error:
        case PendingOverflowError():
            return Failure(FailureKind.OVERFLOW, sent=False, error=error)
        case aiohttp.ConnectionTimeoutError():
            return Failure(FailureKind.CONNECT_TIMEOUT, sent=False, error=error)
        case asyncio.TimeoutError():
            raise error
        case aiohttp.ClientConnectorError():
            return Failure(FailureKind.CONNECT_FAILURE, sent=False, error=error, detail=handshake_reason(error))
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientOSError():
            return Failure(FailureKind.TERMINATION, sent=True, error=error)
        case aiohttp.ClientResponseError() if error.status == 400 or not error.status:
            # aiohttp's parser gave up on what the upstream sent.
            return Failure(FailureKind.PROTOCOL_ERROR, sent=True, error=error)
        case OSError() if not isinstance(error, aiohttp.ClientError):
            return Failure(FailureKind.TERMINATION, sent=True, error=error)
        case _:
            raise error
