"""Retry budgets: which of many retries are let through, as a real Envoy (1.40) was seen to."""

from __future__ import annotations

import asyncio

import pytest

from meshlib import Mesh
from meshlib._drivers import adrive
from meshlib._engine.attempt_window import AttemptWindow
from meshlib._runtime import Runtime
from meshlib._snapshot.clusters import RetryBudget, TrafficPolicy
from meshlib._snapshot.routes import RetryPolicy
from meshlib.testing import Answer, ScriptedTransport, VirtualClock, run_virtual
from tests.mesh_builders import AT_REST, begin, counters, make_cluster, make_runtime, make_snapshot

ONCE = RetryPolicy(attempts=1, conditions=frozenset(("5xx",)), backoff=0.0)


def runtime(budget: RetryBudget, clock: VirtualClock) -> Runtime:
    cluster = make_cluster(1, policy=TrafficPolicy(retry_budget=budget))
    return make_runtime(make_snapshot(cluster, retry=ONCE), clock=clock)


async def call(mesh: Runtime, *script: object) -> int:
    """The attempts of a call."""
    exchange = begin(mesh)
    await adrive(exchange.steps(), ScriptedTransport(*script))  # type: ignore[arg-type]
    exchange.finish()
    return exchange.attempts


def retried(budget: RetryBudget, before: int, calls: int, *, wait: float = 0.0) -> str:
    """Which of ``calls``, 60 ms apart and after ``before`` good ones, are retried; retries take six seconds."""
    clock = VirtualClock()
    mesh = runtime(budget, clock)

    async def main() -> str:
        for _ in range(before):
            await call(mesh, 200)
        await asyncio.sleep(wait)
        tasks = []
        for _ in range(calls):
            tasks.append(asyncio.ensure_future(call(mesh, 503, Answer(delay=6.0))))
            await asyncio.sleep(0.06)
        return "".join("Y" if attempts == 2 else "n" for attempts in await asyncio.gather(*tasks))

    found = run_virtual(main(), clock)
    assert counters(mesh) == AT_REST
    return found


@pytest.mark.parametrize(
    ("ratio", "minimum", "interval", "before", "seen"),
    [
        (0.5, 0, None, 0, "nnnnnnnnnnnnnnnnnnnn"),
        (0.5, 0, None, 10, "nnnnnnnnnnnnnnnnnnnn"),
        (0.5, 0, 20.0, 0, "nYYYYYYYYYYYYYYYYYYY"),
        (0.5, 0, 20.0, 10, "YYYYYYYYYYYYYYYYYYYY"),
        (0.2, 0, 20.0, 0, "nnnnYnnnYnnnYnnnYnnnYnnnYnnnYn"),
        (0.2, 0, 20.0, 10, "YYYnnnYnnnYnnnYnnnYnnnYnnnYnnn"),
        (0.2, 0, 20.0, 20, "YYYYYYnnYnnnYnnnYnnnYnnnYnnnYn"),
        (0.2, 3, 20.0, 0, "YYYnnnnnnnnnnnnnYnnn"),
    ],
)
def test_the_budget_is_that_of_envoy(
    ratio: float, minimum: int, interval: float | None, before: int, seen: str
) -> None:
    """Without an interval a share of what is on its way, with one of the attempts started within it, retries too."""
    assert retried(RetryBudget(ratio=ratio, minimum=minimum, interval=interval), before, len(seen)) == seen


@pytest.mark.parametrize(("wait", "seen"), [(1.5, "YYYYYYYYYYYYYn"), (2.2, "nnnnYnnnYnnnYn"), (3.0, "nnnnYnnnYnnnYn")])
def test_what_is_older_than_the_interval_does_not_count(wait: float, seen: str) -> None:
    """Envoy's window slides too: forty good requests before, an interval of two seconds, calls in quick succession."""
    clock = VirtualClock()
    mesh = runtime(RetryBudget(ratio=0.2, minimum=0, interval=2.0), clock)

    async def main() -> str:
        for _ in range(40):
            await call(mesh, 200)
        await asyncio.sleep(wait)
        tasks = []
        for _ in range(len(seen)):
            tasks.append(asyncio.ensure_future(call(mesh, 503, Answer(delay=6.0))))
            await asyncio.sleep(0.005)
        return "".join("Y" if attempts == 2 else "n" for attempts in await asyncio.gather(*tasks))

    assert run_virtual(main(), clock) == seen


def test_a_window_slides_and_stays_small() -> None:
    """By a twentieth of itself."""
    window = AttemptWindow(10.0)
    for step in range(4000):
        window.add(step * 0.01)
    assert 950 <= window.count(40.0) <= 1000
    assert window.count(49.0) <= 100
    assert window.count(60.0) == 0


def test_the_interval_comes_from_the_destination_rule_and_survives_a_reload() -> None:
    """Where it is written, and as long as it stays."""
    rule = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: a}
spec:
  hosts: [a.example]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 10.0.0.1}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec: {host: a.example, trafficPolicy: {retryBudget: {percent: 30, budgetInterval: INTERVAL}}}
"""
    mesh = Mesh.load(rule.replace("INTERVAL", "10s"))
    (live,) = [one for name, one in mesh.runtime.clusters().items() if "a.example" in name]
    window = live.state.recent
    assert window is not None
    assert (window.seconds, live.has_rare_limits) == (10.0, True)
    mesh.publish(rule.replace("INTERVAL", "10s") + "\n# again")
    assert live.state.recent is window
    mesh.publish(rule.replace("INTERVAL", "0s"))
    assert live.state.recent is None
    explained = mesh.explain("GET", "http://a.example/")
    assert "budgetInterval" not in str(explained)
