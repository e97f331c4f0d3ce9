"""Istio's metrics and ours: names, labels, buckets; bounded, exact under threads, added up over processes."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from meshlib import Mesh, Workload
from meshlib._drivers import adrive, drive
from meshlib._engine.good_responses import Taped
from meshlib._http import FailureKind, Headers, RequestHead
from meshlib.adapters.asgi import MeshMiddleware
from meshlib.errors import ConfigError
from meshlib.telemetry.counters import BOUNDS, Store
from meshlib.telemetry.families import DESCRIPTIONS
from meshlib.telemetry.metrics import Metrics
from meshlib.telemetry.targets import RequestTally, Targets
from meshlib.testing import Answer, ScriptedTransport, SyncScriptedTransport, VirtualClock, run_virtual
from tests.telemetry.calls import REVIEWS, URL, Message, call, serve

WEB = Workload(namespace="shop", labels={"app": "web", "version": "v7"}, name="web-v7", service_account="web")


def load(config: str = REVIEWS, workload: Workload = WEB) -> tuple[Mesh, Metrics]:
    mesh = Mesh.load(config, workload=workload, clock=VirtualClock())
    return mesh, mesh.metrics(CollectorRegistry())


def only_labels(metrics: Metrics, metric: str = "istio_requests_total") -> dict[str, str]:
    """The labels of the one series of a metric."""
    (series,) = [key.labels for key in metrics.totals() if key.metric == metric]
    return dict(series)


def test_a_call_has_the_labels_of_istio() -> None:
    """Reporter source: who calls by its own labels, who answers by those of the endpoint."""
    mesh, metrics = load()
    call(mesh, 200)
    assert only_labels(metrics) == {
        "reporter": "source",
        "source_workload": "web-v7",
        "source_canonical_service": "web",
        "source_canonical_revision": "v7",
        "source_workload_namespace": "shop",
        "source_principal": "unknown",
        "source_app": "web",
        "source_version": "v7",
        "source_cluster": "Kubernetes",
        "destination_workload": "reviews-v1",
        "destination_workload_namespace": "shop",
        "destination_principal": "unknown",
        "destination_app": "reviews",
        "destination_version": "v1",
        "destination_service": URL,
        "destination_canonical_service": "reviews",
        "destination_canonical_revision": "v1",
        "destination_service_name": "reviews.shop.svc.cluster.local",
        "destination_service_namespace": "shop",
        "destination_cluster": "Kubernetes",
        "request_protocol": "http",
        "response_code": "200",
        "grpc_response_status": "",
        "response_flags": "-",
        "connection_security_policy": "unknown",
    }


GRPC = {"content-type": "application/grpc"}


@pytest.mark.parametrize(
    ("script", "headers", "expected"),
    [
        pytest.param((404,), {}, {"response_code": "404", "response_flags": "-"}, id="status"),
        pytest.param((503, 503, 503), {}, {"response_code": "503", "response_flags": "URX"}, id="retries exhausted"),
        pytest.param(
            (FailureKind.CONNECT_FAILURE,), {}, {"response_code": "503", "response_flags": "URX,UF"}, id="no connection"
        ),
        pytest.param(
            (Answer(headers=(("grpc-status", "5"),)),),
            GRPC,
            {"response_code": "200", "request_protocol": "grpc", "grpc_response_status": "5"},
            id="gRPC",
        ),
        pytest.param(
            (Answer(headers=(("grpc-status", "junk"),)),),
            GRPC,
            {"request_protocol": "grpc", "grpc_response_status": ""},
            id="gRPC with nonsense as its status",
        ),
        pytest.param((Answer(headers=(("grpc-status", "5"),)),), {}, {"grpc_response_status": ""}, id="not gRPC"),
    ],
)
def test_what_came_of_a_call_stands_in_its_labels(
    script: tuple[object, ...], headers: dict[str, str], expected: dict[str, str]
) -> None:
    """Status, flags, protocol and gRPC status, as Envoy writes them."""
    mesh, metrics = load()
    call(mesh, *script, headers=headers)
    labels = only_labels(metrics)
    assert {name: labels[name] for name in expected} == expected


def test_a_host_without_a_service_is_named_up_to_a_limit() -> None:
    """Istio falls back to the Host header without end; here the first hundred are named, the rest is unknown."""
    mesh, metrics = load()
    for number in range(130):
        call(mesh, 200, host=f"h{number}.example.com:80")
    series = [dict(key.labels) for key in metrics.totals() if key.metric == "istio_requests_total"]
    assert len(series) == 101
    assert {labels["destination_service_name"] for labels in series} == {"PassthroughCluster"}
    assert {"h0.example.com", "unknown"} <= {labels["destination_service"] for labels in series}
    assert metrics.value("istio_requests_total", destination_service="unknown") == 30


def test_a_refused_host_is_the_black_hole() -> None:
    """REGISTRY_ONLY: Istio calls the destination BlackHoleCluster."""
    mesh, metrics = load("outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n")
    call(mesh, 200, host="elsewhere.example.com")
    labels = only_labels(metrics)
    assert labels["destination_service_name"] == "BlackHoleCluster"
    assert labels["response_code"] == "502"


def test_durations_and_sizes_fall_into_the_buckets_of_istio() -> None:
    """Milliseconds to the end of the body; bytes with the heads."""
    mesh, metrics = load()
    _, _ = call(mesh, Answer(headers=(("content-length", "3000"),)), headers={"content-length": "700"}, method="POST")
    call(mesh, 200, body=90_000)
    families = {
        family.name: family
        for family in text_string_to_metric_families(metrics.text())
        if family.name.startswith("istio")
    }
    bounds = [s.labels["le"] for s in families["istio_response_bytes"].samples if s.name.endswith("_bucket")][:20]
    assert [float(bound) for bound in bounds] == [*BOUNDS, float("inf")]
    for name in ("istio_request_duration_milliseconds", "istio_request_bytes", "istio_response_bytes"):
        assert metrics.value(name) == 2
    counts = {
        sample.name.rpartition("_")[2]: sample.value
        for sample in families["istio_response_bytes"].samples
        if not sample.name.endswith("_bucket")
    }
    assert counts["count"] == 2
    assert 93_000 < counts["sum"] < 93_200


def test_a_call_that_is_given_up_counts_as_no_response() -> None:
    """The caller goes away: response code 0, flag DC."""
    mesh, metrics = load()
    call(mesh, 200)
    headers = Headers()
    steps = mesh.runtime.begin(RequestHead("GET", "http", URL, "/", headers, port=80), headers, lambda: True).steps()
    next(steps)
    steps.close()
    assert metrics.value("istio_requests_total", response_code="0", response_flags="DC") == 1


def test_a_call_counts_once_and_only_when_its_body_is_over() -> None:
    """Istio reports at completion."""
    mesh, metrics = load()
    headers = Headers()
    exchange = mesh.runtime.begin(RequestHead("GET", "http", URL, "/", headers, port=80), headers, lambda: True)
    drive(exchange.steps(), SyncScriptedTransport(200))
    assert metrics.value("istio_requests_total") == 0
    exchange.finish()
    exchange.finish()
    assert metrics.value("istio_requests_total") == 1


def test_what_the_mesh_does_besides_is_counted_under_our_own_names() -> None:
    """Attempts, retries by reason, faults, overflows, updates of the configuration."""
    config = REVIEWS.replace(
        "  - name: default-route\n",
        "  - name: default-route\n    fault: {delay: {percentage: {value: 100}, fixedDelay: 1ms}}\n",
    )
    mesh, metrics = load(config)
    call(mesh, 503, 200)
    assert metrics.value("meshlib_attempts_total") == 2
    assert metrics.value("meshlib_retries_total", reason="5xx") == 1
    assert metrics.value("meshlib_faults_total", kind="delay") == 1
    mesh.publish(REVIEWS)
    with pytest.raises(ConfigError, match="VirtualService"):
        mesh.publish("kind: VirtualService\napiVersion: networking.istio.io/v1\nmetadata: {name: x}\nspec: 7\n")
    assert metrics.value("meshlib_config_updates_total", result="published") == 1
    assert metrics.value("meshlib_config_updates_total", result="rejected") == 1
    assert metrics.value("meshlib_config_info", version=mesh.snapshot.version) == 1
    assert metrics.value("meshlib_endpoints") == 1


def test_what_a_client_policy_does_is_counted() -> None:
    """Second attempts, those that won, and last good responses, by host."""
    policy = """
