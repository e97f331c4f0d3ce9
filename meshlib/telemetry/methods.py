"""What a :class:`meshlib.Mesh` offers to those who watch it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshlib.telemetry.recorder import Telemetry

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter
    from opentelemetry.trace import TracerProvider
    from prometheus_client.registry import CollectorRegistry

    from meshlib.telemetry.metrics import Metrics

__all__ = ["TelemetryMethods"]


class TelemetryMethods:
    """Metrics and tracing of a mesh; access logs need no method, the configuration decides."""

    _telemetry: Telemetry

    def metrics(
        self,
        registry: CollectorRegistry | None = None,
        *,
        meter: Meter | None = None,
        max_series: int = 10_000,
        max_hosts: int = 100,
    ) -> Metrics:
        """Count from now on, under Istio's names, and show the metrics in a registry of prometheus_client.

        ``registry`` is where (default: prometheus_client's own, which ``make_asgi_app()``
        and ``start_http_server()`` show; under gunicorn, with ``PROMETHEUS_MULTIPROC_DIR``
        set, that directory). With an OpenTelemetry ``meter`` they are recorded there
        instead, for about four microseconds a metric and request. ``max_series`` bounds the
        series of a thread, ``max_hosts`` the hosts that are named although no service is
        known for them: whatever is called, memory stays bounded. The same metrics however
        often it is called.
        """
        metrics = self._telemetry.switch_on_metrics(max_series=max_series, max_hosts=max_hosts)
        if meter is not None:
            metrics.record_with(meter)
        if meter is None or registry is not None:
            metrics.register(registry)
        return metrics

    def tracing(self, provider: TracerProvider | None = None) -> None:
        """Record spans with this OpenTelemetry provider; None: with the global one, which is so without any call.

        Spans are made once there is an SDK and the configuration does not switch tracing off.
        """
        self._telemetry.trace_with(provider)
