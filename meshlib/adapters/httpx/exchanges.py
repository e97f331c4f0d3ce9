"""One request of a client as an exchange: its head for the engine, where its attempts go, what their errors mean."""

from __future__ import annotations

from collections.abc import Hashable
from http import HTTPStatus
from typing import Any, Final

from meshlib._engine.commands import Copy, LocalReply, Send
from meshlib._engine.exchange import Exchange
from meshlib._http import WEBSOCKET_SCHEMES, Failure, FailureKind, Headers, RequestHead
from meshlib._outbound.attempt import Attempt, Droppable
from meshlib._outbound.tls import Originator, handshake_reason
from meshlib._snapshot.clusters import Cluster, Endpoint
from meshlib.adapters.httpx.bodies import Tracked
from meshlib.adapters.httpx.network import PendingOverflowError
from meshlib.adapters.httpx.packages import Package
from meshlib.adapters.httpx.pools import Target

__all__ = ["Beside", "Head", "encoded", "failure", "local_response"]

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_REPLAYED: Final = 2**20  # Envoy's buffer for bodies that may have to be sent again


class Head(RequestHead):
    """One request of the application; ``attempt`` is the one on its way."""

    __slots__ = ("_request", "attempt", "body", "exchange", "is_bytes", "package", "transport")
    exchange: Exchange
    attempt: Attempt
    headers: Headers
    transport: object  # whose TLS settings are the caller's

    def __init__(self, package: Package, request: Any) -> None:
        url = request.url
        headers = Headers([(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw])
        named: str = url.scheme
        scheme = WEBSOCKET_SCHEMES.get(named, named)
        port = url.port or _DEFAULT_PORTS.get(scheme, 0)
        super().__init__(
            request.method,
            scheme,
            headers.get("host", ""),
            url.raw_path.decode("ascii"),
            headers,
            port=port,
            host=url.raw_host.decode("ascii"),
        )
        self._request = request
        self.package = package
        self.body = Tracked(request.stream)
        self.is_bytes = isinstance(request.stream, package.api.ByteStream)

    def identity(self) -> Hashable:
        """The transport, which has one set of TLS settings."""
        return "raw", self.transport if self.scheme == "https" else None

    def can_replay(self) -> bool:
        """Bytes can be sent again unless they are more than Envoy would keep; a stream as long as nothing was read."""
        if self.is_bytes:
            return int(self.headers.get("content-length") or 0) <= _REPLAYED
        return not self.body.is_begun

    def target(self, originator: Originator, cluster: Cluster, endpoint: Endpoint | None) -> Target:
        """The connections that may carry an attempt. Raises CredentialError where TLS must be used and cannot be."""
        address, port = (endpoint.address, endpoint.port) if endpoint is not None else (self.host, self.port)
        if endpoint is None and cluster.original_port is not None:
            port = cluster.original_port
        if cluster.policy.tls.mode != "AUTO" or self.scheme == "http":
            shake = originator.handshake(cluster, endpoint, self.headers["host"])
            if shake is not None:
                return Target("https", address, port, shake, None)
        return Target(self.scheme, address, port, None, self.host if self.scheme == "https" else None)

    def core_request(self, target: Target, path: str | None, timeout: float | None) -> Any:
        """The request of an attempt, for a pool of connections."""
        core = self.package.core
        url = core.URL(
            scheme=target.scheme.encode("ascii"),
            host=(target.address if not target.address.startswith("unix://") else self.host).encode("ascii"),
            port=target.port,
            target=(path or self.path).encode("ascii"),
        )
        request = core.Request(
            method=self.method, url=url, content=self.body, extensions=self.extensions(target.server_name, timeout)
        )
        request.headers = encoded(self.headers)  # the constructor would look at each of them again
        return request

    def core_copy(self, target: Target, copy: Copy) -> Any:
        """The request of a mirrored copy."""
        request = self.core_request(target, copy.path, None)
        marked = Headers(self.headers)
        marked.update(copy.headers)
        request.headers = encoded(marked)
        return request

    def outer_request(self, target: Target, path: str | None, timeout: float | None) -> Any:
        """The request of an attempt, for a transport of the application, which gets its timeouts with it."""
        api = self.package.api
        host = f"[{target.address}]" if ":" in target.address else target.address
        url = api.URL(f"{target.scheme}://{host}:{target.port}").copy_with(raw_path=(path or self.path).encode("ascii"))
        stream = self._request.stream if self.is_bytes else self._stream()
        return api.Request(
            self.method, url, headers=encoded(self.headers), stream=stream,
            extensions=self.extensions(target.server_name, timeout),
        )  # fmt: skip

    def _stream(self) -> Any:
        api = self.package.api
        made = type("MeshRequestBody", (Tracked, api.SyncByteStream, api.AsyncByteStream), {"__slots__": ()})
        self.body = made(self._request.stream)
        return self.body

    def extensions(self, server_name: str | None, timeout: float | None) -> dict[str, Any]:
        """The caller's, with his timeouts no longer than the attempt's."""
        extensions = dict(self._request.extensions)
        if server_name is not None:
            extensions.setdefault("sni_hostname", server_name)
        if timeout is not None:
            own = extensions.get("timeout") or {}
            names = ("connect", "read", "write", "pool")
            extensions["timeout"] = {
                name: timeout if (value := own.get(name)) is None else min(value, timeout) for name in names
            }
        return extensions

    def attempt_for(self, send: Send, *, is_bounded: bool) -> Attempt:
        """Start an attempt; ``is_bounded`` if its connection has to keep to the timeout by itself."""
        if send.authority is not None:
            self.headers["host"] = send.authority
        pool = send.cluster.policy.connection_pool
        self.attempt = Attempt(self.exchange, pool, send.timeout if is_bounded else None)
        return self.attempt


class Beside(Droppable, Head):  # pyright: ignore[reportIncompatibleVariableOverride]
    """The same request, for one of two attempts at the same time."""

    def __init__(self, of: Head, headers: Headers) -> None:
        RequestHead.__init__(self, of.method, of.scheme, of.authority, of.path, headers, port=of.port, host=of.host)
        self._request = of._request
        self.package = of.package
        self.body = Tracked(of._request.stream)
        self.is_bytes = of.is_bytes
        self.exchange = of.exchange


def encoded(headers: Headers) -> list[tuple[bytes, bytes]]:
    """Header fields as httpx wants them."""
    try:
        return [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers.items()]
    except UnicodeEncodeError:
        return [(name.encode("utf-8"), value.encode("utf-8")) for name, value in headers.items()]


def failure(package: Package, error: Exception, attempt: Attempt) -> Failure:
    """What httpx raised, in Envoy's words; the application's own timeouts and mistakes are raised again."""
    api = package.api
    if isinstance(error, PendingOverflowError):
        return Failure(FailureKind.OVERFLOW, sent=False, error=error)
    found = package.translate(error)
    if isinstance(found, api.TimeoutException):
        attempt.look_at_clock()  # a transport of the application knows nothing of attempts
        if attempt.is_expired:
            is_sent = attempt.is_sent or isinstance(found, api.ReadTimeout | api.WriteTimeout)
            return Failure(FailureKind.TIMEOUT, sent=is_sent, error=found)
        if isinstance(found, api.ConnectTimeout) and not attempt.is_impatient:
            return Failure(FailureKind.CONNECT_TIMEOUT, sent=False, error=found)
    elif isinstance(found, api.ConnectError):
        return Failure(FailureKind.CONNECT_FAILURE, sent=False, error=found, detail=handshake_reason(found))
    elif isinstance(found, api.NetworkError):
        return Failure(FailureKind.TERMINATION, sent=True, error=found)
    elif isinstance(found, api.RemoteProtocolError):
        is_gone = attempt.is_broken or "disconnected" in str(found)
        kind = FailureKind.TERMINATION if is_gone else FailureKind.PROTOCOL_ERROR
        return Failure(kind, sent=True, error=found)
    if found is error:
        raise error
    raise found from error


def local_response(package: Package, reply: LocalReply, exchange: Exchange) -> Any:
    """A response that never was on a wire: the mesh's own reply."""
    body = b"" if exchange.request.method == "HEAD" else reply.body
    try:
        phrase = HTTPStatus(reply.status).phrase.encode()
    except ValueError:
        phrase = b""
    return package.api.Response(
        reply.status,
        headers=list(reply.headers),
        stream=package.api.ByteStream(body),
        extensions={"mesh": exchange, "http_version": b"HTTP/1.1", "reason_phrase": phrase},
    )
