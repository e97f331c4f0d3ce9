"""Requests and answers as bytes of HTTP/1.1, for clients that write those."""

from __future__ import annotations

from http import HTTPStatus

from meshlib._http import Headers
from meshlib.testing.messages import UpstreamRequest, may_have_body
from meshlib.testing.transport import Answer

__all__ = ["complete_length", "parse_request", "render"]


def complete_length(written: bytes | bytearray) -> int | None:
    """How long the request at the beginning is; None if it is not complete yet."""
    end = written.find(b"\r\n\r\n")
    if end < 0:
        return None
    headers = _headers(bytes(written[:end]))
    start = end + 4
    if headers.get("transfer-encoding", "").lower() == "chunked":
        last = written.find(b"0\r\n\r\n", start)
        return last + 5 if last >= 0 and (last == start or written[last - 2 : last] == b"\r\n") else None
    length = start + int(headers.get("content-length", "0"))
    return length if len(written) >= length else None


def parse_request(written: bytes) -> UpstreamRequest:
    """A complete request."""
    head, _, rest = written.partition(b"\r\n\r\n")
    method, target, _ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
    headers = _headers(head)
    body = _unchunked(rest) if headers.get("transfer-encoding", "").lower() == "chunked" else rest
    return UpstreamRequest(method, target, headers.get("host", ""), headers, body)


def _headers(head: bytes) -> Headers:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return Headers((name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines))


def _unchunked(rest: bytes) -> bytes:
    parts = []
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size.partition(b";")[0], 16)
        if not length:
            break
        parts.append(rest[:length])
        rest = rest[length + 2 :]
    return b"".join(parts)


def render(answer: Answer, method: str) -> bytes:
    """The answer to a request of ``method``; the connection is closed after it."""
    try:
        phrase = HTTPStatus(answer.status).phrase
    except ValueError:
        phrase = "Unknown"
    fields = [(name, value) for name, value in answer.headers if name.lower() not in _FRAMING]
    if may_have_body("", answer.status):
        fields.append(("content-length", str(len(answer.body))))
    lines = [f"HTTP/1.1 {answer.status} {phrase}", *(f"{name}: {value}" for name, value in fields), "connection: close"]
    body = answer.body if may_have_body(method, answer.status) else b""
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


_FRAMING = ("content-length", "transfer-encoding", "connection")
