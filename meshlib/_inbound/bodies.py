"""Bodies of WSGI requests, of which a policy may need the beginning before the application reads them."""

from __future__ import annotations

from io import BytesIO
from typing import Any, Protocol

__all__ = ["WsgiBody"]


class _Readable(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


class WsgiBody:
    """The body of a request, of which a policy may need the beginning before the application reads it."""

    __slots__ = ("_environ",)

    def __init__(self, environ: dict[str, Any]) -> None:
        self._environ = environ

    def read(self, limit: int) -> bytes:
        """The first ``limit`` bytes (one more, if there are more); the application still gets all of it."""
        stream: _Readable = self._environ["wsgi.input"]
        length = self._length()
        start = _exactly(stream, limit + 1 if length is None else min(limit + 1, length))
        self._environ["wsgi.input"] = _Rejoined(start, stream, length)
        return start

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


class _Rejoined(BytesIO):
    """A stream whose beginning was read already. ``length`` None: it ends by itself."""

    def __init__(self, start: bytes, rest: _Readable, length: int | None) -> None:
        super().__init__(start)
        self._rest = rest
        self._left = None if length is None else length - len(start)

    def read(self, size: int | None = -1, /) -> bytes:
        """As of any binary stream; ends with the body."""
        found = super().read(size)
        is_all = size is None or size < 0
        if self._left is None:
            return found + (self._rest.read() if is_all else self._rest.read((size or 0) - len(found)))
        wanted = self._left if is_all else min((size or 0) - len(found), self._left)
        if wanted > 0:
            more = self._rest.read(wanted)
            self._left -= len(more)
            found += more
        return found

    def readline(self, size: int | None = -1, /) -> bytes:
        """As of any binary stream."""
        self._take_all()
        return super().readline(size)

    def readlines(self, hint: int | None = None, /) -> list[bytes]:
        """As of any binary stream."""
        self._take_all()
        return super().readlines(hint)

    def __next__(self) -> bytes:
        self._take_all()
        return super().__next__()

    def _take_all(self) -> None:
        """Lines may end anywhere, so what is left is read first."""
        place = self.tell()
        rest = self.read()
        self.seek(place)
        self.truncate()
        self.write(rest)
        self.seek(place)
