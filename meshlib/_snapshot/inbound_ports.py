"""What a Sidecar and the rules of its services say of the workload's own ports. Compiled and immutable."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from meshlib._snapshot.clusters import ConnectionPool

__all__ = ["InboundPorts", "IngressListener"]


class IngressListener(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A listener of the workload: ``bind`` is its address, empty for any."""

    port: int
    bind: str = ""


class InboundPorts(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """``pools`` are the limits of requests by port, 0 standing for all others.

    ``listeners`` are those of the Sidecar; ``behind`` leads from the port of an
    application (``defaultEndpoint``) to that of the listener before it.
    """

    pools: Mapping[int, ConnectionPool] = msgspec.field(default_factory=dict[int, ConnectionPool])
    listeners: tuple[IngressListener, ...] = ()
    behind: Mapping[int, int] = msgspec.field(default_factory=dict[int, int])

    def port(self, number: int) -> int:
        """The port that policies know a server by which listens on ``number``."""
        return self.behind.get(number, number)

    def pool(self, number: int) -> ConnectionPool | None:
        """The limits of a port; None: there are none."""
        return self.pools.get(number) or self.pools.get(0)
