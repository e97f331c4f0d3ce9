"""One request of a pool manager as an exchange: its head for the engine, its attempts for the driver."""

from __future__ import annotations

import http.client
import io
from collections.abc import Hashable, Mapping
from http import HTTPStatus
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import urllib3
from urllib3.exceptions import EmptyPoolError, HTTPError, NewConnectionError, ProtocolError

from meshlib._engine.commands import Copy, LocalReply, Send
from meshlib._engine.exchange import Exchange
from meshlib._http import Failure, FailureKind, Headers, HeadersView, Outcome, RequestHead, Response
from meshlib._outbound.attempt import Attempt, Droppable, current_attempt
from meshlib._outbound.mirrors import LONGEST_REPLY
from meshlib._outbound.tls import CredentialError, Handshake, handshake_reason
from meshlib._snapshot.clusters import Cluster, Endpoint
from meshlib.adapters.urllib3.bodies import Body
from meshlib.adapters.urllib3.errors import PendingOverflowError

if TYPE_CHECKING:
    from meshlib.adapters.urllib3.manager import MeshPoolManager

__all__ = ["Governed", "attach", "local_response"]

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_USER_AGENT: Final = f"python-urllib3/{version('urllib3')}"
_DRAINED: Final = 2**16  # what is left of a dropped response is read if it is no more, else its connection closed
_DRAIN_SECONDS: Final = 0.01
_COPY_SECONDS: Final = 30.0
_PART: Final = 2**16
_TLS_KEYS: Final = (
    "key_file", "cert_file", "key_password", "cert_reqs", "ca_certs", "ca_cert_dir", "ca_cert_data", "ssl_version",
    "ssl_minimum_version", "ssl_maximum_version", "assert_fingerprint",
)  # fmt: skip


