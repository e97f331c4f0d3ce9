"""Telemetry of one mesh: takes part in its exchanges and served requests as far as somebody wants to know."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol

from meshlib._clock import Clock
from meshlib._engine.exchange import Exchange
from meshlib._engine.published import Published
from meshlib._engine.recording import SDK, CountAgain, Listener, Served, View
from meshlib._http import RequestHead
from meshlib._random import Chance
from meshlib._snapshot.snapshot import Snapshot
from meshlib.events import Event, Observer
from meshlib.telemetry.access_log import AccessLogs
from meshlib.telemetry.facts import exchange_facts, served_facts
from meshlib.workload import Workload

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.trace import TracerProvider

    from meshlib.telemetry.metrics import Metrics
    from meshlib.telemetry.tracing import Tracer

__all__ = ["Telemetry"]


class Observed(Protocol):
    """A runtime, as far as telemetry looks at it."""

    clock: Clock
    id_chance: Chance
    published: Published
    views: list[View]

    def observe(self, observer: Observer, *kinds: type[Event]) -> object:
        """Deliver events of these kinds."""
        ...


class _Counter:
    """Takes part in an exchange of which nothing is wanted but its count: ``end`` is that of the metrics."""

    wants_times = False

    # No slots: with them pyright takes the field for a method.
    def __init__(self, end: Callable[[Exchange], None]) -> None:
        self.end = end


def _count_nothing(*_: object) -> bool:
    return True


class Telemetry:
    """The recorder of a mesh."""

    wants_times = True

    def __init__(self, workload: Workload, runtime: Observed) -> None:
        self._workload = workload
        self._runtime = runtime
        self._clock = runtime.clock
        self.metrics: Metrics | None = None
        self._access_logs = AccessLogs()
        self._tracer: Tracer | None = None  # of the provider that was given, else of the global one
        self._find_global: Callable[[], TracerProvider | None] | None = None
        self._counter: Listener | None = None
        self._only_counted: Published | None = None  # of whose exchanges nobody wants more than to count them
        self.quiet: Snapshot | None = None  # of whose served requests nobody wants more than that
        self.count_again: CountAgain = _count_nothing

    def switch_on_metrics(self, *, max_series: int, max_hosts: int) -> Metrics:
        """Count from now on; the same metrics however often it is called."""
        if self.metrics is None:
            from meshlib.telemetry.metrics import Metrics
            from meshlib.telemetry.own_metrics import COUNTED_EVENTS
            from meshlib.telemetry.tcp_metrics import CONNECTION_EVENTS

            runtime = self._runtime
            self.metrics = Metrics(
                self._workload,
                runtime.clock,
                lambda: runtime.published,
                runtime.views,
                max_series=max_series,
                max_hosts=max_hosts,
            )
            self._counter = _Counter(self.metrics.istio.exchanged)
            self.count_again = self.metrics.istio.served_again
            runtime.observe(self.metrics.own, *COUNTED_EVENTS)
            runtime.observe(self.metrics.tcp, *CONNECTION_EVENTS)
        return self.metrics

    def trace_with(self, provider: TracerProvider | None) -> None:
        """Who records spans from now on; None: the global provider, as soon as there is one."""
        self._tracer = self._only_counted = self.quiet = None
        if provider is not None:
            from meshlib.telemetry.tracing import Tracer

            self._tracer = Tracer(self._workload, provider, self._runtime.id_chance)

    # -- calls made --------------------------------------------------------------------------------------

    def wants_calls(self, snapshot: Snapshot) -> bool:
        """Whether :meth:`begin` would take part in an exchange."""
        telemetry = snapshot.telemetry
        if telemetry.client_tracing.enabled and (
            self._tracer is not None or (SDK in sys.modules and self._find_tracer() is not None)
        ):
            return True
        return self.metrics is not None or bool(telemetry.client_logs)

    def begin(self, exchange: Exchange) -> None:
        """An exchange starts."""
        published = exchange.published
        if published is self._only_counted and SDK not in sys.modules:
            exchange.recorder = self._counter
            return
        telemetry = published.snapshot.telemetry
        tracing = telemetry.client_tracing
        if tracing.enabled:
            tracer = self._tracer
            if tracer is not None or (tracer := self._find_tracer()) is not None:
                tracer.begin(exchange, tracing)
        if self.metrics is not None or telemetry.client_logs or exchange.trace is not None:
            exchange.recorder = self
        is_counted = self.metrics is not None and self._tracer is None and not telemetry.client_logs
        self._only_counted = published if is_counted else None

    def end(self, exchange: Exchange) -> None:
        """It is over."""
        if self.metrics is not None:
            self.metrics.istio.exchanged(exchange)
        telemetry = exchange.published.snapshot.telemetry
        recorded, logs = exchange.trace, telemetry.client_logs
        if recorded is None and not logs:
            return
        facts = exchange_facts(exchange) if logs or telemetry.client_tracing.tags else None
        if recorded is not None:
            recorded.end_call(exchange, facts, telemetry)
        if logs and facts is not None:
            self._access_logs.write(logs, facts)

    # -- requests served -----------------------------------------------------------------------------------

    def only_counts(self, snapshot: Snapshot) -> bool:
        """Whether nobody wants more of a request that arrives now than its count."""
        if snapshot is self.quiet and SDK not in sys.modules:
            return True
        telemetry = snapshot.telemetry
        is_traced = telemetry.server_tracing.enabled and (self._tracer or self._find_tracer()) is not None
        is_quiet = not is_traced and not telemetry.server_logs
        self.quiet = snapshot if is_quiet else None
        return is_quiet

    def arrive(self, head: RequestHead, snapshot: Snapshot) -> Served | None:
        """A request arrives."""
        telemetry = snapshot.telemetry
        tracer = None
        if telemetry.server_tracing.enabled:
            tracer = self._tracer or self._find_tracer()
        if self.metrics is None and tracer is None and not telemetry.server_logs:
            return None
        served = Served(head, snapshot, self._clock.monotonic())
        if tracer is not None:
            tracer.arrive(served, telemetry.server_tracing)
        return served

    def serve(self, served: Served) -> None:
        """It was answered."""
        served.ended, served.time = self._clock.monotonic(), self._clock.time()
        telemetry = served.snapshot.telemetry
        if self.metrics is not None:
            self.metrics.istio.served(served)
        recorded, logs = served.span, telemetry.server_logs
        facts = None
        if logs or (recorded is not None and telemetry.server_tracing.tags):
            facts = served_facts(served)
        if recorded is not None:
            recorded.end_request(served, facts, telemetry)
        if logs and facts is not None:
            self._access_logs.write(logs, facts)
        leave, served.leave = served.leave, None
        if leave is not None:
            leave()

    def _find_tracer(self) -> Tracer | None:
        """The tracer of the SDK, once it is set up globally, which happens but once; None until then."""
        if SDK not in sys.modules:
            return None
        if self._find_global is None:  # an import at each request would cost more than the answer
            from meshlib.telemetry.tracing import global_provider

            self._find_global = global_provider
        self.trace_with(self._find_global())
        return self._tracer

    def reset_after_fork(self) -> None:
        """In a forked child: what the parent counted is the parent's."""
        if self.metrics is not None:
            self.metrics.reset_after_fork()
        if self._tracer is not None:
            self._tracer.reset_after_fork()

    def __repr__(self) -> str:
        return f"<Telemetry metrics={self.metrics!r}>"
