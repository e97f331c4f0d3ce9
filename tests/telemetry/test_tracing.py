"""Spans through the real SDK: names, attributes, propagation, sampling."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry import baggage, propagate, trace
from opentelemetry.context import Context, attach, detach
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.propagators.b3 import B3MultiFormat
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, SamplingResult
from opentelemetry.trace import SpanKind, StatusCode

from meshlib import Mesh, Workload
from meshlib._engine.exchange import Exchange
from meshlib._http import FailureKind
from meshlib._random import system_chance
from meshlib.telemetry.counters import BOUNDS
from meshlib.testing import VirtualClock
from tests.patience import PATIENCE
from tests.telemetry.calls import REVIEWS, URL, call, serve

ME = Workload(namespace="shop", labels={"app": "web", "version": "v2"}, name="web")
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

# The SDK's own sign for a sampled trace of its making: newer ones also say that its id is random (W3C level 2).
SAMPLED = f"{TracerProvider().get_tracer('probe').start_span('probe').get_span_context().trace_flags:02x}"


class Traced:
    """A mesh whose spans are kept."""

    def __init__(self, *documents: str, provider: TracerProvider | None = None) -> None:
        self.mesh = Mesh.load(
            "---\n".join((REVIEWS, *documents)), workload=ME, clock=VirtualClock(), chance=system_chance(7)
        )
        self._exporter = InMemorySpanExporter()
        provider = provider or TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = provider.get_tracer("test")
        self.mesh.tracing(provider)

    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    def span(self) -> ReadableSpan:
        (span,) = self.spans()
        return span


def test_a_call_has_one_span_with_the_names_of_both_worlds() -> None:
    """OpenTelemetry's stable names, and what Envoy and Istio would set."""
    traced = Traced()
    call(traced.mesh, 200, path="/a?token=secret", headers={"user-agent": "probe", "x-request-id": "1-2"}, body=5)
    span = traced.span()
    assert (span.kind, span.name, span.status.status_code) == (SpanKind.CLIENT, f"{URL}:80/*", StatusCode.UNSET)
    assert dict(span.attributes or {}) == {
        "http.request.method": "GET",
        "server.address": URL,
        "server.port": 80,
        "url.full": f"http://{URL}/a",
        "http.response.status_code": 200,
        "network.protocol.version": "1.1",
        "user_agent.original": "probe",
        "component": "proxy",
        "guid:x-request-id": "1-2",
        "http.url": f"http://{URL}/a",
        "http.method": "GET",
        "http.protocol": "HTTP/1.1",
        "http.status_code": "200",
        "user_agent": "probe",
        "request_size": "0",
        "response_size": "5",
        "response_flags": "-",
        "upstream_cluster": f"outbound|80||{URL}",
        "upstream_cluster.name": f"outbound|80||{URL}",
        "upstream_address": "10.0.0.1:80",
        "peer.address": "10.0.0.1:80",
        "istio.canonical_service": "web",
        "istio.canonical_revision": "v2",
        "istio.namespace": "shop",
        "istio.cluster_id": "Kubernetes",
        "istio.mesh_id": "cluster.local",
    }
    assert "secret" not in span.to_json()


@pytest.mark.parametrize(
    ("limits", "agent", "kept"),
    [
        pytest.param(SpanLimits(max_span_attribute_length=5), "long-agent", 26, id="values are cut"),
        pytest.param(SpanLimits(max_span_attributes=10), "long-agent", 10, id="the oldest are dropped"),
        pytest.param(SpanLimits(), "long-agent", 26, id="none"),
    ],
)
def test_the_limits_of_the_sdk_hold(limits: SpanLimits, agent: str, kept: int) -> None:
    """What is put there all at once is what the methods of the API would keep."""
    traced = Traced(provider=TracerProvider(span_limits=limits))
    call(traced.mesh, 200, headers={"user-agent": agent})
    span = traced.span()
    attributes = dict(span.attributes or {})
    assert len(attributes) == kept
    longest = limits.max_span_attribute_length
    assert all(len(value) <= (longest or 99) for value in attributes.values() if isinstance(value, str))
    assert attributes["user_agent.original"] == agent[:longest]
    assert span.name == f"{URL}:80/*"


