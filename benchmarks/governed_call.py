"""What a governed aiohttp GET adds to a bare one, both answered from memory; and what the hand-made stack adds.

All variants call through the same mechanism (memory_client.py) and the same kind of connector. The governed session
is what ``mesh.aiohttp()`` gives: a route with weights, two subsets, three endpoints, retries, a timeout, outlier
detection, and the metrics of ``mesh.metrics()``, without a span.

Calls to one URL are what caches of URLs are good at, in aiohttp, yarl and meshlib alike. So there is a second pair,
bare and governed, whose calls go round 100,000 paths, as calls for single objects do; there no cache helps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import aiohttp
from prometheus_client import CollectorRegistry

from benchmarks.handmade import hand_made, only_tenacity
from benchmarks.harness import Comparison, arguments, compare_async, emit, emit_figure
from benchmarks.memory_client import MemoryLoop, gets
from meshlib import Mesh

__all__ = ["main"]

CONFIG = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews.default.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 9080, name: http, protocol: HTTP}]
  endpoints:
  - {address: 10.0.0.1, labels: {version: v1}}
  - {address: 10.0.0.2, labels: {version: v1}}
  - {address: 10.0.0.3, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews]
  http:
  - match: [{headers: {end-user: {exact: jason}}}]
    route: [{destination: {host: reviews, subset: v2}}]
  - route:
    - {destination: {host: reviews, subset: v1}, weight: 80}
    - {destination: {host: reviews, subset: v2}, weight: 20}
    timeout: 10s
    retries: {attempts: 3, perTryTimeout: 2s, retryOn: "5xx,connect-failure,reset"}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: default}
spec:
  host: reviews
  trafficPolicy:
    connectionPool: {http: {http1MaxPendingRequests: 1024, http2MaxRequests: 1024}}
    outlierDetection: {consecutive5xxErrors: 7, interval: 10s, baseEjectionTime: 30s, maxEjectionPercent: 100}
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
"""
GOVERNED_URL = "http://reviews:9080/reviews/0"
BARE_URL = "http://10.0.0.1:9080/reviews/0"
BARE, AGAIN, TENACITY, HAND_MADE = "bare", "bare again", "tenacity alone", "hand-made"
GOVERNED, UNOBSERVED = "meshlib", "meshlib, no metrics"
BARE_PATHS, GOVERNED_PATHS = "bare, many paths", "meshlib, many paths"
PATHS = 100_000


async def measure(*, rounds: int, calls: int) -> Comparison:
    """All variants in turn, in the running :class:`MemoryLoop`."""
    mesh, unobserved = Mesh.load(CONFIG), Mesh.load(CONFIG)
    metrics = mesh.metrics(CollectorRegistry())
    # One session for each variant: none profits from a connection or a cache that another one warmed.
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector()) as bare,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector()) as again,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector()) as retried,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector()) as stacked,
        mesh.aiohttp() as governed,
        unobserved.aiohttp() as uncounted,
    ):
        variants = {
            BARE: gets(bare, BARE_URL),
            AGAIN: gets(again, BARE_URL),
            TENACITY: only_tenacity(retried, BARE_URL),
            HAND_MADE: hand_made(stacked, BARE_URL, service="reviews"),
            GOVERNED: gets(governed, GOVERNED_URL),
            UNOBSERVED: gets(uncounted, GOVERNED_URL),
            BARE_PATHS: gets(bare, BARE_URL, paths=PATHS),
            GOVERNED_PATHS: gets(governed, GOVERNED_URL, paths=PATHS),
        }
        comparison = await compare_async("governed_call", variants, rounds=rounds, calls=calls, again=AGAIN)
    assert metrics.value("istio_requests_total") >= rounds * calls, "the governed session did not govern"
    return comparison


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print; see the module."""
    options = arguments(__doc__ or "", rounds=150, calls=120, argv=argv)
    with asyncio.Runner(loop_factory=MemoryLoop) as runner:
        comparison = runner.run(measure(rounds=options.rounds, calls=options.calls))
    emit(comparison)
    emit_figure("governed call added", comparison.added(GOVERNED), "µs", noise=comparison.noise)
    paths = comparison.added(GOVERNED_PATHS, over=BARE_PATHS)
    emit_figure("governed call added, many paths", paths, "µs", noise=comparison.noise)
    emit_figure("hand-made ÷ governed", comparison.added_ratio(HAND_MADE, GOVERNED), "×")


if __name__ == "__main__":
    main()