---
apiVersion: meshlib.dev/v1alpha1
kind: ClientPolicy
metadata: {name: reviews, namespace: shop}
spec:
  hosts: [reviews]
  hedging: {delay: 100ms, budget: {value: 100}}
  fallback: {lastGood: {maxAge: 60s}}
"""
    mesh, metrics = load(REVIEWS + policy)
    clock = mesh.runtime.clock
    assert isinstance(clock, VirtualClock)
    for script in ((Answer(delay=1.0), 200), (503,)):
        headers = Headers(host=URL)
        head = RequestHead("GET", "http", URL, "/", headers, port=80)
        exchange = mesh.runtime.begin(head, headers, lambda: False)
        reply = run_virtual(adrive(exchange.steps(), ScriptedTransport(*script)), clock)
        if isinstance(reply, Taped):
            reply.tape.keep()
        exchange.finish()
    (host,) = mesh.runtime.published.callers
    assert metrics.value("meshlib_hedges_total", host=host) == 1
    assert metrics.value("meshlib_hedges_won_total", host=host) == 1
    assert metrics.value("meshlib_last_good_responses_total", host=host) == 1
    assert metrics.value("istio_requests_total") == 2
    assert metrics.value("meshlib_attempts_total") == 3


def test_refusals_by_a_limit_are_counted() -> None:
    """An overflow has the flag UO and its own counter."""
    rule = """\
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: shop}
spec: {host: reviews.shop.svc.cluster.local, trafficPolicy: {connectionPool: {http: {http2MaxRequests: 1}}}}
"""
    mesh, metrics = load(REVIEWS + rule)
    headers = Headers()
    steps = mesh.runtime.begin(RequestHead("GET", "http", URL, "/", headers, port=80), headers, lambda: True).steps()
    next(steps)
    _, reply = call(mesh, 200)
    assert reply.status == 503
    assert metrics.value("meshlib_overflows_total") == 1
    assert metrics.value("meshlib_active_requests") == 1
    steps.close()
    assert metrics.value("meshlib_active_requests") == 0


def test_a_served_request_has_the_labels_of_the_destination() -> None:
    """Reporter destination: who is served by this process, under the service that leads to it."""
    mesh, metrics = load(
        workload=Workload(namespace="shop", labels={"app": "reviews", "version": "v1"}, name="reviews")
    )
    serve(mesh, body=b"x" * 2000)
    labels = only_labels(metrics)
    assert labels["reporter"] == "destination"
    assert labels["destination_canonical_service"] == "reviews"
    assert labels["source_canonical_service"] == "unknown"
    assert labels["source_canonical_revision"] == "latest"
    assert labels["connection_security_policy"] == "none"
    assert labels["response_code"] == "200"
    assert metrics.value("istio_response_bytes") == 1
    assert "istio_response_bytes_sum" in metrics.text()


def test_a_denied_request_is_counted_with_its_status() -> None:
    """A policy refuses: 403 and, as in Envoy, no response flag."""
    mesh, metrics = load(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
        "metadata: {name: none, namespace: shop}\nspec: {}\n"
    )
    serve(mesh)
    labels = only_labels(metrics)
    assert (labels["response_code"], labels["response_flags"]) == ("403", "-")


PEER_METADATA = "CioKCU5BTUVTUEFDRRIdGhtmb29fX19fX19fX19fX19fX19fX19fX19fX19fXwo="  # cut off on purpose


def test_metadata_that_cannot_be_read_is_passed_over() -> None:
    """A peer may send anything in x-envoy-peer-metadata."""
    mesh, metrics = load()
    for nonsense in (PEER_METADATA, "%%%", "", "A" * 100_000, "/////w=="):
        serve(mesh, headers=(("x-envoy-peer-metadata", nonsense),))
    assert metrics.value("istio_requests_total", source_workload="unknown") == 5


def test_metadata_of_a_calling_proxy_names_the_source() -> None:
    """Istio's proxies send a protobuf Struct about their workload."""
    from base64 import b64encode

    def field(number: int, data: bytes) -> bytes:
        return bytes([number << 3 | 2, len(data)]) + data

    def entry(key: str, value: bytes) -> bytes:
        return field(1, field(1, key.encode()) + field(2, value))

    labels = field(5, entry("app", field(3, b"ratings")) + entry("version", field(3, b"v2")))
    data = entry("NAMESPACE", field(3, b"stars")) + entry("WORKLOAD_NAME", field(3, b"ratings-v2"))
    data += entry("CLUSTER_ID", field(3, b"east")) + entry("LABELS", labels)
    mesh, metrics = load()
    serve(mesh, headers=(("x-envoy-peer-metadata", b64encode(data).decode()),))
    found = only_labels(metrics)
    assert {
        name: found[f"source_{name}"] for name in ("workload", "workload_namespace", "cluster", "app", "version")
    } == {
        "workload": "ratings-v2",
        "workload_namespace": "stars",
        "cluster": "east",
        "app": "ratings",
        "version": "v2",
    }


