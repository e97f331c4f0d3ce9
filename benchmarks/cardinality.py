"""Requests with random hosts, paths and statuses, everything switched on: memory and series do not grow.

Calls and served requests go through the engine with metrics, an access log, unsampled traces and the live page's
counts. Hosts are those of a caller who makes them up; memory is the resident set, read at every tenth of the way.
``--calls 1000000`` sends a million, besides those that are served.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import sys
from collections.abc import MutableMapping, Sequence
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

from benchmarks.harness import arguments, emit_figure
from benchmarks.telemetry import LOGGED, NEVER
from meshlib import Mesh
from meshlib._drivers import drive
from meshlib._http import Headers, RequestHead, Response
from meshlib.adapters.asgi import MeshMiddleware
from meshlib.admin import AdminApp
from meshlib.admin.messages import Ask
from meshlib.telemetry.access_log import LOGGER
from meshlib.telemetry.metrics import Metrics
from meshlib.testing import Answer, SyncScriptedTransport

__all__ = ["main"]

CONFIG = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews.default.svc.cluster.local, "*.shop.example"]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 10.0.0.1, labels: {app: reviews}}, {address: 10.0.0.2, labels: {app: reviews}}]
"""
STATUSES = (200, 200, 200, 204, 301, 404, 429, 500, 503)
PARTS = 10


class Traffic:
    """Requests that are like no other."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._draw = random.Random(9)
        self._app = MeshMiddleware(self._answer, mesh)

    def call(self) -> None:
        """One call: to a known service, to a host below a wildcard, or to one that nobody knows."""
        draw, number = self._draw, self._draw.getrandbits(48)
        host = (f"{number:x}.example", f"{number:x}.shop.example", "reviews")[draw.randrange(3)]
        headers = Headers({"host": host, "x-random": f"{number:x}", "user-agent": f"agent/{number:x}"})
        head = RequestHead("GET", "http", host, f"/{number:x}?q={number}", headers, port=80, host=host)
        exchange = self._mesh.runtime.begin(head, headers, bool)
        answer = Answer(status=draw.choice(STATUSES), headers=(("content-length", str(number % 100_000)),))
        if isinstance(drive(exchange.steps(), SyncScriptedTransport(answer)), Response):
            exchange.finish()

    async def serve(self) -> None:
        """One request served, from whoever it says it is from."""
        number = self._draw.getrandbits(48)
        scope: MutableMapping[str, Any] = {
            "type": "http",
            "method": "GET",
            "scheme": "http",
            "path": f"/{number:x}",
            "raw_path": f"/{number:x}".encode(),
            "query_string": b"",
            "headers": [(b"host", f"{number:x}.example".encode()), (b"x-envoy-peer-metadata-id", b"%x" % number)],
            "server": ("10.0.0.9", 8080),
            "client": ("10.0.0.8", 40000),
        }
        await self._app(scope, _receive, _send)

    async def _answer(self, _scope: object, _receive: object, send: Any) -> None:
        status = self._draw.choice(STATUSES)
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


async def _receive() -> MutableMapping[str, Any]:
    return {"type": "http.request", "body": b""}


async def _send(_message: object) -> None:
    pass


def resident() -> float:
    """MiB of the process in memory now."""
    if not sys.platform.startswith("linux"):
        return float("nan")
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 2**20


async def _run(traffic: Traffic, metrics: Metrics, app: AdminApp, calls: int) -> list[tuple[float, int]]:
    """MiB and series after each part; the first one is what it takes to have met everything once."""
    found = []
    for part in range(PARTS + 1):
        app.answer(Ask(method="GET", path="/stats", headers={"host": "localhost"}, client="127.0.0.1"))
        for number in range(calls // PARTS):
            traffic.call()
            if not number % 4:
                await traffic.serve()
        gc.collect()
        found.append((resident(), metrics.store.size))
        print(f"part {part}: {found[-1][0]:.1f} MiB, {found[-1][1]} series", file=sys.stderr)
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print; see the module."""
    options = arguments(__doc__ or "", rounds=1, calls=100_000, argv=argv)
    LOGGER.addHandler(logging.NullHandler())
    LOGGER.propagate = False
    mesh = Mesh.load(CONFIG + LOGGED + NEVER.removeprefix("---\n"))
    mesh.tracing(TracerProvider())
    metrics = mesh.metrics(CollectorRegistry())
    app = mesh.admin_app()
    try:
        found = asyncio.run(_run(Traffic(mesh), metrics, app, options.calls))
    finally:
        app.close()
    (memory, series), (memory_then, series_then) = found[0], found[-1]
    emit_figure("random requests: memory grown", memory_then - memory, "MiB")
    emit_figure("random requests: series grown", series_then - series, "")
    emit_figure("random requests: series", series_then, "")


if __name__ == "__main__":
    main()
