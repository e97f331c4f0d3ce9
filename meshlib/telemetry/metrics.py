"""The metrics of one mesh: counting, and reading what was counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from meshlib._engine.published import Published
from meshlib._engine.recording import View
from meshlib.telemetry.counters import SeriesKey, Store, Total
from meshlib.telemetry.families import Family, group
from meshlib.telemetry.istio_metrics import IstioMetrics
from meshlib.telemetry.own_metrics import FROM_ZERO, OwnMetrics
from meshlib.telemetry.tcp_metrics import TcpMetrics
from meshlib.workload import Workload

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter
    from prometheus_client.registry import CollectorRegistry

    from meshlib._clock import Clock
    from meshlib.telemetry.multiprocess import MetricFiles

__all__ = ["Metrics"]


class Metrics:
    """What a mesh has counted since its metrics were switched on; made by :meth:`meshlib.Mesh.metrics`.

    ``max_series`` bounds the series of a thread, ``max_hosts`` the hosts that are named although
    no service is known for them. Reading takes no lock that a request would wait for.
    """

    def __init__(
        self,
        workload: Workload,
        clock: Clock,
        published: Callable[[], Published],
        views: Sequence[View] = (),
        *,
        max_series: int = 10_000,
        max_hosts: int = 100,
    ) -> None:
        self.store = Store()
        self.istio = IstioMetrics(self.store, workload, clock.monotonic, max_series=max_series, max_hosts=max_hosts)
        self.own = OwnMetrics(self.store, published, clock.time)
        self.tcp = TcpMetrics(self.store, workload, published)
        self._views = views
        self._files: MetricFiles | None = None
        self._registries: list[CollectorRegistry] = []

    def totals(self) -> dict[SeriesKey, Total]:
        """Every series with its value."""
        totals: dict[SeriesKey, Total] = dict.fromkeys(FROM_ZERO, 0.0)
        totals.update(self.store.totals())
        for view in (self.own.view, *self._views):
            totals.update((SeriesKey(name, labels), value) for name, labels, value in view())
        if self.istio.overflowed:
            totals[SeriesKey("meshlib_metrics_overflows_total", ())] = self.istio.overflowed
        return totals

    def families(self) -> list[Family]:
        """Every metric with its samples."""
        return group(self.totals().items())

    def value(self, metric: str, **labels: str) -> float:
        """The sum of a counter or gauge over the series that have these labels; of a histogram its count."""
        found = 0.0
        for key, total in self.totals().items():
            if key.metric == metric and labels.items() <= dict(key.labels).items():
                found += sum(total[0]) if isinstance(total, tuple) else total
        return found

    def text(self) -> str:
        """Prometheus' text format, for who serves it by himself."""
        from meshlib.telemetry.prometheus import as_text

        return as_text(self.families())

    def register(self, registry: CollectorRegistry | None = None) -> None:
        """Show the metrics in a registry of prometheus_client (None: its default one). Once for each registry.

        With ``PROMETHEUS_MULTIPROC_DIR`` set, as under gunicorn, they are written to files
        in that directory instead, from which prometheus_client's ``MultiProcessCollector``
        adds up all workers.
        """
        from meshlib.telemetry.multiprocess import MetricFiles, directory
        from meshlib.telemetry.prometheus import MeshCollector, default_registry

        if directory() and registry is None:
            if self._files is None:
                self._files = MetricFiles(self.totals)
                self._files.start()
            return
        target = registry or default_registry()
        if target not in self._registries:
            self._registries.append(target)
            target.register(MeshCollector(self.families))

    def record_with(self, meter: Meter) -> None:
        """Record each request with instruments of this meter as well."""
        from meshlib.telemetry.meter import Instruments

        self.istio.use(Instruments(meter))

    def flush(self) -> None:
        """Write what was counted to the files of the process now; they are otherwise a second behind."""
        if self._files is not None:
            self._files.flush()

    def reset_after_fork(self) -> None:
        """In a forked child: from zero, with files of its own."""
        self.store.reset()
        if self._files is not None:
            self._files.restart()

    def __repr__(self) -> str:
        return f"<Metrics series={self.store.size}>"