class Looking(SpanProcessor):
    """Keeps what it sees when spans start."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, object]]] = []

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.seen.append((span.name, dict(span.attributes or {})))


class Judging(Sampler):
    """Records what has the path that it wants."""

    def should_sample(self, *arguments: Any, **named: Any) -> SamplingResult:
        attributes = dict(zip(("context", "trace_id", "name", "kind", "attributes"), arguments, strict=False)) | named
        tags = attributes["attributes"] or {}
        wanted = str(tags.get("url.full", tags.get("url.path"))).endswith("/wanted")
        return SamplingResult(Decision.RECORD_AND_SAMPLE if wanted else Decision.DROP, tags)

    def get_description(self) -> str:
        return "judging"


def test_a_processor_sees_how_a_span_starts() -> None:
    """Also one that is added when there were spans already."""
    provider, looking = TracerProvider(), Looking()
    traced = Traced(provider=provider)
    call(traced.mesh, 200)
    provider.add_span_processor(looking)
    call(traced.mesh, 200, path="/a?b")
    serve(traced.mesh, path="/in")
    assert looking.seen == [
        (
            f"GET {URL}",
            {
                "http.request.method": "GET",
                "server.address": URL,
                "server.port": 80,
                "url.full": f"http://{URL}/a",
            },
        ),
        (
            "GET reviews",
            {
                "http.request.method": "GET",
                "server.address": "reviews",
                "server.port": 8080,
                "url.scheme": "http",
                "url.path": "/in",
            },
        ),
    ]
    first, second, _ = (set(span.attributes or {}) for span in traced.spans())
    assert first == second


@pytest.mark.parametrize("parent_based", [False, True])
def test_a_sampler_can_judge_by_what_is_known_at_the_start(parent_based: bool) -> None:
    """The URL of a call, the path of a request."""
    sampler: Sampler = ParentBased(Judging()) if parent_based else Judging()
    traced = Traced(provider=TracerProvider(sampler=sampler))
    for path in ("/wanted", "/other"):
        call(traced.mesh, 200, path=path)
        serve(traced.mesh, path=path)
    assert [dict(span.attributes or {}).get("http.url", "")[-7:] for span in traced.spans()] == ["/wanted", "/wanted"]


def test_every_attempt_is_an_event() -> None:
    """The first send is resend 0; what came of it stands beside it. A call that was good at once has none."""
    traced = Traced()
    call(traced.mesh, 503, FailureKind.CONNECT_FAILURE, 200)
    span = traced.span()
    assert [dict(event.attributes or {}) for event in span.events] == [
        {
            "http.request.resend_count": 0,
            "network.peer.address": "10.0.0.1",
            "network.peer.port": 80,
            "http.response.status_code": 503,
        },
        {
            "http.request.resend_count": 1,
            "network.peer.address": "10.0.0.1",
            "network.peer.port": 80,
            "error.type": "remote connection failure",
        },
        {
            "http.request.resend_count": 2,
            "network.peer.address": "10.0.0.1",
            "network.peer.port": 80,
            "http.response.status_code": 200,
        },
    ]
    assert (span.attributes or {})["http.request.resend_count"] == 2
    call(traced.mesh, 200)
    assert traced.spans()[1].events == ()


@pytest.mark.parametrize(
    ("script", "status", "error", "kind", "flags"),
    [
        pytest.param((404,), StatusCode.ERROR, None, "404", "-", id="client error"),
        pytest.param((500, 500, 500), StatusCode.ERROR, "true", "500", "URX", id="server error"),
        pytest.param((302,), StatusCode.UNSET, None, None, "-", id="redirect"),
    ],
)
def test_errors(script: tuple[int, ...], status: StatusCode, error: str | None, kind: str | None, flags: str) -> None:
    """OpenTelemetry calls 4xx of a client an error, Envoy's tag only what is 5xx or had no response."""
    traced = Traced()
    call(traced.mesh, *script)
    span = traced.span()
    attributes = dict(span.attributes or {})
    assert span.status.status_code is status
    assert (attributes.get("error"), attributes.get("error.type")) == (error, kind)
    assert attributes["response_flags"] == flags


def sent(exchange: Exchange) -> dict[str, str]:
    return {name: value for name, value in exchange.headers.items() if name in ("traceparent", "b3") or "b3" in name}


