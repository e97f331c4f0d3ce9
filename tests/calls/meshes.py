"""A host with two endpoints, and how its calls are governed."""

from __future__ import annotations

from typing import Any

import pytest

from meshlib import Mesh
from meshlib.testing import VirtualClock, run_virtual
from tests.mesh_builders import AT_REST, counters

CONFIG = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ratings, namespace: default}
spec:
  hosts: [ratings.default.svc.cluster.local]
  ports: [{number: 9080, name: http, protocol: HTTP}]
  location: MESH_INTERNAL
  resolution: STATIC
  endpoints: [{address: 10.0.0.1, labels: {version: v1}}, {address: 10.0.0.2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ratings, namespace: default}
spec:
  hosts: [ratings]
  http: [{route: [{destination: {host: ratings}}], ROUTE}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ratings, namespace: default}
spec:
  host: ratings
  trafficPolicy: {TRAFFIC}
  subsets: [{name: v2, labels: {version: v2}}]
"""
POLICY = """
---
apiVersion: meshlib.dev/v1alpha1
kind: ClientPolicy
metadata: {name: ratings, namespace: default}
spec:
  hosts: [ratings]
  POLICY
"""
NO_RETRY = "retries: {attempts: 0}"
RETRY = "retries: {attempts: 3, retryOn: '5xx', backoff: 1ms}"
BREAKER = "circuitBreaker: {consecutiveFailures: 2, openFor: 10s}"


def load(
    route: str = RETRY, *, policy: str = "", traffic: str = "loadBalancer: {simple: ROUND_ROBIN}", clock: VirtualClock
) -> Mesh:
    text = CONFIG.replace("ROUTE", route).replace("TRAFFIC", traffic)
    return Mesh.load(text + (POLICY.replace("POLICY", policy) if policy else ""), clock=clock)


def assert_at_rest(mesh: Mesh) -> None:
    """Every counter is back."""
    assert counters(mesh.runtime) == AT_REST


class Script:
    """A function's body: raises or returns one entry after the other, the last again and again."""

    def __init__(self, *entries: object) -> None:
        self._entries = entries
        self.calls = 0

    def __call__(self) -> object:
        entry = self._entries[min(self.calls, len(self._entries) - 1)]
        self.calls += 1
        if isinstance(entry, BaseException):
            raise entry
        return entry


class DownError(Exception):
    """What a function raises that says nothing more."""


def call_sync(mesh: Mesh, script: Script, **options: Any) -> Any:
    return mesh.call("ratings", **options)(script)()


def call_async(mesh: Mesh, script: Script, **options: Any) -> Any:
    @mesh.call("ratings", **options)
    async def ratings() -> object:
        return script()

    assert isinstance(mesh.runtime.clock, VirtualClock)
    return run_virtual(ratings(), mesh.runtime.clock)


def run_once(mesh: Mesh, script: Script, **options: Any) -> Any:
    assert not options
    return mesh.run("ratings", script)


def run_once_async(mesh: Mesh, script: Script, **options: Any) -> Any:
    async def ratings() -> object:
        return script()

    assert not options
    assert isinstance(mesh.runtime.clock, VirtualClock)
    return run_virtual(mesh.run("ratings", ratings), mesh.runtime.clock)


EITHER = pytest.mark.parametrize("call", [call_sync, call_async])
EVERY = pytest.mark.parametrize("call", [call_sync, call_async, run_once, run_once_async])
