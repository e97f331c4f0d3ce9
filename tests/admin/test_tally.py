"""Counting while somebody looks, and nothing otherwise."""

from __future__ import annotations

import threading
from typing import Literal

from meshlib._runtime import Runtime
from meshlib._snapshot.snapshot import Snapshot
from meshlib.admin.tally import BOUNDS, Tally
from meshlib.events import AttemptFinished, ExchangeFinished, FaultInjected, RequestServed
from meshlib.testing import VirtualClock


def make(clock: VirtualClock | None = None) -> tuple[Runtime, Tally]:
    runtime = Runtime(Snapshot(), clock=clock or VirtualClock())
    return runtime, Tally(runtime.observe, runtime.clock)


def finished(
    cluster: str = "c", *, status: int = 200, duration: float = 0.003, attempts: int = 1, host: str = "h"
) -> ExchangeFinished:
    flags = ("URX",) if status >= 500 else ()
    return ExchangeFinished(
        host=host, method="GET", status=status, duration=duration, attempts=attempts, flags=flags, details="",
        route="all", cluster=cluster, endpoint="e",
    )  # fmt: skip


def served(principal: str, status: int = 200) -> RequestServed:
    decision: Literal["allow", "deny"] = "deny" if status == 403 else "allow"
    return RequestServed(
        method="GET", host="h", path="/", status=status, duration=0.1, decision=decision,
        policy="", rule="", reason="", details="", principal=principal, request_principal="", protocol="http",
        is_mtls=True,
    )  # fmt: skip


def test_nobody_looks_and_nothing_is_listened_to() -> None:
    """No event is even made for it."""
    runtime, tally = make()
    assert runtime.published.observers == {}
    tally.look()
    assert ExchangeFinished in runtime.published.observers
    tally.stop()
    assert runtime.published.observers == {}


def test_calls_add_up() -> None:
    """Requests, errors, retries, latency and flags, by cluster and route."""
    runtime, tally = make()
    tally.look()
    for event in (finished(), finished(status=503, attempts=3, duration=0.2), finished(status=404), finished(status=0)):
        runtime.notify(event)
    calls = tally.read().exchanges["c", "all", ""]
    assert (calls.requests, calls.failed, calls.rejected, calls.retries) == (4, 2, 1, 2)
    assert calls.flags == {"URX": 1}
    assert calls.buckets[BOUNDS.index(5.0)] == 3
    assert calls.buckets[BOUNDS.index(250.0)] == 1


def test_attempts_peers_and_faults_have_counts_of_their_own() -> None:
    """By endpoint, by principal, by kind."""
    runtime, tally = make()
    tally.look()
    runtime.notify(AttemptFinished(cluster="c", endpoint="e:1", attempt=1, status=0, failure="timeout", duration=1.0))
    runtime.notify(served("spiffe://a/ns/b/sa/c", 403))
    runtime.notify(FaultInjected(host="h", route="r", kind="abort", status=500))
    counts = tally.read()
    assert counts.attempts["c", "e:1"].failed == 1
    assert counts.denied == {"spiffe://a/ns/b/sa/c": 1}
    assert counts.faults == {"abort": 1}


def test_counting_ends_five_minutes_after_the_last_look() -> None:
    """The counts stay; another look goes on with them."""
    clock = VirtualClock()
    runtime, tally = make(clock)
    tally.look()
    runtime.notify(finished())
    clock.advance(301)
    for _ in range(63):
        runtime.notify(finished())
    assert not tally.is_counting
    assert runtime.published.observers == {}
    tally.look()
    runtime.notify(finished())
    assert tally.read().exchanges["c", "all", ""].requests == 65


def test_keys_are_bounded() -> None:
    """Hosts that nobody knows do not fill the memory: what is beyond is counted together."""
    runtime, tally = make()
    tally.look()
    for number in range(5_000):
        runtime.notify(finished("", host=f"host-{number}"))
        runtime.notify(served(f"peer-{number}"))
    counts = tally.read()
    assert len(counts.exchanges) <= 2_001
    assert len(counts.served) <= 2_001
    assert sum(calls.requests for calls in counts.exchanges.values()) == 5_000
    assert sum(calls.requests for calls in counts.served.values()) == 5_000


def test_threads_lose_no_count() -> None:
    """Eight threads, one number."""
    runtime, tally = make()
    tally.look()

    def work() -> None:
        for _ in range(2_000):
            runtime.notify(finished())

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tally.read().exchanges["c", "all", ""].requests == 16_000