def test_the_upstream_gets_the_context_of_the_span() -> None:
    """Below the span of the application that makes the call."""
    traced = Traced()
    with traced.tracer.start_as_current_span("work") as work:
        exchange, _ = call(traced.mesh, 200)
    span, outer = traced.spans()
    assert outer.name == "work"
    assert span.parent is not None
    assert span.parent.span_id == work.get_span_context().span_id
    context = span.get_span_context()
    assert context is not None
    assert sent(exchange) == {"traceparent": f"00-{context.trace_id:032x}-{context.span_id:016x}-{SAMPLED}"}


def test_baggage_and_state_travel_along() -> None:
    """Whether they come from the application or in the headers of the request."""
    traced = Traced()
    token = attach(baggage.set_baggage("tenant", "blue"))
    try:
        exchange, _ = call(traced.mesh, 200)
    finally:
        detach(token)
    assert exchange.headers["baggage"] == "tenant=blue"
    exchange, _ = call(traced.mesh, 200, headers={"traceparent": PARENT, "tracestate": "vendor=1", "baggage": "a=b"})
    assert (exchange.headers["tracestate"], exchange.headers["baggage"]) == ("vendor=1", "a=b")


def test_a_context_in_the_headers_is_carried_on() -> None:
    """An application that copies headers by hand, as Istio asks for, keeps its trace."""
    traced = Traced()
    exchange, _ = call(traced.mesh, 200, headers={"traceparent": PARENT})
    context = traced.span().get_span_context()
    assert context is not None
    assert f"{context.trace_id:032x}" == PARENT[3:35]
    assert sent(exchange)["traceparent"] == f"00-{PARENT[3:35]}-{context.span_id:016x}-01"


@pytest.fixture
def b3() -> Iterator[None]:
    before = propagate.get_global_textmap()
    propagate.set_global_textmap(B3MultiFormat())
    yield
    propagate.set_global_textmap(before)


@pytest.mark.usefixtures("b3")
def test_b3_is_spoken_where_the_global_propagator_does() -> None:
    """As with Istio's Zipkin provider."""
    traced = Traced()
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    exchange, _ = call(
        traced.mesh, 200, headers={"x-b3-traceid": trace_id, "x-b3-spanid": "b7ad6b7169203331", "x-b3-sampled": "1"}
    )
    context = traced.span().get_span_context()
    assert context is not None
    assert sent(exchange) == {
        "x-b3-traceid": trace_id,
        "x-b3-spanid": f"{context.span_id:016x}",
        "x-b3-sampled": "1",
    }


def test_a_served_request_has_a_span_and_the_calls_it_makes_are_below_it() -> None:
    """Without any code of the application's."""
    traced = Traced()
    inner: list[Exchange] = []

    async def work() -> None:
        inner.append(call(traced.mesh, 200)[0])

    serve(traced.mesh, path="/in", headers=(("traceparent", PARENT),), inside=work)
    client, server = traced.spans()
    assert (client.kind, server.kind) == (SpanKind.CLIENT, SpanKind.SERVER)
    assert server.name == "reviews:8080/*"
    attributes = dict(server.attributes or {})
    expected = {"url.path": "/in", "http.response.status_code": 200, "client.address": "10.0.0.8", "response_size": "5"}
    assert {name: attributes[name] for name in expected} == expected
    assert server.parent is not None
    assert f"{server.parent.span_id:016x}" == PARENT[36:52]
    context = server.get_span_context()
    assert context is not None
    assert client.parent is not None
    assert client.parent.span_id == context.span_id
    assert not trace.get_current_span().get_span_context().is_valid


def sampled(percent: float) -> str:
    return (
        "extensionProviders: [{name: otel, opentelemetry: {service: otel.x, port: 4317}}]\n"
        "defaultProviders: {tracing: [otel]}\n"
        f"defaultConfig: {{tracing: {{sampling: {percent}}}}}\n"
    )


def test_sampling_is_that_of_the_configuration() -> None:
    """Of 2,000 calls without a decision about a quarter; who is not sampled says so to the upstream."""
    traced = Traced(sampled(25))
    exchanges = [call(traced.mesh, 200)[0] for _ in range(2000)]
    decisions = [sent(exchange)["traceparent"][-2:] for exchange in exchanges]
    assert 420 < decisions.count(SAMPLED) < 580
    assert decisions.count("00") == 2000 - decisions.count(SAMPLED)
    assert len(traced.spans()) == decisions.count(SAMPLED)


