"""Blocks of code as attempts."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from meshlib.errors import BreakerOpenError, CallTimeoutError
from meshlib.events import Event, ExchangeFinished
from meshlib.testing import VirtualClock, run_virtual
from tests.calls.meshes import (
    BREAKER,
    DownError,
    Script,
    assert_at_rest,
    call_sync,
    load,
)


def test_a_block_is_one_attempt() -> None:
    """With an endpoint of its own; its exception is its own too."""
    mesh, seen = load(clock=VirtualClock()), []
    mesh.observe(seen.append, ExchangeFinished)
    with mesh.attempt("ratings") as attempt:
        assert attempt.endpoint in {"10.0.0.1:9080", "10.0.0.2:9080"}
        assert mesh.runtime.clusters()["outbound|9080||ratings.default.svc.cluster.local"].state.active == 1
    with pytest.raises(DownError, match=r"^x$"), mesh.attempt("ratings"):
        raise DownError("x")
    assert [(event.status, event.attempts) for event in seen] == [(200, 1), (500, 1)]
    assert_at_rest(mesh)


def test_a_block_is_refused_before_it_begins() -> None:
    """By a breaker that other blocks have opened."""
    mesh = load(policy=BREAKER, clock=VirtualClock())
    for _ in range(2):
        with pytest.raises(DownError), mesh.attempt("ratings"):
            raise DownError
    with pytest.raises(BreakerOpenError), mesh.attempt("ratings"):
        raise AssertionError("entered")
    assert_at_rest(mesh)


def test_an_asynchronous_block_is_cut_off() -> None:
    """At the route's timeout; a cancellation from outside stays one."""
    clock = VirtualClock()
    mesh = load("timeout: 2s", clock=clock)

    async def slow() -> None:
        async with mesh.attempt("ratings") as attempt:
            assert attempt.timeout == 2.0
            await asyncio.sleep(60)

    with pytest.raises(CallTimeoutError):
        run_virtual(slow(), clock)
    assert clock.monotonic() == 2.0

    async def cancel() -> bool:
        task = asyncio.ensure_future(slow())
        await asyncio.sleep(1.0)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert run_virtual(cancel(), clock)
    assert_at_rest(mesh)


def test_an_asynchronous_block_that_ends_in_time() -> None:
    """Its end is seen."""
    clock = VirtualClock()
    mesh = load("timeout: 2s", policy=BREAKER, clock=clock)

    async def block(error: Exception | None) -> str:
        async with mesh.attempt("ratings"):
            await asyncio.sleep(1.0)
            if error is not None:
                raise error
        return "fine"

    assert run_virtual(block(None), clock) == "fine"
    for _ in range(2):
        with pytest.raises(DownError):
            run_virtual(block(DownError()), clock)
    with pytest.raises(BreakerOpenError):
        run_virtual(block(None), clock)
    assert_at_rest(mesh)


def test_an_attempt_is_made_once() -> None:
    """The error says what to write."""
    mesh = load(clock=VirtualClock())
    attempt = mesh.attempt("ratings")
    with attempt:
        pass
    with pytest.raises(RuntimeError, match=r"for each `with`"), attempt:
        pass


def test_events_are_delivered_as_for_requests() -> None:
    """Also those of metrics: a decorated call is counted once."""
    mesh = load(clock=VirtualClock())
    kinds: Counter[str] = Counter()

    def count(event: Event) -> None:
        kinds[type(event).__name__] += 1

    mesh.observe(count)
    call_sync(mesh, Script(DownError(), 5))
    assert kinds == {"AttemptFinished": 2, "RetryScheduled": 1, "ExchangeFinished": 1}
