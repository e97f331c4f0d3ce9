"""What the governed transports, synchronous and asynchronous, do alike."""

from __future__ import annotations

from typing import Any, Final, cast

from meshlib._engine.commands import LocalReply
from meshlib._engine.exchange import Exchange
from meshlib._http import Headers, Response
from meshlib._outbound.bodies import SPENT, is_spent
from meshlib._outbound.tls import HasRuntime, originator
from meshlib._runtime import runtime_of
from meshlib.adapters.httpx.exchanges import Head, encoded, local_response
from meshlib.adapters.httpx.packages import Package, default_package, package_of
from meshlib.adapters.httpx.pools import Pools, Target
from meshlib.errors import MeshError

__all__ = ["COPY_SECONDS", "DRAIN_SECONDS", "Shared", "is_short", "outcome"]

COPY_SECONDS: Final = 30.0  # a copy that nobody waits for must not stay for ever
DRAIN_SECONDS: Final = 0.01
_DRAINED: Final = 2**16  # what is left of a dropped response is read if it is no more, else its connection closed


class Shared:
    """What both transports do alike."""

    def __init__(
        self,
        mesh: HasRuntime,
        wrapped: Any,
        package: Package | None,
        *,
        raise_on_refusal: bool,
        is_async: bool,
        **options: Any,
    ) -> None:
        if package is None:
            package = default_package() if wrapped is None else package_of(_library(wrapped))
        self.runtime = runtime_of(mesh, "MeshTransport")
        self.originator = originator(mesh.runtime)
        self.package = package
        self.wrapped: Any = wrapped
        self.raise_on_refusal = raise_on_refusal
        self._identity = object()
        self.pools = Pools(package, is_async=is_async, **options)
        self._names: dict[tuple[str, int], str] = {}  # whose connections the wrapped transport may have to an address

    def begin(self, request: Any) -> Head:
        """Start an exchange."""
        if not isinstance(request, self.package.api.Request):
            theirs = type(request).__module__.partition(".")[0]
            raise MeshError(
                f"a transport for {self.package.api.__name__} got a request of {theirs}; make the client with "
                f"mesh.{theirs}(), or wrap a transport of {theirs}"
            )
        head = Head(self.package, request)
        if not head.host or head.scheme not in ("http", "https"):
            raise self.package.api.UnsupportedProtocol(
                f"{str(request.url)!r} is no absolute http:// or https:// URL; write all of it, or set base_url",
                request=request,
            )
        if is_spent(getattr(request.stream, "_stream", None)):
            raise self.package.consumed(SPENT)
        head.transport = self._identity
        head.path = self.runtime.plain_path(head.path)  # httpx keeps escapes that need not be
        head.exchange = self.runtime.begin(head, head.headers, head.can_replay)
        return head

    def wraps(self, target: Target) -> bool:
        """Whether an attempt goes through the wrapped transport: unless the mesh itself starts its TLS."""
        if self.wrapped is None or target.handshake is not None:
            return False
        if target.server_name is not None:
            known = self._names.setdefault((target.address, target.port), target.server_name)
            if known != target.server_name:
                raise MeshError(
                    f"{target.server_name} and {known} share the endpoint {target.address}:{target.port}, and the "
                    "wrapped transport would take a TLS connection of one for the other; leave out wrapped="
                )
        return True

    def local(self, reply: Any, exchange: Exchange) -> Any:
        """The mesh's own reply, or the error in its place."""
        assert isinstance(reply, LocalReply)
        if self.raise_on_refusal and reply.refusal:
            raise self.package.kinds.error(exchange, reply) from reply.error
        return local_response(self.package, reply, exchange)

    def response(self, reply: Response, exchange: Exchange, body: Any) -> Any:
        """The upstream's response, with the route's changes to its headers."""
        handle = reply.handle
        headers = handle.headers
        if exchange.changes_response:
            changed = cast("Headers", reply.headers)
            exchange.mutate_response(changed)
            headers = encoded(changed)
        status = handle.status if hasattr(handle, "status") else handle.status_code
        extensions = {**handle.extensions, "mesh": exchange}
        return self.package.api.Response(status, headers=headers, stream=body, extensions=extensions)


def _library(wrapped: Any) -> str:
    """Whose transport it is: that of the httpx it derives from."""
    names = {base.__module__.partition(".")[0] for base in type(wrapped).__mro__}
    return "httpx2" if "httpx2" in names and "httpx" not in names else "httpx"


def outcome(handle: Any) -> Response:
    """A response, of a pool of connections or of a wrapped transport, for the engine."""
    status = handle.status if hasattr(handle, "status") else handle.status_code
    raw = handle.headers if isinstance(handle.headers, list) else handle.headers.raw
    return Response(status, Headers([(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw]), handle)


def is_short(response: Response) -> bool:
    """Whether what is left of a response is worth reading, for its connection's sake."""
    length = response.headers.get("content-length", "")
    return length.isdigit() and int(length) <= _DRAINED