def test_random_hosts_and_paths_do_not_grow_the_series() -> None:
    """100,000 requests to as many hosts and paths: as many series as after the first hundred."""
    mesh, metrics = load()
    for number in range(200):
        call(mesh, 200, host=f"a{number}.example", path=f"/{number}")
    exchange, _ = call(mesh, 200, host="one.example")
    before = metrics.store.size
    gc.collect()
    for number in range(100_000):
        exchange.request.authority, exchange.request.path = f"b{number}.example", f"/x/{number}"
        metrics.istio.exchanged(exchange)
    assert metrics.store.size == before
    assert len(metrics.store.shard.cache) < 500


def test_series_above_the_limit_are_put_together() -> None:
    """Label values from outside cannot fill the memory: what is too much becomes unknown."""
    mesh = Mesh.load(REVIEWS, workload=WEB, clock=VirtualClock())
    metrics = mesh.metrics(CollectorRegistry(), max_series=30)
    for status in range(200, 599):
        call(mesh, status, 200)
    assert len(metrics.store.shard.histograms) < 3 * 600
    assert metrics.value("istio_requests_total") == 399
    assert metrics.value("meshlib_metrics_overflows_total") > 0


def test_threads_lose_no_count_and_a_scrape_meanwhile_is_sound() -> None:
    """Threads that come and go, read all the while: the total is exact, and no reading goes back."""
    mesh, metrics = load()
    seen = [0.0]
    ended = threading.Event()

    def read() -> None:
        while not ended.is_set():
            seen.append(metrics.value("istio_requests_total"))

    def work() -> None:
        for status in (200, 404, 500):
            for _ in range(20):
                call(mesh, status, status, status)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(3):
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    ended.set()
    reader.join()
    assert metrics.value("istio_requests_total") == 3 * 8 * 60
    assert seen == sorted(seen)
    assert len(metrics.store._shards) <= 64


