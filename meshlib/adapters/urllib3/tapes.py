"""Taking down the body of a response while the caller reads it, for a ClientPolicy with ``fallback.lastGood``.

urllib3 reads bodies in several ways, some of them past http.client. All of them read
from the file of the connection; so what comes there is taken down, and read as HTTP once
more when it is whole.
"""

from __future__ import annotations

import http.client
import io
from typing import Any, TypeGuard

from meshlib._engine.commands import Reply
from meshlib._engine.good_responses import Tape, Taped
from meshlib._http import Response
from meshlib.adapters.urllib3.connections import BoundedReader

__all__ = ["start_tape"]


def start_tape(reply: Reply) -> TypeGuard[Response]:
    """Take down the body of a response that may have to stand in for a later one; False where there is none."""
    if not isinstance(reply, Taped):
        return False
    response: http.client.HTTPResponse | None = reply.handle._original_response
    file: Any = response.fp if response is not None else None
    if response is None or response._method == "HEAD" or file is None:  # type: ignore[attr-defined]
        if response is not None:  # without a body it is whole
            reply.tape.keep()
        return True
    reader = file.raw
    assert isinstance(reader, BoundedReader)
    reader.__class__ = _TapedReader
    assert isinstance(reader, _TapedReader)
    reader.start(reply.tape, response, file)
    return True


class _TapedReader(BoundedReader):
    """A reader that takes down what it reads."""

    _tape: Tape
    _head: bytes
    _is_resting: bool
    _is_at_end: bool
    _wire: bytearray

    def start(self, tape: Tape, response: http.client.HTTPResponse, file: io.BufferedReader) -> None:
        """Begin with what was read together with the head."""
        self._tape = tape
        self._head = _framing(response)
        self._is_at_end, self._is_resting = False, True
        self._wire = bytearray(file.peek())
        self._is_resting = False

    def readinto(self, buffer: Any) -> int | None:
        if self._is_resting:  # nothing is waited for: only what is there is asked for
            return None
        count = super().readinto(buffer)
        if count == 0:
            self._is_at_end = True
        elif count:
            self._wire += memoryview(buffer)[:count]
            if len(self._wire) > 2 * self._tape.largest:  # tiny chunks may double it
                self._tape.drop()
                self._wire = bytearray()
        return count

    def close(self) -> None:
        if not self.closed:
            self._keep()
        super().close()

    def _keep(self) -> None:
        wire, self._wire = bytes(self._wire), bytearray()
        body = _body(self._head, wire)
        if body is not None and (self._is_at_end or b"close" not in self._head):
            self._tape.feed(body)
            self._tape.keep()


def _framing(response: http.client.HTTPResponse) -> bytes:
    """A head that says no more than where the body ends."""
    if response.chunked:
        ends = b"transfer-encoding: chunked"
    elif response.length is not None:
        ends = b"content-length: %d" % response.length
    else:
        ends = b"connection: close"
    return b"HTTP/1.1 200 OK\r\n" + ends + b"\r\n\r\n"


class _Wire:
    """Stands for the socket where http.client makes a file of it."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._content)


def _body(head: bytes, wire: bytes) -> bytes | None:
    """The body that came over the wire; None if it is not whole."""
    parsed = http.client.HTTPResponse(_Wire(head + wire))  # type: ignore[arg-type]
    try:
        parsed.begin()
        return parsed.read()
    except (http.client.HTTPException, ValueError):
        return None
