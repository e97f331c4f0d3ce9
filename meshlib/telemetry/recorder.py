"""Telemetry of one mesh: takes part in its exchanges and served requests as far as somebody wants to know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from meshlib._clock import Clock
from meshlib._engine.exchange import Exchange
from meshlib._engine.published import Published
from meshlib._engine.recording import Served, View
from meshlib._http import RequestHead
from meshlib._snapshot.snapshot import Snapshot
from meshlib.events import Event, Observer
from meshlib.telemetry.access_log import AccessLogs
from meshlib.telemetry.facts import exchange_facts, served_facts
from meshlib.workload import Workload

if TYPE_CHECKING:
    from meshlib.telemetry.metrics import Metrics

__all__ = ["Telemetry"]


class Observe(Protocol):
    """Subscribes to events, as :meth:`meshlib.Mesh.observe`."""

    def __call__(self, observer: Observer, /, *kinds: type[Event]) -> object: ...


class Telemetry:
    """The recorder of a mesh. ``published`` gives what is in force."""

    def __init__(self, workload: Workload, clock: Clock, published: Callable[[], Published]) -> None:
        self._workload = workload
        self._clock = clock
        self._published = published
        self.metrics: Metrics | None = None
        self._access_logs = AccessLogs()

    def switch_on_metrics(self, observe: Observe, views: Sequence[View], *, max_series: int, max_hosts: int) -> Metrics:
        """Count from now on; the same metrics however often it is called. ``observe`` delivers events."""
        if self.metrics is None:
            from meshlib.telemetry.metrics import Metrics
            from meshlib.telemetry.own_metrics import COUNTED_EVENTS

            self.metrics = Metrics(
                self._workload, self._clock, self._published, views, max_series=max_series, max_hosts=max_hosts
            )
            observe(self.metrics.own, *COUNTED_EVENTS)
        return self.metrics

    # -- calls made --------------------------------------------------------------------------------------

    def begin(self, exchange: Exchange) -> None:
        """An exchange starts."""
        if self.metrics is not None or exchange.published.snapshot.telemetry.client_logs:
            exchange.recorder = self
            exchange.failure = ""

    def end(self, exchange: Exchange) -> None:
        """It is over."""
        if self.metrics is not None:
            self.metrics.istio.exchanged(exchange)
        logs = exchange.published.snapshot.telemetry.client_logs
        if logs:
            self._access_logs.write(logs, exchange_facts(exchange))

    # -- requests served -----------------------------------------------------------------------------------

    def arrive(self, head: RequestHead, snapshot: Snapshot) -> Served | None:
        """A request arrives."""
        if self.metrics is None and not snapshot.telemetry.server_logs:
            return None
        return Served(head, snapshot, self._clock.monotonic())

    def serve(self, served: Served) -> None:
        """It was answered."""
        served.ended, served.time = self._clock.monotonic(), self._clock.time()
        if self.metrics is not None:
            self.metrics.istio.served(served)
        logs = served.snapshot.telemetry.server_logs
        if logs:
            self._access_logs.write(logs, served_facts(served))

    def reset_after_fork(self) -> None:
        """In a forked child: what the parent counted is the parent's."""
        if self.metrics is not None:
            self.metrics.reset_after_fork()

    def __repr__(self) -> str:
        return f"<Telemetry metrics={self.metrics!r}>"
