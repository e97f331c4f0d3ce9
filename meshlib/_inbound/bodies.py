"""Bodies of WSGI requests, of which a policy may need the beginning before the application reads them."""

from __future__ import annotations

from io import BufferedIOBase, BytesIO
from typing import Any, Protocol

__all__ = ["WsgiBody"]


class _Readable(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


class WsgiBody:
    """The body of a request, of which a policy may need the beginning before the application reads it."""

    __slots__ = ("_environ",)

    def __init__(self, environ: dict[str, Any]) -> None:
        self._environ = environ

    def read(self, limit: int) -> bytes | None:
        """The first ``limit`` bytes (one more, if there are more); the application still gets all of it.

        None if the client has gone before the end.
        """
        stream: _Readable = self._environ["wsgi.input"]
        length = self._length()
        wanted = limit + 1 if length is None else min(limit + 1, length)
        start = _exactly(stream, wanted)
        self._environ["wsgi.input"] = _Rejoined(start, stream, length)
        return None if length is not None and len(start) < wanted else start

    def _length(self) -> int | None:
        """The length of the body; None where the stream knows its own end, as that of a chunked body does."""
        written = self._environ.get("CONTENT_LENGTH") or ""
        if written.isascii() and written.isdigit():
            return int(written)
        return None if self._environ.get("wsgi.input_terminated") else 0


def _exactly(stream: _Readable, size: int) -> bytes:
    """So many bytes, or all there are; a chunked body comes in pieces."""
    parts: list[bytes] = []
    while size > 0 and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


class _Rejoined(BufferedIOBase):
    """A stream whose beginning was read already. ``length`` None: it ends by itself."""

    def __init__(self, start: bytes, rest: _Readable, length: int | None) -> None:
        self._start = BytesIO(start)
        self._rest = rest
        self._left = None if length is None else length - len(start)

    def readable(self) -> bool:
        """True."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any binary stream; ends with the body."""
        found = self._start.read(size)
        is_all = size is None or size < 0
        if self._left is None:
            return found + (self._rest.read() if is_all else self._rest.read((size or 0) - len(found)))
        wanted = self._left if is_all else min((size or 0) - len(found), self._left)
        if wanted > 0:
            more = self._rest.read(wanted)
            self._left -= len(more)
            found += more
        return found

    def read1(self, size: int = -1, /) -> bytes:
        """What was read already, if there is some left; else as :meth:`read`."""
        return self._start.read(size) or self.read(size)

    def readline(self, size: int | None = -1, /) -> bytes:
        """As of any binary stream."""
        self._take_all()
        return self._start.readline(size)

    def _take_all(self) -> None:
        """Lines may end anywhere, so what is left is read first."""
        if self._left != 0:
            self._start = BytesIO(self.read())
            self._left = 0
