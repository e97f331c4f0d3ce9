"""Bodies of ASGI requests of which a policy has seen the beginning."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any, TypeAlias

import pytest

from meshlib import Mesh
from meshlib._inbound.asgi_bodies import Body
from meshlib.adapters.asgi import MeshMiddleware
from tests.adapters.test_authorizer_answers import OK, YES, answering, says
from tests.adapters.test_authorizers import config
from tests.adapters.test_inbound import WORKLOAD
from tests.patience import PATIENCE

Message: TypeAlias = MutableMapping[str, Any]
GONE: Message = {"type": "http.disconnect"}
CONNECT: Message = {"type": "websocket.connect"}


def parts(*bodies: bytes, ends: bool = True) -> list[Message]:
    """The messages of a body in these parts."""
    last = len(bodies) - 1
    return [
        {"type": "http.request", "body": body, "more_body": not ends or at < last} for at, body in enumerate(bodies)
    ]


def read(messages: list[Message], *limits: int) -> list[bytes | None]:
    """What policies see, and then what the application gets must be what came."""
    left = list(messages)

    async def receive() -> Message:
        return left.pop(0)

    async def go() -> list[bytes | None]:
        body = Body(receive)
        found = [await body.read(limit) for limit in limits]
        assert [await body.receive() for _ in messages] == messages
        return found

    return asyncio.run(go())


@pytest.mark.parametrize(
    ("messages", "limit", "expected"),
    [
        (parts(b"hello"), 10, b"hello"),
        (parts(b"hel", b"lo"), 10, b"hello"),
        (parts(b"hel", b"lo", b" you"), 5, b"hello "),
        (parts(b"hello", ends=False), 3, b"hell"),
        (parts(b""), 3, b""),
        ([*parts(b"hel", ends=False), GONE], 10, None),
        ([CONNECT], 10, b""),
    ],
)
def test_what_policies_see(messages: list[Message], limit: int, expected: bytes | None) -> None:
    """The same when they look again, for which a second body was waited for."""
    assert read(messages, limit, limit) == [expected, expected]


def serve(yaml: str, scope: Message, messages: list[Message]) -> tuple[list[Message], bool]:
    """What is sent in answer, and whether the application was called; it waits for no more than these messages."""
    left, sent, called = list(messages), [], False

    async def receive() -> Message:
        if not left:
            await asyncio.sleep(PATIENCE)
            raise TimeoutError
        return left.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal called
        called = True

    base = {"query_string": b"", "headers": [(b"host", b"web.shop")], "server": ("127.0.0.1", 80), "scheme": "http"}
    asyncio.run(MeshMiddleware(app, Mesh.load(yaml, workload=WORKLOAD))({**base, **scope}, receive, send))
    return sent, called


def post(path: str) -> Message:
    return {"type": "http", "method": "POST", "path": path, "raw_path": path.encode()}


BODY: dict[str, Any] = {"includeRequestBodyInCheck": {"maxRequestBytes": 100}}


def test_a_path_that_can_be_read_in_two_ways_is_asked_about_twice() -> None:
    """With the same body: it waited for another one."""
    with answering(says(YES)) as (port, asked):
        yaml = config(port, **BODY).replace("[/guarded*, /stream]", "[/*]")
        _, called = serve(yaml, post("//guarded"), parts(b"hello"))
    assert called
    assert [data.partition(b" HTTP")[0] for data in asked] == [b"POST //guarded", b"POST /guarded"]
    assert all(b"content-length: 5\r\n" in data for data in asked)


def test_nobody_is_asked_about_a_body_that_breaks_off() -> None:
    """It was shown as if it were all, and served."""
    with answering(says(YES)) as (port, asked):
        _, called = serve(config(port, **BODY), post("/guarded"), [*parts(b"hel", ends=False), GONE])
    assert (called, asked) == (False, [])


def test_a_websocket_that_is_refused_is_told_so() -> None:
    """Its handshake was taken for the body, and then waited for."""
    scope = {"type": "websocket", "path": "/guarded", "raw_path": b"/guarded", "scheme": "ws"}
    with answering(says(OK.replace(b"200", b"401") + b"\r\n")) as (port, asked):
        sent, called = serve(config(port, **BODY), scope, [CONNECT])
    assert (called, len(asked)) == (False, 1)
    assert sent == [{"type": "websocket.close", "code": 1008}]