class Governed(RequestHead):
    """One request of the application."""

    __slots__ = ("_arguments", "_body", "_manager", "_pool_kwargs", "attempt", "exchange")
    exchange: Exchange
    attempt: Attempt

    def __init__(
        self,
        manager: MeshPoolManager,
        method: str,
        target: tuple[str, str, int],
        path: str,
        headers: Mapping[str, str],
        body: Body,
        pool_kwargs: dict[str, Any] | None,
        arguments: dict[str, Any],
    ) -> None:
        scheme, host, port = target
        fields = Headers((_text(name), _text(value)) for name, value in headers.items())
        fields.setdefault("Host", host if port == _DEFAULT_PORTS.get(scheme) else f"{host}:{port}")
        # urllib3 would add these on the wire only, where no route could match them.
        fields.setdefault("Accept-Encoding", "identity")
        fields.setdefault("User-Agent", _USER_AGENT)
        super().__init__(method, scheme, fields["Host"], path, fields, port=port, host=host.strip("[]"))
        self._manager = manager
        self._body = body
        self._pool_kwargs = pool_kwargs
        self._arguments = arguments

    def identity(self) -> Hashable:
        """The TLS settings: those of the manager, and of the request where it has some."""
        if self.scheme != "https":
            return "raw"
        own = tuple(sorted(self._pool_kwargs.items(), key=_name)) if self._pool_kwargs else ()
        try:
            hash(own)
        except TypeError:
            return object()  # it is nobody else
        return "raw", self._manager.identity, own

    def can_replay(self) -> bool:
        """Whether the body could be sent again."""
        return self._body.can_replay()

    def send(self, send: Send) -> Outcome:
        """One attempt."""
        cluster = send.cluster
        if send.authority is not None:
            self.headers["Host"] = send.authority  # type: ignore[index]
        self.attempt = attempt = Attempt(self.exchange, cluster.policy.connection_pool, send.timeout)
        token = current_attempt.set(attempt)
        try:
            pool = self._pool(cluster, send.endpoint)
            response = pool.urlopen(
                self.method,
                send.path or self.path,
                body=self._body.start(send.attempt),
                headers=_written(self.headers),
                **self._arguments,
            )
        except CredentialError as error:
            return Failure(FailureKind.CONNECT_FAILURE, sent=False, error=error, detail=str(error))
        except (HTTPError, OSError, http.client.HTTPException) as error:
            return _failure(error, attempt)
        finally:
            current_attempt.reset(token)
        return Response(response.status, Headers(response.headers.items()), response)

    def discard(self, response: Response) -> None:
        """Let go of a response that is not used; its connection is kept if little is left of it."""
        handle: urllib3.HTTPResponse = response.handle
        left = handle.length_remaining
        if left is not None and left <= _DRAINED:
            self.attempt.expire_in(_DRAIN_SECONDS)
            handle.drain_conn()
        handle.close()
        handle.release_conn()

    def beside(self, headers: Headers) -> Beside | None:
        """The same request, for an attempt at the same time; None if its body is a stream or a file."""
        return None if self._body.as_bytes is None else Beside(self, headers)

    def adopt(self, winner: Governed) -> None:
        """Go on with the attempt that another has sent."""
        self.attempt = winner.attempt

    def mirror(self, copy: Copy) -> None:
        """Send a copy in the background. One of a streamed body is left out, as in Envoy."""
        body = self._body.as_bytes
        if body is None:
            self._manager.mirrors.dropped += 1
            return
        marked = Headers(self.headers)
        marked.update(copy.headers)
        headers, path = _written(marked), copy.path or self.path

        def send() -> None:
            current_attempt.set(Attempt(None, copy.cluster.policy.connection_pool, _COPY_SECONDS))
            pool = self._pool(copy.cluster, copy.endpoint)
            reply = pool.urlopen(
                self.method, path, body=body or None, headers=headers, retries=False, redirect=False,
                assert_same_host=False, preload_content=False,
            )  # fmt: skip
            left = LONGEST_REPLY
            while left > 0 and (part := reply.read(_PART, decode_content=False)):
                left -= len(part)
            if left <= 0:
                reply.close()
            reply.release_conn()

        self._manager.mirrors.start(send)

    def _pool(self, cluster: Cluster, endpoint: Endpoint | None) -> urllib3.HTTPConnectionPool:
        """The connections to an endpoint under the identity that the policy wants."""
        address, port = (endpoint.address, endpoint.port) if endpoint is not None else (self.host, self.port)
        if endpoint is None and cluster.original_port is not None:
            port = cluster.original_port
        shake = None
        if cluster.policy.tls.mode != "AUTO" or self.scheme == "http":
            shake = self._manager.originator.handshake(cluster, endpoint, self.headers["Host"])
        if shake is not None:
            return self._manager.endpoint_pool(address, port, "https", self._secured(shake))
        kwargs = self._pool_kwargs
        if self.scheme == "https":
            base = self._manager.connection_pool_kw if kwargs is None else kwargs
            if base.get("server_hostname") is None:
                kwargs = {**(kwargs or {}), "server_hostname": self.host}
        return self._manager.endpoint_pool(address, port, self.scheme, kwargs)

    def _secured(self, shake: Handshake) -> dict[str, Any]:
        kwargs = {**(self._pool_kwargs or {}), **dict.fromkeys(_TLS_KEYS)}
        kwargs["ssl_context"] = shake.context
        kwargs["server_hostname"] = shake.server_name
        kwargs["assert_hostname"] = None if shake.context.check_hostname else False
        return kwargs


class Beside(Droppable, Governed):  # pyright: ignore[reportIncompatibleVariableOverride]
    """One of two attempts at the same request, in a thread of its own."""

    def __init__(self, of: Governed, headers: Headers) -> None:
        RequestHead.__init__(self, of.method, of.scheme, of.authority, of.path, headers, port=of.port, host=of.host)
        self._manager = of._manager
        self._body = of._body
        self._pool_kwargs = of._pool_kwargs
        self._arguments = of._arguments
        self.exchange = of.exchange


