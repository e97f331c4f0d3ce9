"""What the request being served hands on to the calls made while serving it.

A server adapter enters the context of a request; every governed call made in it, in
the same task or in a thread that inherited its context, carries the headers on. Istio
leaves this to the application
(https://istio.io/latest/docs/tasks/observability/distributed-tracing/overview/);
inside the process it needs no code of the user's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import Any, Final, Protocol

__all__ = [
    "PROPAGATED",
    "Carried",
    "Carrier",
    "Entered",
    "begin_apart",
    "carried_headers",
    "carried_of",
    "deadline",
    "entered",
    "handed_on",
    "is_carriable",
    "serving",
]

PROPAGATED: Final = frozenset(
    "x-request-id traceparent tracestate baggage b3 x-b3-traceid x-b3-spanid x-b3-parentspanid x-b3-sampled "
    "x-b3-flags x-ot-span-context x-cloud-trace-context grpc-trace-bin sw8".split()
)
"""The headers that Istio's documentation asks applications to pass on, and the baggage of W3C."""


class Carrier(Protocol):
    """A request, as far as the calls made while serving it look at it."""

    @property
    def carried(self) -> Mapping[str, str]:
        """The headers that these calls get unless they have them."""
        ...


class Carried:
    """A request of which nothing else is known."""

    __slots__ = ("carried",)

    def __init__(self, carried: Mapping[str, str]) -> None:
        self.carried = carried

    def __repr__(self) -> str:
        return f"<Carried headers={len(self.carried)}>"


serving: Final[ContextVar[Carrier | None]] = ContextVar("meshlib_serving", default=None)
"""The request that is being served in this context; None outside of one. One variable, since each costs its setting."""


def handed_on() -> Mapping[str, str] | None:
    """The headers that calls in this context get unless they have them; None outside of a request."""
    request = serving.get()
    return None if request is None else request.carried


deadline: Final[ContextVar[float | None]] = ContextVar("meshlib_deadline", default=None)
"""The instant on the mesh's clock by which the work of this context must be done; None: no such instant."""


class Entered:
    """How the request that a gateway passes on came in: what its routes look at and the next hop does not show.

    ``server_name`` is what the client named in its TLS handshake (empty: the Host header
    stands for it), ``claims`` those of a verified token (None: there was none), ``source``
    the address of the client, ``source_port`` its port; 0: not known.
    """

    __slots__ = ("claims", "scheme", "server_name", "source", "source_port")

    def __init__(
        self, scheme: str, server_name: str, claims: dict[str, Any] | None, source: str = "", source_port: int = 0
    ) -> None:
        self.scheme = scheme
        self.server_name = server_name
        self.claims = claims
        self.source = source
        self.source_port = source_port

    def __repr__(self) -> str:
        return f"<Entered {self.scheme} {self.server_name or '-'}>"


entered: Final[ContextVar[Entered | None]] = ContextVar("meshlib_entered", default=None)
"""The request that a gateway is passing on in this context; None outside of one."""


def begin_apart() -> None:
    """What follows in this context belongs to no request, even if one was served in it and never left."""
    serving.set(None)
    deadline.set(None)
    entered.set(None)


def is_carriable(value: str) -> bool:
    """Whether any client library can write a value: anybody may send others, and break no call of the handler."""
    return value.isascii() and value.isprintable()


def carried_of(headers: Mapping[str, str]) -> dict[str, str]:
    """As :func:`carried_headers`, for headers that are found in any case."""
    names = PROPAGATED.intersection(map(str.lower, headers))
    return {name: value for name in names if is_carriable(value := headers[name])}


def carried_headers(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Those of the headers that are passed on, under names in lower case; of a repeated one the first."""
    carried: dict[str, str] = {}
    for written, value in headers:
        name = written.lower()
        if name in PROPAGATED and is_carriable(value):
            carried.setdefault(name, value)
    return carried
