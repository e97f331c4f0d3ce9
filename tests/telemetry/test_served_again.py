"""Requests that are let in as equal ones were: counted as any other, by whichever way they go."""

from __future__ import annotations

import asyncio
import contextlib
import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from prometheus_client import CollectorRegistry

from meshlib import Mesh, Workload
from meshlib._context import handed_on, serving
from meshlib.adapters.asgi import MeshMiddleware
from meshlib.events import RequestServed
from meshlib.telemetry.metrics import Metrics
from tests.security.remembering import Clock, scope_of

WORKLOAD = Workload(namespace="shop", labels={"app": "web"})
Message = dict[str, Any]


class Application:
    """Answers as the last of ``answers`` says: a status and the parts of a body, or an error after some of them."""

    def __init__(self) -> None:
        self.answer: tuple[int, list[bytes], bool] = (200, [], False)
        self.seconds = 0.0
        self.clock = Clock()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        status, parts, fails = self.answer
        self.clock.now += self.seconds
        assert serving.get() is scope["mesh"]
        if status:
            await send({"type": "http.response.start", "status": status, "headers": [(b"x-a", b"b")]})
            for part in parts:
                await send({"type": "http.response.body", "body": part, "more_body": True})
        if fails:
            raise ConnectionResetError
        if status:
            await send({"type": "http.response.body"})


class Service:
    """A workload with its metrics."""

    def __init__(self) -> None:
        self.app = Application()
        self.mesh = Mesh.load([], workload=WORKLOAD, clock=self.app.clock)
        self.metrics: Metrics = self.mesh.metrics(CollectorRegistry())
        self.middleware = MeshMiddleware(self.app, self.mesh)
        self.sent: list[Message] = []

    async def ask(self, scope: Any) -> None:
        async def receive() -> Message:
            return {"type": "http.request", "body": b""}

        async def send(message: Message) -> None:
            self.sent.append(message)

        with contextlib.suppress(ConnectionResetError):
            await self.middleware(scope, receive, send)
        assert serving.get() is handed_on() is None


@pytest.mark.parametrize("seed", range(6))
def test_both_ways_count_the_same(seed: int) -> None:
    """Statuses, bodies, errors, ports and methods by chance; the one service has a listener, the other has none."""
    chance = random.Random(seed)
    short, full = Service(), Service()
    full.mesh.observe(lambda _: None, RequestServed)
    one = chance.choice

    async def play() -> None:
        for _ in range(400):
            answer = (
                one((200, 200, 200, 404, 503, 0)),
                [b"x" * one((0, 1, 2000))] * one((0, 1, 3)),
                one((0, 0, 1)) > 0,
            )
            headers = one(((), (), (("content-length", "7"),), (("content-type", "application/grpc"),)))
            scope = scope_of(
                one(("/a", "/b")), *headers, method=one(("GET", "HEAD")), server=("10.0.0.2", one((80, 81)))
            )
            seconds = one((0.0, 0.004, 0.7))
            for service in (short, full):
                service.app.answer, service.app.seconds = answer, seconds
                await service.ask(dict(scope))
            if not chance.randrange(50):
                assert short.metrics.totals() == full.metrics.totals()

    asyncio.run(play())
    assert short.sent == full.sent
    assert short.metrics.totals() == full.metrics.totals()
    assert short.metrics.value("istio_requests_total") == 400
    assert (80, "", 200) in short.metrics.store.shard.tallies  # where the short way puts down


def observe(service: Service, seen: list[Any]) -> None:
    service.mesh.observe(seen.append, RequestServed)