def attach(response: urllib3.HTTPResponse, exchange: Exchange, attempt: Attempt) -> None:
    """Bind the exchange whose reply this is; it ends with the response's body."""
    if exchange.changes_response:
        headers = Headers(response.headers.items())
        exchange.mutate_response(headers)
        response.headers = urllib3.HTTPHeaderDict(headers.items())
        original = response._original_response
        if original is not None:  # cookie jars read this one
            original.headers = original.msg = _message(headers)
    response.mesh = exchange  # type: ignore[attr-defined]
    attempt.begin_response(exchange)


def _message(headers: HeadersView | urllib3.HTTPHeaderDict) -> http.client.HTTPMessage:
    message = http.client.HTTPMessage()
    for name, value in headers.items():
        message.add_header(name, value)
    return message


class _Unsent:
    """What cookie jars read of a response that never was on a wire, in place of http.client's."""

    def __init__(self, headers: urllib3.HTTPHeaderDict) -> None:
        self.msg = _message(headers)

    def isclosed(self) -> bool:
        return True

    def close(self) -> None:
        """Nothing is open."""


def local_response(
    reply: LocalReply, exchange: Exchange, *, path: str, preload: bool, decode: bool
) -> urllib3.HTTPResponse:
    """A response that never was on a wire: the mesh's own reply."""
    method = exchange.request.method
    try:
        reason = HTTPStatus(reply.status).phrase
    except ValueError:
        reason = ""
    fields = urllib3.HTTPHeaderDict(reply.headers)
    original: Any = _Unsent(fields) if "set-cookie" in fields else None
    response = urllib3.HTTPResponse(
        body=io.BytesIO(b"" if method == "HEAD" else reply.body),
        headers=fields,
        original_response=original,
        status=reply.status,
        version=11,
        version_string="HTTP/1.1",
        reason=reason,
        preload_content=preload,
        decode_content=decode,
        request_method=method,
        request_url=path,
    )
    response.mesh = exchange  # type: ignore[attr-defined]
    return response


def _written(headers: HeadersView) -> Mapping[str, str]:
    """Header fields for urllib3: a dict if no name comes twice, which costs it half as much."""
    fields = dict(headers.items())
    return fields if len(fields) == len(headers) else urllib3.HTTPHeaderDict(headers.items())


def _name(item: tuple[str, Any]) -> str:
    return item[0]


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")


def _failure(error: Exception, attempt: Attempt) -> Failure:
    """What urllib3 raised, in Envoy's words; the application's own timeouts and mistakes are raised again."""
    if isinstance(error, PendingOverflowError):
        return Failure(FailureKind.OVERFLOW, sent=False, error=error)
    if attempt.is_expired:
        return Failure(FailureKind.TIMEOUT, sent=attempt.is_sent, error=error)
    if attempt.is_impatient or isinstance(error, EmptyPoolError):
        raise error
    if not attempt.is_sent:
        late = isinstance(error, (urllib3.exceptions.TimeoutError, TimeoutError))
        late = late and not isinstance(error, NewConnectionError)  # is a ConnectTimeoutError, for old callers' sake
        kind = FailureKind.CONNECT_TIMEOUT if late else FailureKind.CONNECT_FAILURE
        return Failure(kind, sent=False, error=error, detail=handshake_reason(error))
    if isinstance(error, ProtocolError):
        cause = error.args[1] if len(error.args) > 1 else None
        if isinstance(cause, http.client.HTTPException) and not isinstance(cause, OSError):
            return Failure(FailureKind.PROTOCOL_ERROR, sent=True, error=error)
        return Failure(FailureKind.TERMINATION, sent=True, error=error)
    if isinstance(error, (urllib3.exceptions.SSLError, OSError)):
        return Failure(FailureKind.TERMINATION, sent=True, error=error)
    raise error
