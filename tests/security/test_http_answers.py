"""Answers of HTTP/1 as they are read from an authorizer: strictly, and only when they are complete."""

from __future__ import annotations

import pytest

from meshlib._inbound.http_answers import Answer, BadAnswerError, read_answer

OK = b"HTTP/1.1 200 OK\r\n"
EMPTY = b"content-length: 0\r\n\r\n"
CHUNKED = b"transfer-encoding: Chunked\r\n\r\n"


def read(parts: list[bytes], method: str = "GET") -> Answer | None:
    """The answer in these parts; None if it is not complete after them."""
    reading = read_answer(method)
    next(reading)
    for part in parts:
        try:
            reading.send(part)
        except StopIteration as done:
            answer: Answer = done.value
            return answer
    return None


@pytest.mark.parametrize(
    ("sent", "status", "headers", "body"),
    [
        (OK + b"content-length: 0\r\n\r\n", 200, (("content-length", "0"),), b""),
        (
            OK + b"X-A:\t 1 \xa0 \t\r\nx-a:\r\ncontent-length: 2\r\n\r\nok",
            200, (("x-a", "1 \udca0"), ("x-a", ""), ("content-length", "2")), b"ok",
        ),
        (b"HTTP/1.0 403\r\ncontent-length: 2\r\n\r\nno", 403, None, b"no"),
        (b"HTTP/1.1 200 OK\ncontent-length: 0\n\n", 200, None, b""),
        (OK + CHUNKED + b"2;a=b\r\nab\r\n1\r\nc\r\n0\r\nx-trailer: 1\r\n\r\n", 200, None, b"abc"),
        (b"HTTP/1.1 204 No\r\n\r\n", 204, (), b""),
        (b"HTTP/1.2 299\r\ncontent-length: 0\r\n\r\n", 299, None, b""),
        (b"HTTP/1.1 304 No\r\ncontent-length: 5\r\n\r\n", 304, None, b""),
        (b"HTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 103 Hints\r\nlink: x\r\n\r\n" + OK + EMPTY, 200, None, b""),
        (b"HTTP/1.1 101 Switch\r\n\r\n", 101, (), b""),
        (OK + b"x: \xff\xc3\xa4\r\ncontent-length: 0\r\n\r\n", 200, (("x", "\udcffä"), ("content-length", "0")), b""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_a_complete_answer(
    sent: bytes, status: int, headers: tuple[tuple[str, str], ...] | None, body: bytes, step: int
) -> None:
    """In whatever pieces it comes."""
    answer = read([sent[at : at + step] for at in range(0, len(sent), step)])
    assert answer is not None
    assert (answer.status, answer.body) == (status, body)
    if headers is not None:
        assert answer.headers == headers


def test_a_head_has_no_body() -> None:
    """Whatever its length would have been."""
    assert read([OK + b"content-length: 5\r\n\r\n"], "HEAD") == Answer(200, (("content-length", "5"),), b"")


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    """And not before."""
    assert read([OK + b"\r\nab", b"c"]) is None
    assert read([OK + b"\r\nab", b"c", b""]) == Answer(200, (), b"abc")


@pytest.mark.parametrize(
    "sent",
    [
        b"H",
        b"HTTP/1.1 200 OK\r\nx-a",
        b"HTTP/1.1 200 OK\r\nx-a: 1\r\n",
        OK + b"content-length: 3\r\n\r\nab",
        OK + b"transfer-encoding: chunked\r\n\r\n5\r\nab",
        OK + b"transfer-encoding: chunked\r\n\r\n2\r\nab\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n",
    ],
)
def test_an_answer_that_is_cut_off_is_none(sent: bytes) -> None:
    """Its connection ended too early."""
    assert read([sent]) is None
    with pytest.raises(BadAnswerError):
        read([sent, b""])


@pytest.mark.parametrize(
    "sent",
    [
        b"garbage\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 2_00 OK\r\n\r\n",
        b"HTTP/1.1 +200 OK\r\n\r\n",
        b"\r\nHTTP/1.1 200 OK\r\n\r\n",
        OK + b"no colon\r\n\r\n",
        OK + b"x a: 1\r\n\r\n",
        OK + b"x-a : 1\r\n\r\n",
        OK + b"x-a: 1\r\n 2\r\n\r\n",
        OK + b"x-a: a\0b\r\n\r\n",
        OK + b"x-a:" + b" " * 100_000 + b"\0\r\n\r\n",  # which took hours to find out
        OK + b"x-a: a\rb: c\r\n\r\n",
        OK + b"x-a: a\x17b\r\n\r\n",
        b"HTTP/1.1 200 O\0K\r\n\r\n",
        b"HTTP/1.1 200 OK\r\x08x-a: 1\r\n\r\n",
        OK + CHUNKED + b"3;x=y\nabc\r\n0\r\n\r\n",
        OK + CHUNKED + b"3;x\ry\r\nabc\r\n0\r\n\r\n",
        OK + CHUNKED + b"3\r\nabc\n0\r\n\r\n",
        OK + CHUNKED + b"0\r\nno trailer\r\n\r\n",
        OK + CHUNKED + b"0\r\nt: 1\r\n\n",
        OK + b"x: 1\r\n" * 101 + b"\r\n",
        OK + b"x-a: " + b"a" * (1 << 18),
        OK + b"content-length: 0\r\ncontent-length: 5\r\n\r\n",
        OK + b"content-length: 0\r\ncontent-length: 0\r\n\r\n",
        OK + b"content-length: -1\r\n\r\n",
        OK + b"content-length: 0, 0\r\n\r\n",
        OK + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        OK + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\n2\r\nabc\r\n0\r\n\r\n",
    ],
)
def test_what_can_be_read_in_two_ways_is_no_answer(sent: bytes) -> None:
    """Neither is garbage, nor what never ends."""
    with pytest.raises(BadAnswerError):
        read([sent])


@pytest.mark.parametrize(
    "head", [b"content-length: 3000000\r\n\r\n", b"\r\n", b"transfer-encoding: chunked\r\n\r\n2DC6C0\r\n"]
)
def test_of_a_very_long_body_there_is_the_beginning(head: bytes) -> None:
    """However its end is told."""
    answer = read([b"HTTP/1.1 403 No\r\n" + head, *[b"a" * 100_000] * 30])
    assert answer is not None
    assert answer.body == b"a" * (1 << 20)
