"""Simulated calls a second: 10,000 at fixed intervals, one of ten endpoints broken.  python -m benchmarks.simulation"""

from __future__ import annotations

import statistics
import time

from meshlib.testing import Simulation

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
CALLS = 10_000
ROUNDS = 7


def seconds() -> float:
    """CPU seconds for all calls of one simulation: one thread that never waits."""
    with Simulation(MESH, seed=7) as sim:
        sim.deploy("reviews", replicas=10, port=9080)
        sim.upstream("reviews").endpoint("10.244.0.2:9080").respond(503)
        began = time.process_time()
        calls = sim.send("GET", "http://reviews:9080/", times=CALLS, every=0.01)
        took = time.process_time() - began
        assert calls.statuses == {200: CALLS}
    return took


def main() -> None:
    """Print the median and the fastest of some rounds."""
    rounds = [seconds() for _ in range(ROUNDS)]
    median = statistics.median(rounds)
    print(f"{CALLS} simulated calls: median {median:.2f} s, fastest {min(rounds):.2f} s (budget: 1 s)")
    print(f"{median / CALLS * 1e6:.0f} µs a call")


if __name__ == "__main__":
    main()
