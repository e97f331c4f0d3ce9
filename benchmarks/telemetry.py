"""What telemetry adds to one exchange: metrics, an access log, a span that is not sampled, and one that is.

Only the engine runs, over an upstream that answers at once. The base is the same exchange with nothing switched on;
the sampled span goes to an exporter that drops it. So that what meshlib adds can be told from what the SDK takes, two
more variants follow the base's exchange by a span of the SDK alone: a bare one, and one with as many attributes as
meshlib's, set by the SDK's own means.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Tracer
from prometheus_client import CollectorRegistry

from benchmarks.governed_call import CONFIG
from benchmarks.harness import SyncBody, arguments, compare, emit, emit_figure
from meshlib import Mesh
from meshlib._http import Headers, RequestHead, Response
from meshlib.telemetry.access_log import LOGGER

__all__ = ["main"]

OFF, AGAIN, METRICS, LOG, UNSAMPLED, SAMPLED = "off", "off again", "metrics", "access log", "unsampled", "sampled"
BARE_SPAN, FULL_SPAN = "the SDK's bare span", "the SDK's full span"
AT_START: Final = {f"at.the.start.{number}": "a text of some length" for number in range(4)}
AT_END: Final = {f"at.the.end.{number}": "a text of some length" for number in range(22)}
SILENT = "---\nenableTracing: false\n"
LOGGED = "---\naccessLogFile: /dev/stdout\nenableTracing: false\n"
NEVER = """\
---
extensionProviders: [{name: otel, opentelemetry: {service: otel.x, port: 4317}}]
defaultProviders: {tracing: [otel]}
defaultConfig: {tracing: {sampling: 0.0000001}}
"""


class _Dropped(SpanExporter):
    def export(self, spans: Sequence[object]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def _bare_span(tracer: Tracer) -> None:
    tracer.start_span("GET reviews:9080").end()


def _full_span(tracer: Tracer) -> None:
    span = tracer.start_span("GET reviews:9080", attributes=AT_START)
    span.set_attributes(AT_END)
    span.end()


def _exchanges(mesh: Mesh, then: Callable[[], None] | None = None) -> SyncBody:
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
            if then is not None:
                then()

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
    # Where the SDK is imported a mesh looks for it, unless it is told not to trace: that is no part of the base.
    plain, again, counted = (Mesh.load(CONFIG + SILENT) for _ in range(3))
    logged = Mesh.load(CONFIG + LOGGED)
    unsampled, sampled = Mesh.load(CONFIG + NEVER), Mesh.load(CONFIG)
    counted.metrics(CollectorRegistry())
    unsampled.tracing(provider)
    sampled.tracing(provider)
    meshes = {OFF: plain, AGAIN: again, METRICS: counted, LOG: logged, UNSAMPLED: unsampled, SAMPLED: sampled}
    variants = {name: _exchanges(mesh) for name, mesh in meshes.items()}
    tracer = provider.get_tracer("benchmark")
    variants[BARE_SPAN] = _exchanges(plain, partial(_bare_span, tracer))
    variants[FULL_SPAN] = _exchanges(plain, partial(_full_span, tracer))
    comparison = compare("telemetry", variants, rounds=options.rounds, calls=options.calls, again=AGAIN)
    emit(comparison)
    for figure, variant in (
        ("unsampled trace: added", UNSAMPLED),
        ("sampled trace: added", SAMPLED),
    ):
        emit_figure(figure, comparison.added(variant), "µs", noise=comparison.noise)


if __name__ == "__main__":
    main()