def test_a_decision_that_was_made_is_kept() -> None:
    """Sampled upstream of us: always; not sampled: never."""
    traced = Traced(sampled(0.001))
    for _ in range(20):
        call(traced.mesh, 200, headers={"traceparent": PARENT})
        call(traced.mesh, 200, headers={"traceparent": PARENT[:-1] + "0"})
    assert len(traced.spans()) == 20


def test_an_unsampled_request_makes_unsampled_calls() -> None:
    """The decision of the server side is that of all that follows."""
    traced = Traced(sampled(0.001))
    inner: list[Exchange] = []

    async def work() -> None:
        inner.append(call(traced.mesh, 200)[0])

    serve(traced.mesh, inside=work)
    assert traced.spans() == ()
    assert sent(inner[0])["traceparent"].endswith("-00")


TAGS = """\
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: tags, namespace: shop}
spec:
  tracing:
  - providers: [{name: otel}]
    randomSamplingPercentage: 100
    enableIstioTags: false
    customTags:
      lit: {literal: {value: fixed}}
      env: {environment: {name: MESHLIB_NOT_SET, defaultValue: other}}
      head: {header: {name: x-team}}
      none: {header: {name: x-none}}
      secret: {header: {name: authorization}}
      form: {formatter: {value: "%REQ(:METHOD)% %RESPONSE_CODE%"}}
"""


def test_custom_tags() -> None:
    """Literal, environment, header, format; an empty one is left out, a credential is never shown."""
    traced = Traced("extensionProviders: [{name: otel, opentelemetry: {service: otel.x, port: 4317}}]\n", TAGS)
    call(traced.mesh, 200, headers={"x-team": "blue", "authorization": "Bearer s3cret"})
    attributes = dict(traced.span().attributes or {})
    assert {name: attributes.get(name) for name in ("lit", "env", "head", "none", "secret", "form")} == {
        "lit": "fixed",
        "env": "other",
        "head": "blue",
        "none": None,
        "secret": "[redacted]",
        "form": "GET 200",
    }
    assert not any(name.startswith("istio.") for name in attributes)


@pytest.mark.parametrize("config", ["enableTracing: false\n", TAGS.replace("otel", "nobody")])
def test_tracing_that_is_off_leaves_headers_alone(config: str) -> None:
    """By MeshConfig, or because no provider is known."""
    traced = Traced(config)
    exchange, _ = call(traced.mesh, 200)
    serve(traced.mesh)
    assert (traced.spans(), sent(exchange)) == ((), {})


@pytest.mark.parametrize(
    ("route", "name"),
    [
        ("match: [{uri: {exact: /a}}], route: [{destination: {host: H}}]", "H:80/a"),
        ("match: [{uri: {prefix: /a}}], route: [{destination: {host: H}}]", "H:80/a*"),
        ("match: [{uri: {regex: '/a.*'}}], route: [{destination: {host: H}}]", "H:80/a.*"),
        (
            "route: [{destination: {host: H}, weight: 99}, {destination: {host: H, subset: x}, weight: 1}]",
            "reviews:80/*",
        ),
    ],
)
def test_spans_are_named_by_the_route(route: str, name: str) -> None:
    """Istio's decorator: few names, whatever the paths are."""
    head, _, _ = REVIEWS.partition("  http:\n")
    mesh = Mesh.load(f"{head}  http: [{{{route.replace('H', URL)}}}]\n", workload=ME, clock=VirtualClock())
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    mesh.tracing(provider)
    call(mesh, 200, path="/a")
    assert [span.name for span in exporter.get_finished_spans()] == [name.replace("H", URL)]


def test_logs_name_the_trace(caplog: pytest.LogCaptureFixture) -> None:
    """So that a line leads to its spans."""
    traced = Traced("accessLogFile: /dev/stdout\naccessLogFormat: '%TRACE_ID% %SPAN_ID%'\n")
    caplog.set_level("INFO")
    call(traced.mesh, 200)
    context = traced.span().get_span_context()
    assert context is not None
    assert caplog.messages == [f"{context.trace_id:032x} {context.span_id:016x}"]


class Sink(BaseHTTPRequestHandler):
    """A collector that keeps what it is sent."""

    received: list[ExportTraceServiceRequest]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.received.append(ExportTraceServiceRequest.FromString(body))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


