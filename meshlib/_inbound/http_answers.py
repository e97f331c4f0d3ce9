"""Answers of HTTP/1, read without I/O and strictly: what is cut off or can be read in two ways is no answer.

:func:`read_answer` is a generator, driven by whoever has the connection: it yields when
it wants more bytes, takes them (none: the connection has ended), and returns the answer
as soon as it is complete (RFC 9112). Informational answers are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import Final, NamedTuple, TypeAlias

__all__ = ["Answer", "BadAnswerError", "Reading", "read_answer"]

_LARGEST_HEAD: Final = 1 << 17
_LARGEST_BODY: Final = 1 << 20
_MOST_HEADERS: Final = 100  # as Envoy
_TEXT: Final = rb"[\t\x20-\x7e\x80-\xff]*"
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[0-9] ([0-9]{1,9})(?: " + _TEXT + rb")?")
_FIELD: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):(" + _TEXT + rb")")
_CHUNK: Final = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;" + _TEXT + rb")?\r")
_LENGTH: Final = re.compile(r"[0-9]{1,18}")

Fields: TypeAlias = tuple[tuple[str, str], ...]


class BadAnswerError(Exception):
    """What came is no answer."""


class Answer(NamedTuple):
    """A complete answer. Names of headers are in lower case; of a very long body there is the beginning."""

    status: int
    headers: Fields
    body: bytes


Reading: TypeAlias = Generator[None, bytes, Answer]
_Waiting: TypeAlias = Generator[None, bytes, bytes]


def read_answer(method: str) -> Reading:
    """Read the answer to a request of this method."""
    source = _Incoming()
    status, headers = yield from _head(source)
    while 100 <= status < 200 and status != 101:
        status, headers = yield from _head(source)
    if method == "HEAD" or status in (101, 204, 304):
        return Answer(status, headers, b"")
    body = yield from _body(source, headers)
    return Answer(status, headers, body)


class _Incoming:
    """The bytes that came and were not read yet."""

    def __init__(self) -> None:
        self._left = bytearray()
        self._head_size = 0

    def line(self) -> _Waiting:
        """The next line, without its end, which may be a bare LF."""
        found = yield from self.raw_line()
        return found.removesuffix(b"\r")

    def raw_line(self) -> _Waiting:
        """The next line until its LF."""
        while (end := self._left.find(b"\n")) < 0:
            if len(self._left) > _LARGEST_HEAD or not (yield from self._more()):
                raise BadAnswerError
        self._head_size += end
        if self._head_size > _LARGEST_HEAD:
            raise BadAnswerError
        found = bytes(self._left[:end])
        del self._left[: end + 1]
        return found

    def exactly(self, size: int) -> _Waiting:
        """So many bytes; of very many only the beginning, which ends the reading."""
        wanted = min(size, _LARGEST_BODY)
        while len(self._left) < wanted:
            if not (yield from self._more()):
                raise BadAnswerError
        found = bytes(self._left[:wanted])
        del self._left[:wanted]
        return found

    def rest(self) -> _Waiting:
        """Everything until the connection ends."""
        while len(self._left) < _LARGEST_BODY and (yield from self._more()):
            pass
        return bytes(self._left[:_LARGEST_BODY])

    def _more(self) -> Generator[None, bytes, bool]:
        data = yield
        self._left += data
        return bool(data)


def _head(source: _Incoming) -> Generator[None, bytes, tuple[int, Fields]]:
    line = yield from source.line()
    status = _STATUS_LINE.fullmatch(line)
    if status is None:
        raise BadAnswerError
    headers: list[tuple[str, str]] = []
    while line := (yield from source.line()):
        field = _FIELD.fullmatch(line)
        if field is None or len(headers) == _MOST_HEADERS:
            raise BadAnswerError
        headers.append((field[1].decode().lower(), field[2].strip(b" \t").decode("utf-8", "surrogateescape")))
    return int(status[1]), tuple(headers)


def _body(source: _Incoming, headers: Fields) -> _Waiting:
    codings = [value for name, value in headers if name == "transfer-encoding"]
    lengths = [value for name, value in headers if name == "content-length"]
    if codings:
        if lengths or [coding.lower() for coding in codings] != ["chunked"]:
            raise BadAnswerError
        return (yield from _chunks(source))
    if not lengths:
        return (yield from source.rest())
    if len(lengths) > 1 or _LENGTH.fullmatch(lengths[0]) is None:  # even two that are equal, as in Envoy
        raise BadAnswerError
    return (yield from source.exactly(int(lengths[0])))


def _chunks(source: _Incoming) -> _Waiting:
    body = bytearray()
    while len(body) < _LARGEST_BODY:
        size = _CHUNK.fullmatch((yield from source.raw_line()))
        if size is None:
            raise BadAnswerError
        wanted = int(size[1], 16)
        if not wanted:
            yield from _trailers(source)
            break
        body += yield from source.exactly(wanted)
        if wanted <= _LARGEST_BODY and (yield from source.raw_line()) != b"\r":
            raise BadAnswerError
    return bytes(body[:_LARGEST_BODY])


def _trailers(source: _Incoming) -> Generator[None, bytes, None]:
    """Nobody wants them, but they must be such."""
    while (line := (yield from source.raw_line())) != b"\r":
        if not line.endswith(b"\r") or _FIELD.fullmatch(line[:-1]) is None:
            raise BadAnswerError
