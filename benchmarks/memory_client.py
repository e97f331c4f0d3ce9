"""aiohttp answered from memory: the client writes real requests and parses real responses, and no socket is touched.

aiohttp asks its event loop for a connection through two public methods: ``sock_connect`` (within aiohappyeyeballs)
and ``create_connection``. :class:`MemoryLoop` answers both, so every connector that ends there works unchanged, the
default ``TCPConnector`` and subclasses of it included, and nothing private of aiohttp is used. The transport calls
``data_received`` with one canned HTTP/1.1 response as soon as a request has been written completely: what remains is
the work that Python does for a request, which is what a governing layer adds to. That work repeats within a percent;
the kernel's does not.

Use with ``asyncio.Runner(loop_factory=MemoryLoop)``. Only addresses can be called by a bare session (no DNS).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import aiohttp

__all__ = ["CANNED_RESPONSE", "MemoryLoop", "MemoryTransport", "Session", "gets"]

CANNED_BODY = b'{"id": 0, "reviews": [{"reviewer": "Reviewer1", "text": "An extremely entertaining play."}]}'
CANNED_RESPONSE = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
    b"date: Tue, 03 Nov 2026 10:00:00 GMT\r\nserver: istio-envoy\r\nx-envoy-upstream-service-time: 3\r\n\r\n%s"
) % (len(CANNED_BODY), CANNED_BODY)

Session = aiohttp.ClientSession


class MemoryTransport(asyncio.Transport):
    """One connection: a complete request in, ``response`` out, in the same call of ``write``."""

    def __init__(self, protocol: asyncio.Protocol, response: bytes) -> None:
        super().__init__()
        self._protocol = protocol
        self._response = response
        self._pending = b""
        self._is_closing = False
        self.requests = 0

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Answer if this completes a request."""
        # The whole of a request without a body arrives at once; nothing else is on the measured path.
        if self._pending or not (data[:4] == b"GET " and data[-4:] == b"\r\n\r\n"):
            self._pending += bytes(data)
            if not _is_complete(self._pending):
                return
            self._pending = b""
        self.requests += 1
        self._protocol.data_received(self._response)

    def is_closing(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._is_closing

    def close(self) -> None:
        """Tell the protocol, in the loop's next turn."""
        if not self._is_closing:
            self._is_closing = True
            asyncio.get_running_loop().call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        """Nothing is in flight that could be dropped."""
        self.close()

    def pause_reading(self) -> None:
        """Nothing more comes than was asked for."""

    def resume_reading(self) -> None:
        """Nothing was held back."""


class MemoryLoop(asyncio.SelectorEventLoop):
    """An event loop whose outgoing connections end in memory. ``response`` is what new connections answer."""

    def __init__(self) -> None:
        super().__init__()
        self.response = CANNED_RESPONSE
        self.transports: list[MemoryTransport] = []

    async def sock_connect(self, sock: Any, address: Any) -> None:
        """Accept any address, and connect to nothing."""

    async def create_connection(  # type: ignore[override]
        self, protocol_factory: Callable[[], asyncio.Protocol], *_: Any, sock: Any = None, **__: Any
    ) -> tuple[MemoryTransport, asyncio.Protocol]:
        """Make a connection in memory; the socket that was "connected" is closed, as nobody will use it."""
        if sock is not None:
            sock.close()
        protocol = protocol_factory()
        transport = MemoryTransport(protocol, self.response)
        self.transports.append(transport)
        protocol.connection_made(transport)
        return transport, protocol


def gets(session: Session, url: str, *, paths: int = 1) -> Callable[[int], Any]:
    """A benchmark body: ``calls`` times GET ``url`` and read the body; ``/number`` is added if there are many paths."""
    urls = itertools.cycle([url] if paths == 1 else [f"{url}/{number}" for number in range(paths)])

    async def body(calls: int) -> None:
        for one in itertools.islice(urls, calls):
            async with session.get(one) as response:
                await response.read()
        # Answers from memory never suspend; in this turn the loop throws the cancelled timers away, which is work
        # that each variant has to pay for itself.
        await asyncio.sleep(0)

    return body


def _is_complete(request: bytes) -> bool:
    head, blank, body = request.partition(b"\r\n\r\n")
    if not blank:
        return False
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    if fields.get(b"transfer-encoding") == b"chunked":
        return body.endswith(b"0\r\n\r\n")
    return len(body) >= int(fields.get(b"content-length", b"0"))
