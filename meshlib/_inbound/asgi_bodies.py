"""Bodies of requests by ASGI, of which policies and the application look at the same bytes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

__all__ = ["Body"]

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]


class Body:
    """The body of a request, of which a policy may need the beginning before the application reads it."""

    __slots__ = ("_receive", "_seen")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._seen: list[Message] = []

    async def read(self, limit: int) -> bytes | None:
        """The first ``limit`` bytes (one more, if there are more); the application still gets all of it.

        The same again if it is read again; None if the client has gone before the end.
        """
        parts: list[bytes] = []
        size = number = 0
        while size <= limit:
            if number == len(self._seen):
                self._seen.append(await self._receive())
            message = self._seen[number]
            number += 1
            if message["type"] == "http.disconnect":
                return None
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if not message.get("more_body", False):
                break  # also what is no request but a websocket
        return b"".join(parts)[: limit + 1]

    @property
    def receive(self) -> Receive:
        """What the application calls: the server's own, unless something was read already."""
        return self._replay if self._seen else self._receive

    async def _replay(self) -> Message:
        return self._seen.pop(0) if self._seen else await self._receive()