def test_shards_of_threads_that_ended_are_put_together() -> None:
    """A thread for each request, as some servers have it, leaves nothing behind but its counts."""
    store = Store()

    def count() -> None:
        store.shard.counter("meshlib_attempts_total", ()).value += 1

    for _ in range(300):
        thread = threading.Thread(target=count)
        thread.start()
        thread.join()
    assert len(store._shards) < 70
    assert sum(total for total in store.totals().values() if isinstance(total, int | float)) == 300


def test_places_to_put_calls_down_are_bounded() -> None:
    """Those of clusters that are gone make room for others; what was put down there is counted."""
    mesh, metrics = load()
    for status in range(200, 230):
        call(mesh, status)
        call(mesh, status)
        nowhere = RequestTally(Targets(None, None, None, None, 0, 0))
        metrics.store.shard.tallies.update({("gone", status, number): nowhere for number in range(500)})
    assert metrics.value("istio_requests_total") == 60
    assert len(metrics.store.shard.tallies) < 1600


def test_metrics_are_shown_once_in_a_registry() -> None:
    """Asking twice gives the same metrics, and the registry does not complain."""
    registry = CollectorRegistry()
    mesh = Mesh.load(REVIEWS, workload=WEB)
    assert mesh.metrics(registry) is mesh.metrics(registry)
    call(mesh, 200)
    names = [family.name for family in registry.collect()]
    assert len(names) == len(set(names))
    assert "istio_requests" in names


def test_every_metric_is_described() -> None:
    """A metric that is counted but not in the table could not be read."""
    mesh, metrics = load()
    call(mesh, 200)
    assert {key.metric for key in metrics.totals()} <= set(DESCRIPTIONS)


def test_a_websocket_is_counted_as_switching_protocols() -> None:
    """Envoy's status of an accepted one."""

    async def app(scope: Message, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "hello"})
        await send({"type": "websocket.close"})

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(_message: Message) -> None:
        return None

    mesh, metrics = load()
    scope = {"type": "websocket", "path": "/ws", "headers": [(b"host", b"web")], "server": ("10.0.0.9", 80)}
    asyncio.run(MeshMiddleware(app, mesh)(scope, receive, send))
    labels = only_labels(metrics)
    assert (labels["response_code"], labels["response_flags"]) == ("101", "-")