def test_a_collector_gets_the_spans_over_otlp() -> None:
    """A real exporter, a real request; what the collector decodes is what was set."""
    received: list[ExportTraceServiceRequest] = []
    handler = type("Handler", (Sink,), {"received": received})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        traced = Traced()
        provider = TracerProvider()
        exporter = OTLPSpanExporter(endpoint=f"http://127.0.0.1:{server.server_port}/v1/traces", timeout=PATIENCE)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        traced.mesh.tracing(provider)
        call(traced.mesh, 503, 200)
        provider.shutdown()
        server.shutdown()
        thread.join()
    (span,) = [
        span for one in received for part in one.resource_spans for scope in part.scope_spans for span in scope.spans
    ]
    values = {pair.key: pair.value.string_value or pair.value.int_value for pair in span.attributes}
    assert span.name == f"{URL}:80/*"
    assert (values["http.response.status_code"], values["http.request.resend_count"]) == (200, 1)
    assert [event.name for event in span.events] == ["attempt", "attempt"]


def test_bytes_that_are_no_text_do_not_break_the_export() -> None:
    """One request with such a header took all other spans of its batch with it."""
    traced = Traced("extensionProviders: [{name: otel, opentelemetry: {service: otel.x, port: 4317}}]\n", TAGS)
    headers = (("user-agent", "\udcff"), ("x-request-id", "\udcfe"), ("x-team", "bl\udcffue"))
    serve(traced.mesh, headers=headers, path="/\udcfd")
    call(traced.mesh, 200, path="/\udcfd", headers=dict(headers))
    encoded = encode_spans(traced.spans())
    assert len(traced.spans()) == 2
    values = {
        pair.key: pair.value.string_value
        for span in encoded.resource_spans[0].scope_spans[0].spans
        for pair in span.attributes
    }
    assert (values["user_agent"], values["head"]) == ("?", "bl%ffue")


GLOBAL = """\
import sys
from meshlib import Mesh
from tests.telemetry.calls import REVIEWS, call
mesh = Mesh.load(REVIEWS)
before, _ = call(mesh, 200)
assert "opentelemetry" not in sys.modules
assert "traceparent" not in before.headers
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
call(mesh, 200)
trace.set_tracer_provider(TracerProvider())
after, _ = call(mesh, 200)
print(after.headers["traceparent"])
"""


def test_the_global_provider_counts_from_when_it_is_set() -> None:
    """Without an SDK nothing of OpenTelemetry is even imported."""
    done = subprocess.run([sys.executable, "-c", GLOBAL], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[13]\n", done.stdout)


NAMED = """\
from opentelemetry.sdk.trace import TracerProvider
from meshlib import Mesh
from tests.telemetry.calls import REVIEWS, call
exchange, _ = call(Mesh.load(REVIEWS), 200)
print(exchange.headers["traceparent"])
"""


def test_a_provider_that_the_environment_names_counts_at_once() -> None:
    """OTEL_PYTHON_TRACER_PROVIDER: OpenTelemetry makes it when somebody first asks."""
    environment = {**os.environ, "OTEL_PYTHON_TRACER_PROVIDER": "sdk_tracer_provider"}
    done = subprocess.run([sys.executable, "-c", NAMED], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[13]\n", done.stdout)


def test_metrics_can_go_to_a_meter() -> None:
    """The same names, labels and buckets, for those who push by OTLP."""
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    mesh = Mesh.load(REVIEWS, workload=ME, clock=VirtualClock())
    metrics = mesh.metrics(meter=provider.get_meter("meshlib"))
    call(mesh, 200)
    call(mesh, 404)
    serve(mesh)
    data = reader.get_metrics_data()
    assert data is not None
    found = {
        metric.name: list(metric.data.data_points)
        for one in data.resource_metrics
        for scope in one.scope_metrics
        for metric in scope.metrics
    }
    assert sum(point.value for point in found["istio_requests_total"]) == 3  # type: ignore[union-attr]
    durations = found["istio_request_duration_milliseconds"]
    assert sum(point.count for point in durations) == 3  # type: ignore[union-attr]
    assert tuple(durations[0].explicit_bounds) == BOUNDS  # type: ignore[union-attr]
    labels = [dict(point.attributes or {}) for point in found["istio_requests_total"]]
    assert {one["reporter"] for one in labels} == {"source", "destination"}
    assert metrics.value("istio_requests_total") == 3
    provider.shutdown()
