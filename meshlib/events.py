"""Facts that the mesh reports at run time. Telemetry, logs, dashboards and tests listen to them.

Events are immutable by contract and carry no client library's objects. They are
delivered synchronously, in order, on the thread or task where they happened: an
observer must be quick and must not raise (an exception of an observer is reported
once through :mod:`warnings` and never reaches the call).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

if TYPE_CHECKING:
    from meshlib.diagnostics import Finding

__all__ = [
    "AttemptFinished",
    "ConfigPublished",
    "ConfigRejected",
    "ConnectionClosed",
    "ConnectionOpened",
    "EndpointEjected",
    "EndpointUnejected",
    "Event",
    "ExchangeFinished",
    "FaultInjected",
    "Observer",
    "RequestServed",
    "RetryScheduled",
]


@dataclass(slots=True, kw_only=True)  # not frozen: made for every request, and that costs four times as much
class ExchangeFinished:
    """One application request was answered, by the upstream or by the mesh.

    ``status`` is what the application sees (0: it saw no response), ``duration`` in
    seconds from its start to the response head, ``attempts`` the number of sends,
    ``flags`` Envoy's response flags, ``details`` its response code detail.
    """

    host: str
    method: str
    status: int
    duration: float
    attempts: int
    flags: tuple[str, ...]
    details: str
    route: str
    cluster: str
    endpoint: str


@dataclass(slots=True, kw_only=True)  # not frozen: made for every request, and that costs four times as much
class AttemptFinished:
    """One send came back. ``status`` is 0 and ``failure`` Envoy's reset reason if there was no response."""

    cluster: str
    endpoint: str
    attempt: int
    status: int
    failure: str
    duration: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryScheduled:
    """The attempt before was not good enough; ``attempt`` (≥ 2) starts after ``backoff`` seconds.

    With the ``reason`` ``hedge`` it starts now, beside one that has not come back for ``backoff`` seconds.
    """

    cluster: str
    attempt: int
    backoff: float
    reason: str


@dataclass(slots=True, kw_only=True)  # not frozen: made for every request, and that costs four times as much
class RequestServed:
    """One inbound request was answered, by the application or by a policy.

    ``decision`` is ``allow`` or ``deny``; ``policy``, ``rule`` and ``reason`` say what
    decided (empty where no policy did), ``details`` is Envoy's response code detail of a
    refusal. ``status`` is what the client sees (0: it saw no response), ``duration`` in
    seconds to the response head. ``principal`` is the identity of the peer,
    ``request_principal`` that of its token, both empty without one. ``protocol`` is
    ``http`` or ``websocket``, ``is_mtls`` whether the peer's identity came from the connection.
    """

    method: str
    host: str
    path: str
    status: int
    duration: float
    decision: Literal["allow", "deny"]
    policy: str
    rule: str
    reason: str
    details: str
    principal: str
    request_principal: str
    protocol: str
    is_mtls: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionOpened:
    """A connection that carries no HTTP is there, or will not come: then ``flag`` is Envoy's response flag.

    ``cluster`` and ``endpoint`` are empty where none was found.
    """

    host: str
    cluster: str
    endpoint: str
    flag: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionClosed:
    """A connection that carries no HTTP is over: ``sent`` and ``received`` bytes, ``duration`` in seconds."""

    host: str
    cluster: str
    endpoint: str
    flag: str
    sent: int
    received: int
    duration: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultInjected:
    """A fault of the configuration was applied; ``seconds`` for a delay, ``status`` for an abort."""

    host: str
    route: str
    kind: Literal["delay", "abort"]
    seconds: float = 0.0
    status: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointEjected:
    """Outlier detection took an endpoint out for at least ``seconds``; ``reason`` names the detector."""

    cluster: str
    endpoint: str
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointUnejected:
    """An ejected endpoint was put back."""

    cluster: str
    endpoint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigPublished:
    """A configuration took effect; ``version`` is a digest of its texts."""

    version: str
    resources: int
    warnings: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigRejected:
    """An update was not usable; the configuration before it stays in force."""

    findings: tuple[Finding, ...]
    reason: str


Event: TypeAlias = (
    ExchangeFinished
    | AttemptFinished
    | RetryScheduled
    | RequestServed
    | ConnectionOpened
    | ConnectionClosed
    | FaultInjected
    | EndpointEjected
    | EndpointUnejected
    | ConfigPublished
    | ConfigRejected
)

EventT = TypeVar("EventT", bound=Event)

Observer: TypeAlias = Callable[[Event], None]
"""What listens to events; see the module for what it may do."""
