"""meshlib's own metrics: what Istio has no name for.

What happens rarely is counted from events; what is a state of the mesh is looked up when it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from meshlib import __version__
from meshlib._engine.callers import Caller
from meshlib._engine.limits import retry_limit
from meshlib._engine.published import Published
from meshlib._snapshot.clusters import UNLIMITED
from meshlib.events import (
    ConfigPublished,
    ConfigRejected,
    EndpointEjected,
    EndpointUnejected,
    Event,
    FaultInjected,
    RetryScheduled,
)
from meshlib.telemetry.counters import Labels, SeriesKey, Store

__all__ = ["COUNTED_EVENTS", "FROM_ZERO", "OwnMetrics"]

COUNTED_EVENTS: Final[tuple[type[Event], ...]] = (
    ConfigPublished,
    ConfigRejected,
    EndpointEjected,
    EndpointUnejected,
    FaultInjected,
    RetryScheduled,
)
"""The events that :class:`OwnMetrics` listens to; none of them comes with every request."""

FROM_ZERO: Final = tuple(
    SeriesKey("meshlib_config_updates_total", (("result", result),)) for result in ("published", "rejected")
)
"""Series that are there before anything was counted: what rises from nothing to 1 is no rise to Prometheus."""

Figure: TypeAlias = tuple[str, Labels, float]

_BREAKER_STATES: Final = ("closed", "open", "half-open")


class OwnMetrics:
    """An observer that counts into ``store``, and a view of the mesh as it is. ``time`` is the Unix time."""

    def __init__(self, store: Store, published: Callable[[], Published], time: Callable[[], float]) -> None:
        self._store = store
        self._published = published
        self._time = time
        self._since = time()

    def __call__(self, event: Event) -> None:
        """Count an event."""
        match event:
            case RetryScheduled():
                self._count("meshlib_retries_total", ("cluster", event.cluster), ("reason", event.reason))
            case EndpointEjected():
                self._count("meshlib_ejections_total", ("cluster", event.cluster), ("reason", event.reason))
            case EndpointUnejected():
                self._count("meshlib_unejections_total", ("cluster", event.cluster))
            case FaultInjected():
                self._count("meshlib_faults_total", ("kind", event.kind), ("route", event.route))
            case ConfigPublished():
                self._since = self._time()
                self._count("meshlib_config_updates_total", ("result", "published"))
            case ConfigRejected():
                self._count("meshlib_config_updates_total", ("result", "rejected"))
            case _:
                pass

    def _count(self, metric: str, *labels: tuple[str, str]) -> None:
        self._store.shard.counter(metric, labels).value += 1

    def view(self) -> Iterator[Figure]:
        """The mesh as it is now."""
        published = self._published()
        yield _figure("istio_build", 1.0, ("component", "meshlib"), ("tag", __version__))
        yield _figure("meshlib_config_info", 1.0, ("version", published.snapshot.version))
        yield _figure("meshlib_config_published_timestamp_seconds", self._since)
        for name, live in published.clusters.items():
            label, state = ("cluster", name), live.state
            yield _figure("meshlib_endpoints", len(live.endpoints), label)
            yield _figure("meshlib_ejected_endpoints", sum(one.is_ejected for one in live.endpoints), label)
            yield _figure("meshlib_active_requests", state.active, label)
            yield _figure("meshlib_active_retries", state.retries, label)
            if live.max_pending < UNLIMITED:
                yield _figure("meshlib_pending_requests", state.pending, label)
            limit = retry_limit(live)
            if limit < UNLIMITED:
                yield _figure("meshlib_retry_limit", limit, label)
            if state.mirrored:
                yield _figure("meshlib_mirrored_requests_total", state.mirrored, label)
        for host, caller in published.callers.items():
            yield from _of_caller(host, caller)


def _of_caller(host: str, caller: Caller) -> Iterator[Figure]:
    """What a ClientPolicy does."""
    label = ("host", host)
    if caller.breaker is not None:
        for name in _BREAKER_STATES:
            yield _figure("meshlib_breaker_state", float(caller.breaker.state == name), label, ("state", name))
    if caller.hedges is not None:
        yield _figure("meshlib_hedges_total", caller.hedges.sent, label)
        yield _figure("meshlib_hedges_won_total", caller.hedges.won, label)
    if caller.good is not None:
        yield _figure("meshlib_last_good_responses_total", caller.good.given, label)


def _figure(metric: str, value: float, *labels: tuple[str, str]) -> Figure:
    return metric, labels, value
