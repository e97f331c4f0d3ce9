"""The governed transport: every request is an exchange of the mesh, endpoints are picked for each attempt."""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from meshlib._drivers import govern
from meshlib._engine.commands import Copy, Send
from meshlib._http import Failure, FailureKind, Headers, Outcome, Response
from meshlib._outbound.attempt import Attempt, current_attempt
from meshlib._outbound.mirrors import LONGEST_REPLY, ThreadMirrors
from meshlib._outbound.tls import CredentialError, HasRuntime
from meshlib.adapters.httpx.bodies import start_tape
from meshlib.adapters.httpx.exchanges import Beside, Head, failure
from meshlib.adapters.httpx.network import PendingOverflowError
from meshlib.adapters.httpx.packages import Package, default_package
from meshlib.adapters.httpx.pools import Target
from meshlib.adapters.httpx.shared import COPY_SECONDS, DRAIN_SECONDS, Shared, is_short, outcome

if TYPE_CHECKING:
    from httpx import BaseTransport
else:
    BaseTransport = default_package().api.BaseTransport

__all__ = ["MeshTransport"]


class MeshTransport(BaseTransport):
    """A transport for :class:`httpx.Client` governed by ``mesh``; further arguments are those of ``HTTPTransport``.

    A request that the mesh refuses gets the response that Envoy would send, as behind a
    sidecar; ``raise_on_refusal=True`` raises instead: an error that is both a
    :class:`meshlib.errors.RefusedError` and an httpx error. ``wrapped`` is a transport of
    your own that carries the attempts; where the mesh starts TLS it has connections of
    its own. ``response.extensions["mesh"]`` tells how a response came about.
    """

    def __init__(
        self,
        mesh: HasRuntime,
        wrapped: Any = None,
        *,
        raise_on_refusal: bool = False,
        package: Package | None = None,
        **options: Any,
    ) -> None:
        self._shared = Shared(mesh, wrapped, package, raise_on_refusal=raise_on_refusal, is_async=False, **options)
        self._mirrors = ThreadMirrors()

    def handle_request(self, request: Any) -> Any:
        """One exchange."""
        shared = self._shared
        head = shared.begin(request)
        sender = _Sender(shared, head, self._mirrors)
        reply = govern(head.exchange, sender)
        if type(reply) is not Response and not start_tape(reply):
            return shared.local(reply, head.exchange)
        body = shared.package.body(shared.package, reply.handle.stream, head.attempt)
        response = shared.response(reply, head.exchange, body)
        head.attempt.begin_response(head.exchange)
        return response

    def close(self) -> None:
        """Close the connections, and the wrapped transport."""
        self._mirrors.close()
        for pool in self._shared.pools.take_all():
            pool.close()
        if self._shared.wrapped is not None:
            self._shared.wrapped.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None = None, error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:  # fmt: skip
        self.close()


class _Sender:
    """Sends the attempts of one exchange."""

    def __init__(self, shared: Shared, head: Head, mirrors: ThreadMirrors) -> None:
        self._shared = shared
        self._head = head
        self._mirrors = mirrors

    def send(self, send: Send) -> Outcome:
        shared, head = self._shared, self._head
        attempt = head.attempt_for(send, is_bounded=True)
        token = current_attempt.set(attempt)
        try:
            target = head.target(shared.originator, send.cluster, send.endpoint)
            if shared.wraps(target):
                handle = shared.wrapped.handle_request(head.outer_request(target, send.path, send.timeout))
            else:
                handle = self._pool(target).handle_request(head.core_request(target, send.path, None))
        except CredentialError as error:
            return Failure(FailureKind.CONNECT_FAILURE, sent=False, error=error, detail=str(error))
        except (*shared.package.core_errors, shared.package.api.TransportError, PendingOverflowError) as error:
            return failure(shared.package, error, attempt)
        finally:
            current_attempt.reset(token)
        return outcome(handle)

    def discard(self, response: Response) -> None:
        stream = response.handle.stream
        if is_short(response):
            self._head.attempt.expire_in(DRAIN_SECONDS)
            with contextlib.suppress(*self._shared.package.core_errors, self._shared.package.api.TransportError):
                for _ in stream:  # if it fails it is closed
                    pass
        stream.close()

    def beside(self, headers: Headers) -> _Sender | None:
        """For an attempt at the same time; None if the body is a stream."""
        head = self._head
        return _Sender(self._shared, Beside(head, headers), self._mirrors) if head.is_bytes else None

    def adopt(self, winner: _Sender) -> None:
        """Go on with the attempt that another has sent."""
        self._head.attempt = winner._head.attempt

    def abort(self) -> None:
        """Have the attempt end soon."""
        assert isinstance(self._head, Beside)
        self._head.abort()

    def mirror(self, copy: Copy) -> None:
        """Send a copy in the background. One of a streamed body is left out, as in Envoy."""
        head = self._head
        if not head.is_bytes:
            self._mirrors.dropped += 1
            return
        target = head.target(self._shared.originator, copy.cluster, copy.endpoint)
        request = head.core_copy(target, copy)

        def send() -> None:
            current_attempt.set(Attempt(None, copy.cluster.policy.connection_pool, COPY_SECONDS))
            response = self._pool(target).handle_request(request)
            try:
                left = LONGEST_REPLY
                for part in response.iter_stream():
                    left -= len(part)
                    if left <= 0:
                        break
            finally:
                response.close()

        self._mirrors.start(send)

    def _pool(self, target: Target) -> Any:
        pool, spare = self._shared.pools.get(target)
        for other in spare:
            other.close()
        return pool
