"""What telemetry adds to one exchange: metrics, an access log, a span that is not sampled, and one that is.

Only the engine runs, over an upstream that answers at once. The base is the same exchange with nothing switched on;
the sampled span goes to an exporter that drops it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry

from benchmarks.governed_call import CONFIG
from benchmarks.harness import SyncBody, arguments, compare, emit, emit_figure
from meshlib import Mesh
from meshlib._http import Headers, RequestHead, Response
from meshlib.telemetry.access_log import LOGGER

__all__ = ["main"]

OFF, AGAIN, METRICS, LOG, UNSAMPLED, SAMPLED = "off", "off again", "metrics", "access log", "unsampled", "sampled"
LOGGED = "---\naccessLogFile: /dev/stdout\n"
NEVER = """\
---
extensionProviders: [{name: otel, opentelemetry: {service: otel.x, port: 4317}}]
defaultProviders: {tracing: [otel]}
defaultConfig: {tracing: {sampling: 0.0000001}}
"""


class _Dropped(SpanExporter):
    def export(self, spans: Sequence[object]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def _exchanges(mesh: Mesh) -> SyncBody:
    answer = Headers({"content-type": "application/json", "content-length": "120"})

    def body(calls: int) -> None:
        runtime = mesh.runtime
        for _ in range(calls):
            headers = Headers({"host": "reviews:9080", "accept": "*/*", "user-agent": "benchmark"})
            head = RequestHead("GET", "http", "reviews:9080", "/reviews/0", headers, port=9080, host="reviews")
            exchange = runtime.begin(head, headers, _yes)
            steps = exchange.steps()
            next(steps)
            try:
                steps.send(Response(200, answer))
            except StopIteration:
                exchange.finish()

    return body


def _yes() -> bool:
    return True


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print; see the module."""
    options = arguments(__doc__ or "", rounds=150, calls=400, argv=argv)
    LOGGER.addHandler(logging.NullHandler())
    LOGGER.propagate = False
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(_Dropped()))
    plain, again, counted, logged = Mesh.load(CONFIG), Mesh.load(CONFIG), Mesh.load(CONFIG), Mesh.load(CONFIG + LOGGED)
    unsampled, sampled = Mesh.load(CONFIG + NEVER), Mesh.load(CONFIG)
    counted.metrics(CollectorRegistry())
    unsampled.tracing(provider)
    sampled.tracing(provider)
    meshes = {OFF: plain, AGAIN: again, METRICS: counted, LOG: logged, UNSAMPLED: unsampled, SAMPLED: sampled}
    variants = {name: _exchanges(mesh) for name, mesh in meshes.items()}
    comparison = compare("telemetry", variants, rounds=options.rounds, calls=options.calls, again=AGAIN)
    emit(comparison)
    for figure, variant in (
        ("unsampled trace: added", UNSAMPLED),
        ("sampled trace: added", SAMPLED),
    ):
        emit_figure(figure, comparison.added(variant), "µs", noise=comparison.noise)


if __name__ == "__main__":
    main()
