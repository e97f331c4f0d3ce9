"""Telemetry of one mesh: takes part in its exchanges and served requests as far as somebody wants to know."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final, Protocol

from meshlib._clock import Clock
from meshlib._engine.exchange import Exchange
from meshlib._engine.published import Published
from meshlib._engine.recording import Served, View
from meshlib._http import RequestHead
from meshlib._random import Chance
from meshlib._snapshot.snapshot import Snapshot
from meshlib.events import Event, Observer
from meshlib.telemetry.access_log import AccessLogs
from meshlib.telemetry.facts import exchange_facts, served_facts
from meshlib.workload import Workload

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

    from meshlib.telemetry.metrics import Metrics
    from meshlib.telemetry.tracing import Tracer

__all__ = ["Telemetry"]


_SDK: Final = "opentelemetry.sdk.trace"
"""Until somebody imports it there is nobody who records spans."""


class Observed(Protocol):
    """A runtime, as far as telemetry looks at it."""

    clock: Clock
    id_chance: Chance
    published: Published
    views: list[View]

    def observe(self, observer: Observer, *kinds: type[Event]) -> object:
        """Deliver events of these kinds."""
        ...


class Telemetry:
    """The recorder of a mesh."""

    def __init__(self, workload: Workload, runtime: Observed) -> None:
        self._workload = workload
        self._runtime = runtime
        self._clock = runtime.clock
        self.metrics: Metrics | None = None
        self._access_logs = AccessLogs()
        self._tracer: Tracer | None = None
        self.provider: TracerProvider | None = None
        """Who records spans; None: the global provider, as soon as there is one."""

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
            runtime.observe(self.metrics.own, *COUNTED_EVENTS)
            runtime.observe(self.metrics.tcp, *CONNECTION_EVENTS)
        return self.metrics

    # -- calls made --------------------------------------------------------------------------------------

    def wants_calls(self, snapshot: Snapshot) -> bool:
        """Whether :meth:`begin` would take part in an exchange."""
        telemetry = snapshot.telemetry
        if telemetry.client_tracing.enabled and (_SDK in sys.modules or self.provider is not None):
            return True
        return self.metrics is not None or bool(telemetry.client_logs)

    def begin(self, exchange: Exchange) -> None:
        """An exchange starts."""
        telemetry = exchange.published.snapshot.telemetry
        if telemetry.client_tracing.enabled and (_SDK in sys.modules or self.provider is not None):
            tracer = self._find_tracer()
            if tracer is not None:
                tracer.begin(exchange, telemetry.client_tracing)
        if self.metrics is not None or telemetry.client_logs or exchange.trace is not None:
            exchange.recorder = self
            exchange.failure = ""

    def end(self, exchange: Exchange) -> None:
        """It is over."""
        if self.metrics is not None:
            self.metrics.istio.exchanged(exchange)
        telemetry = exchange.published.snapshot.telemetry
        recorded = exchange.trace
        if recorded is None and not telemetry.client_logs:
            return
        facts = exchange_facts(exchange)
        if recorded is not None and self._tracer is not None:
            self._tracer.end(exchange, facts, telemetry.client_tracing)
        if telemetry.client_logs:
            self._access_logs.write(telemetry.client_logs, facts)

    # -- requests served -----------------------------------------------------------------------------------

    def arrive(self, head: RequestHead, snapshot: Snapshot) -> Served | None:
        """A request arrives."""
        telemetry = snapshot.telemetry
        tracer = None
        if telemetry.server_tracing.enabled and (_SDK in sys.modules or self.provider is not None):
            tracer = self._find_tracer()
        if self.metrics is None and tracer is None and not telemetry.server_logs:
            return None
        served = Served(head, snapshot, self._clock.monotonic())
        if tracer is not None:
            tracer.arrive(served, telemetry.server_tracing)
        return served

    def serve(self, served: Served) -> None:
        """It was answered."""
        served.ended, served.time = self._clock.monotonic(), self._clock.time()
        tracer, telemetry = self._tracer, served.snapshot.telemetry
        if self.metrics is not None:
            self.metrics.istio.served(served)
        if served.span is not None or telemetry.server_logs:
            facts = served_facts(served)
            if tracer is not None:
                tracer.serve(served, facts, telemetry.server_tracing)
            if telemetry.server_logs:
                self._access_logs.write(telemetry.server_logs, facts)
        if tracer is not None:
            tracer.leave(served)

    def _find_tracer(self) -> Tracer | None:
        """The tracer of the SDK that is set up; None while none is."""
        from meshlib.telemetry.tracing import Tracer, global_provider

        provider = self.provider or global_provider()
        if provider is None:
            return None
        tracer = self._tracer
        if tracer is None or tracer.provider is not provider:
            tracer = self._tracer = Tracer(self._workload, provider, self._runtime.id_chance)
        return tracer

    def reset_after_fork(self) -> None:
        """In a forked child: what the parent counted is the parent's."""
        if self.metrics is not None:
            self.metrics.reset_after_fork()

    def __repr__(self) -> str:
        return f"<Telemetry metrics={self.metrics!r}>"
