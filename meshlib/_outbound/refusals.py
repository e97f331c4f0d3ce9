"""Refusals as exceptions: which family of the client library they belong to, and how they are filled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from meshlib._engine.commands import LocalReply
from meshlib._engine.exchange import Exchange
from meshlib.errors import RefusedError

__all__ = ["RefusalKinds"]

_CONNECTION_FLAGS: Final = frozenset(("UF", "UC", "UR", "LR", "UPE"))


@dataclass(frozen=True, slots=True)
class RefusalKinds:
    """The error classes of one client library; each is a :class:`RefusedError` and one of the library's own."""

    response: type[RefusedError]
    connection: type[RefusedError]
    timeout: type[RefusedError]

    def error(self, exchange: Exchange, reply: LocalReply) -> RefusedError:
        """The error for a reply of the mesh; to be raised from ``reply.error``."""
        flags = exchange.flags
        kind = self.response
        if "UT" in flags:
            kind = self.timeout
        elif _CONNECTION_FLAGS.intersection(flags):
            kind = self.connection
        return kind(
            status=reply.status,
            body=reply.body.decode("utf-8", "replace"),
            flags=flags,
            details=reply.details,
            host=exchange.request.authority,
        )
