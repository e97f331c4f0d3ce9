"""Real clients and servers on loopback: each call is counted, traced and logged once, whatever library made it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from prometheus_client import CollectorRegistry

from meshlib import Mesh, Workload
from tests.adapters.inbound_servers import SERVERS
from tests.patience import PATIENCE

BODY = b"x" * 3000
CONFIG = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: upstream, namespace: default}
spec:
  hosts: [upstream.default.svc.cluster.local]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 127.0.0.1, ports: {http: %d}}]
---
accessLogFile: /dev/stdout
accessLogFormat: "%%REQ(:METHOD)%% %%REQ(:PATH)%% %%RESPONSE_CODE%% %%BYTES_SENT%%"
"""
ADDRESS = "http://upstream/a"


class Handler(BaseHTTPRequestHandler):
    """Answers with a body, and keeps the headers that came."""

    protocol_version = "HTTP/1.1"
    seen: list[dict[str, str]]

    def do_GET(self) -> None:
        self.seen.append({name.lower(): value for name, value in self.headers.items()})
        self.send_response(200)
        self.send_header("content-length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def upstream() -> Iterator[tuple[int, list[dict[str, str]]]]:
    seen: list[dict[str, str]] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Seen", (Handler,), {"seen": seen})) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port, seen
        server.shutdown()
        thread.join()


def aiohttp_get(mesh: Mesh) -> bytes:
    async def get() -> bytes:
        async with mesh.aiohttp() as session, session.get(ADDRESS) as response:
            return await response.read()

    return asyncio.run(get())


def httpx_get(mesh: Mesh) -> bytes:
    with mesh.httpx() as client:
        return client.get(ADDRESS).content


def httpx_async_get(mesh: Mesh) -> bytes:
    async def get() -> bytes:
        async with mesh.httpx_async() as client:
            return (await client.get(ADDRESS)).content

    return asyncio.run(get())


def requests_get(mesh: Mesh) -> bytes:
    with mesh.requests() as session:
        return bytes(session.get(ADDRESS).content)


def urllib3_get(mesh: Mesh) -> bytes:
    with mesh.urllib3() as pool:
        return bytes(pool.request("GET", ADDRESS).data)


CLIENTS = [aiohttp_get, httpx_get, httpx_async_get, requests_get, urllib3_get]


def traced(mesh: Mesh) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    mesh.tracing(provider)
    return exporter


@pytest.mark.parametrize("get", CLIENTS, ids=[one.__name__ for one in CLIENTS])
def test_a_call_is_told_once(
    get: Callable[[Mesh], bytes], upstream: tuple[int, list[dict[str, str]]], caplog: pytest.LogCaptureFixture
) -> None:
    """One request, one line, one span, and its context at the upstream; the size is that of the body and its head."""
    port, seen = upstream
    caplog.set_level("INFO", "meshlib.access")
    mesh = Mesh.load(CONFIG % port, workload=Workload(labels={"app": "web"}))
    metrics, exporter = mesh.metrics(CollectorRegistry()), traced(mesh)
    assert get(mesh) == BODY
    assert metrics.value("istio_requests_total", reporter="source", response_code="200") == 1
    ((_, size),) = [total for key, total in metrics.totals().items() if key.metric == "istio_response_bytes"]  # type: ignore[misc]
    assert 3000 < size < 3500
    assert [one.getMessage() for one in caplog.records if one.name == "meshlib.access"] == ["GET /a 200 3000"]
    (span,) = exporter.get_finished_spans()
    context = span.get_span_context()
    assert context is not None
    assert seen[0]["traceparent"].split("-")[1:3] == [f"{context.trace_id:032x}", f"{context.span_id:016x}"]
    mesh.close()


@pytest.mark.parametrize("name", SERVERS)
def test_a_served_request_is_told_once(name: str, caplog: pytest.LogCaptureFixture) -> None:
    """Behind each kind of server; what it hands on is the context of its span."""
    import json
    import urllib.request

    caplog.set_level("INFO", "meshlib.access")
    mesh = Mesh.load(CONFIG % 1, workload=Workload(labels={"app": "web"}))
    metrics, exporter = mesh.metrics(CollectorRegistry()), traced(mesh)
    serve: Any = SERVERS[name]
    with serve(mesh) as port:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/echo", timeout=PATIENCE) as response:
            body = response.read()
            json.loads(body)
    assert metrics.value("istio_requests_total", reporter="destination", response_code="200") == 1
    assert metrics.value("istio_response_bytes") == 1
    lines = [one.getMessage() for one in caplog.records if one.name == "meshlib.access"]
    assert lines == [f"GET /echo 200 {len(body)}"]
    (span,) = exporter.get_finished_spans()
    assert span.kind is SpanKind.SERVER
    mesh.close()
