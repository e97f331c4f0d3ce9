"""What a simulated call costs: a load at fixed intervals on ten endpoints, one of them broken.

A simulation is one thread that never waits, so that its processor time is all it takes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from benchmarks.harness import Median, arguments, emit_figure
from meshlib.testing import Simulation

__all__ = ["main"]

MESH = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews]
  http: [{route: [{destination: {host: reviews}}], retries: {attempts: 3, retryOn: 5xx}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: default}
spec: {host: reviews, trafficPolicy: {outlierDetection: {consecutive5xxErrors: 7, maxEjectionPercent: 50}}}
"""


def seconds(calls: int) -> float:
    """Processor seconds of ``calls`` in a fresh simulation, its making left out."""
    with Simulation(MESH, seed=7) as sim:
        sim.deploy("reviews", replicas=10, port=9080)
        sim.upstream("reviews").endpoint("10.244.0.2:9080").respond(503)
        began = time.process_time()
        made = sim.send("GET", "http://reviews:9080/", times=calls, every=0.01)
        took = time.process_time() - began
        assert made.statuses == {200: calls}
    return took


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print; see the module."""
    options = arguments(__doc__ or "", rounds=7, calls=10_000, argv=argv)
    rounds = [seconds(options.calls) * 10_000 / options.calls for _ in range(options.rounds)]
    emit_figure("10,000 simulated calls", Median.of(rounds), "s")


if __name__ == "__main__":
    main()