def trace(service: Service, seen: list[Any]) -> None:
    class Ended(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            seen.append(span)

    provider = TracerProvider()
    provider.add_span_processor(Ended())
    service.mesh.tracing(provider)


LISTENERS: dict[str, Callable[[Service, list[Any]], None]] = {"an observer": observe, "a tracer": trace}


@pytest.mark.parametrize("name", LISTENERS)
def test_who_begins_to_listen_hears_of_the_next_request(name: str) -> None:
    """Requests that went the short way do not any more."""
    service, seen = Service(), list[Any]()
    service.app.answer = (200, [b"ok"], False)
    for _ in range(3):
        asyncio.run(service.ask(scope_of("/a")))
    LISTENERS[name](service, seen)
    for _ in range(2):
        asyncio.run(service.ask(scope_of("/a")))
    assert len(seen) == 2
    assert service.metrics.value("istio_requests_total") == 5


TAGGED = """
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: tags, namespace: shop}
spec:
  metrics:
  - providers: [{name: prometheus}]
    overrides:
    - match: {metric: REQUEST_COUNT, mode: SERVER}
      tagOverrides: {id: {value: request.id}}
"""


def test_a_label_can_hold_the_id_that_a_request_is_given() -> None:
    """Also of one that is let in as others were."""
    service = Service()
    service.mesh.publish(TAGGED)
    for _ in range(4):
        asyncio.run(service.ask(scope_of("/a")))
    ids = {dict(key.labels)["id"] for key in service.metrics.totals() if key.metric == "istio_requests_total"}
    assert len(ids) == 4
    assert "unknown" not in ids


def test_what_callers_say_of_themselves_is_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """Whether their requests are decided about or remembered."""
    caplog.set_level("INFO", "meshlib.access")
    service = Service()
    service.mesh.publish("{accessLogFile: /dev/stdout, accessLogFormat: '%REQ(X-ENVOY-PEER-METADATA-ID)%|%REQ(X-A)%'}")
    for _ in range(4):
        asyncio.run(service.ask(scope_of("/a", ("x-envoy-peer-metadata-id", "sidecar~a"), ("x-a", "1"))))
    assert [record.getMessage() for record in caplog.records] == ["-|1"] * 4


LATE = """
import asyncio, logging, sys
from meshlib import Mesh
from meshlib.adapters.asgi import MeshMiddleware
from meshlib.telemetry.access_log import LOGGER

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body"})

def ask():
    async def send(message): ...
    scope = {"type": "http", "method": "GET", "scheme": "http", "path": "/a", "raw_path": b"/a", "query_string": b"",
             "server": ("10.0.0.2", 80), "client": ("10.9.0.7", 1), "headers": [(b"host", b"shop.test")]}
    asyncio.run(middleware(scope, send, send))

mesh = Mesh.load([])
mesh.metrics()
middleware = MeshMiddleware(app, mesh)
lines = []
LOGGER.handlers[:] = [handler := logging.Handler()]
LOGGER.setLevel(logging.INFO)
handler.emit = lines.append
quiet, loud = mesh.runtime.compiled, Mesh.load("accessLogFile: /dev/stdout").runtime.compiled
for snapshot in (quiet, loud, quiet):
    mesh.runtime.publish(snapshot)
    for _ in range(5):
        ask()
assert "opentelemetry.sdk.trace" not in sys.modules

from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

class Ended(SpanProcessor):
    count = 0
    def on_end(self, span):
        self.count += 1

ended = Ended()
ask()
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(ended)
for _ in range(3):
    ask()
print(len(lines), ended.count)
"""


def test_a_log_and_a_tracer_that_come_later_have_each_request_from_then_on() -> None:
    """An SDK is not even imported as long as nobody wants spans."""
    ran = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, check=True)
    assert ran.stdout == "5 3\n"


def test_metrics_that_are_switched_on_later_count_from_then_on() -> None:
    app = Application()
    mesh = Mesh.load([], workload=WORKLOAD)
    service = Service()
    service.mesh, service.app, service.middleware = mesh, app, MeshMiddleware(app, mesh)
    for _ in range(3):
        asyncio.run(service.ask(scope_of("/a")))
    metrics = mesh.metrics(CollectorRegistry())
    for _ in range(4):
        asyncio.run(service.ask(scope_of("/a")))
    assert metrics.value("istio_requests_total") == 4


def test_a_reload_goes_on_counting() -> None:
    """What was put down under the telemetry before is counted where it belongs."""
    service = Service()
    for _ in range(5):
        asyncio.run(service.ask(scope_of("/a")))
    later = Mesh.load(
        "apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {name: t, namespace: shop}\n"
        "spec: {metrics: [{overrides: [{match: {metric: REQUEST_COUNT}, tagOverrides: {team: {value: \"'a'\"}}}]}]}",
        workload=WORKLOAD,
    )
    service.mesh.runtime.publish(later.runtime.compiled)
    for _ in range(6):
        asyncio.run(service.ask(scope_of("/a")))
    assert service.metrics.value("istio_requests_total") == 11
    assert service.metrics.value("istio_requests_total", team="a") == 6