TELEMETRY = """\
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: metrics, namespace: shop}
spec: {metrics: [{providers: [{name: prometheus}], overrides: [%s]}]}
"""


def test_overrides_change_the_labels_of_a_metric() -> None:
    """A tag is set to an expression of the request, another one is removed; of this metric only."""
    overrides = (
        "{match: {metric: REQUEST_COUNT}, tagOverrides: {method: {value: request.method}, response_flags: "
        "{operation: REMOVE}, team: {value: \"'blue'\"}, missing: {value: \"request.headers['none']\"}}}"
    )
    mesh, metrics = load(REVIEWS + TELEMETRY % overrides)
    call(mesh, 200, method="POST")
    call(mesh, 200)
    serve(mesh)
    series = [dict(key.labels) for key in metrics.totals() if key.metric == "istio_requests_total"]
    assert [labels["method"] for labels in series] == ["POST", "GET", "GET"]
    assert {(labels["team"], labels["missing"]) for labels in series} == {("blue", "unknown")}
    assert not any("response_flags" in labels for labels in series)
    (duration, _) = [
        dict(key.labels) for key in metrics.totals() if key.metric == "istio_request_duration_milliseconds"
    ]
    assert "method" not in duration
    assert duration["response_flags"] == "-"


def test_bytes_that_are_no_text_do_not_break_the_scrape() -> None:
    """One request with such a header was the end of all metrics of the process."""
    overrides = (
        "{match: {metric: REQUEST_COUNT}, tagOverrides: {team: {value: \"request.headers['x-team']\"},"
        " path: {value: request.url_path}}}"
    )
    mesh = Mesh.load(REVIEWS + TELEMETRY % overrides, workload=Workload(namespace="shop", labels={"app": "web"}))
    registry = CollectorRegistry()
    mesh.metrics(registry)
    serve(mesh, headers=(("x-team", "bl\udcffue"),), path="/\udcfe")
    serve(mesh, headers=(("x-team", "b\u00e9"),))
    scraped = generate_latest(registry).decode()
    assert 'team="bl?ue"' in scraped
    assert 'team="b\u00e9"' in scraped


def test_metrics_that_are_off_are_not_counted() -> None:
    """One for calls, all for served requests; a new configuration counts at once."""
    overrides = "{match: {metric: REQUEST_SIZE, mode: CLIENT}, disabled: true}, {match: {mode: SERVER}, disabled: true}"
    mesh, metrics = load(REVIEWS + TELEMETRY % overrides)
    call(mesh, 200)
    serve(mesh)
    assert metrics.value("istio_requests_total") == 1
    assert metrics.value("istio_request_bytes") == 0
    mesh.publish(REVIEWS)
    call(mesh, 200)
    serve(mesh)
    assert metrics.value("istio_requests_total") == 3
    assert metrics.value("istio_request_bytes") == 2


PREFORK = """\
import os, sys
from meshlib import Mesh
from tests.telemetry.calls import REVIEWS, call

mesh = Mesh.load(REVIEWS)
metrics = mesh.metrics()
call(mesh, 200)
metrics.flush()
children = []
for _ in range(3):
    child = os.fork()
    if not child:
        for _ in range(5):
            call(mesh, 200)
        metrics.flush()
        os._exit(0)
    children.append(child)
for child in children:
    os.waitpid(child, 0)
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
metrics.flush()
registry = CollectorRegistry()
MultiProcessCollector(registry)
sys.stdout.write(generate_latest(registry).decode())
"""


@pytest.fixture
def shared_files(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PYTHONPATH": str(Path.cwd())}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_processes_of_a_prefork_server_are_added_up(shared_files: dict[str, str]) -> None:
    """One call before the fork, five in each of three workers: sixteen, in prometheus_client's own reader."""
    done = subprocess.run(
        [sys.executable, "-c", PREFORK], env=shared_files, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    families = {family.name: family for family in text_string_to_metric_families(done.stdout)}
    assert sum(sample.value for sample in families["istio_requests"].samples) == 16
    duration = families["istio_request_duration_milliseconds"].samples
    assert sum(sample.value for sample in duration if sample.name.endswith("_count")) == 16
    endpoints = {sample.labels["cluster"]: sample.value for sample in families["meshlib_endpoints"].samples}
    assert endpoints == {"outbound|80||reviews.shop.svc.cluster.local": 1.0, "PassthroughCluster": 0.0}
