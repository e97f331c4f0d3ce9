"""Bodies of WSGI requests of which a policy has seen the beginning."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest

from meshlib._inbound.bodies import WsgiBody


def in_parts(read: Callable[[], bytes]) -> bytes:
    return b"".join(iter(read, b""))


def into(stream: Any, name: str, size: int) -> bytes:
    """The body by one of the methods that fill a buffer."""
    found, buffer = b"", bytearray(size)
    while count := getattr(stream, name)(buffer):
        found += buffer[:count]
    return found


WAYS: dict[str, Callable[[Any], bytes]] = {
    "read": lambda stream: stream.read(),
    "read None": lambda stream: stream.read(None),
    "read 3": lambda stream: in_parts(lambda: stream.read(3)),
    "read1 3": lambda stream: in_parts(lambda: stream.read1(3)),
    "read1": lambda stream: in_parts(stream.read1),
    "readinto": lambda stream: into(stream, "readinto", 20),
    "readinto1": lambda stream: into(stream, "readinto1", 3),
    "buffered": lambda stream: io.BufferedReader(stream).read(),
    "readline": lambda stream: in_parts(stream.readline),
    "readline 4": lambda stream: in_parts(lambda: stream.readline(4)),
    "readlines": lambda stream: b"".join(stream.readlines()),
    "lines": b"".join,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("limit", [0, 2, 9, 10, 100])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_the_application_gets_all_of_it_and_no_more(way: str, limit: int, is_chunked: bool) -> None:
    """However it reads; into a buffer it got the beginning only."""
    body = b"01234\n6789"
    environ: dict[str, Any] = {"wsgi.input": io.BytesIO(body), "wsgi.input_terminated": True}
    if not is_chunked:
        environ |= {"wsgi.input": io.BytesIO(body + b"the next request"), "CONTENT_LENGTH": "10"}
    assert WsgiBody(environ).read(limit) == body[: limit + 1]
    assert WAYS[way](environ["wsgi.input"]) == body
    assert environ["wsgi.input"].read() == b""


def test_a_body_that_breaks_off_is_none() -> None:
    """It was shown to an authorizer as if it were all."""
    environ: dict[str, Any] = {"wsgi.input": io.BytesIO(b"hel"), "CONTENT_LENGTH": "5"}
    assert WsgiBody(environ).read(100) is None
    environ["wsgi.input"] = io.BytesIO(b"hel")
    assert WsgiBody(environ).read(2) == b"hel"
