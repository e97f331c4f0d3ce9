"""A second attempt beside a slow one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from meshlib.testing import VirtualClock, run_virtual
from tests.calls.meshes import (
    NO_RETRY,
    DownError,
    assert_at_rest,
    load,
)

HEDGING = "hedging: {delay: 100ms, budget: {value: 100}}"


def hedged(policy: str, *seconds: float) -> tuple[Any, ...]:
    """A call whose attempts take so long; its time, endpoints, and how many were cancelled."""
    clock, attempts, cancelled = VirtualClock(), iter(seconds), []
    mesh = load(NO_RETRY, policy=policy, clock=clock)

    @mesh.call("ratings")
    async def ratings() -> float:
        mine = next(attempts)
        try:
            await asyncio.sleep(abs(mine))
        except asyncio.CancelledError:
            cancelled.append(mine)
            raise
        if mine < 0:
            raise DownError(str(mine))
        return mine

    result = run_virtual(ratings(), clock)
    assert_at_rest(mesh)
    return result, round(clock.monotonic(), 3), cancelled, next(attempts, None)


@pytest.mark.parametrize(
    ("seconds", "result", "elapsed", "cancelled"),
    [
        ((0.05, 9.0), 0.05, 0.05, []),  # the second is never sent
        ((5.0, 0.2), 0.2, 0.3, [5.0]),
        ((0.2, 5.0), 0.2, 0.2, [5.0]),
        ((-0.2, 0.3), 0.3, 0.4, []),  # a failure is no winner
        ((0.5, -0.1), 0.5, 0.5, []),
    ],
)
def test_a_slow_call_gets_a_second_attempt(
    seconds: tuple[float, ...], result: float, elapsed: float, cancelled: list[float]
) -> None:
    """The first good answer wins, the other attempt is cancelled, every counter is back."""
    assert hedged(HEDGING, *seconds)[:3] == (result, elapsed, cancelled)


def test_when_both_fail_the_first_tells() -> None:
    """Its exception."""
    with pytest.raises(DownError, match=r"^-0\.3$"):
        hedged(HEDGING, -0.3, -0.1)


def test_a_hedge_is_a_retry_to_the_limits() -> None:
    """Of two slow calls only one gets a hedge where one retry may be outstanding."""
    clock, sent = VirtualClock(), []
    mesh = load(NO_RETRY, policy=HEDGING, traffic="connectionPool: {http: {maxRetries: 1}}", clock=clock)

    @mesh.call("ratings")
    async def ratings() -> None:
        sent.append(1)
        await asyncio.sleep(1.0)

    async def both() -> None:
        await asyncio.gather(ratings(), ratings())

    run_virtual(both(), clock)
    assert len(sent) == 3
    assert_at_rest(mesh)


def test_hedges_keep_to_their_budget() -> None:
    """One to begin with, then a tenth of the calls."""
    clock, sent = VirtualClock(), []
    mesh = load(NO_RETRY, policy="hedging: {delay: 100ms, budget: {value: 10}}", clock=clock)

    @mesh.call("ratings")
    async def ratings() -> None:
        sent.append(1)
        await asyncio.sleep(1.0)

    async def many() -> None:
        for _ in range(100):
            await ratings()

    run_virtual(many(), clock)
    assert len(sent) == 111


def test_a_quantile_is_that_of_the_calls_before() -> None:
    """Nothing is hedged before there are twenty."""
    clock, sent = VirtualClock(), []
    mesh = load(NO_RETRY, policy="hedging: {quantile: 0.9, budget: {value: 100}}", clock=clock)

    @mesh.call("ratings")
    async def ratings(seconds: float) -> None:
        sent.append(clock.monotonic())
        await asyncio.sleep(seconds)

    async def many() -> None:
        for number in range(20):
            await ratings(0.9 if number >= 18 else 0.1)
        await ratings(9.0)

    run_virtual(many(), clock)
    assert len(sent) == 22
    assert sent[21] - sent[20] == pytest.approx(0.9)


def test_a_cancelled_call_cancels_both_attempts() -> None:
    """And nothing is left."""
    clock, ended = VirtualClock(), []
    mesh = load(NO_RETRY, policy=HEDGING, clock=clock)

    @mesh.call("ratings")
    async def ratings() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(clock.monotonic())

    async def cancel() -> None:
        task = asyncio.ensure_future(ratings())
        await asyncio.sleep(1.0)
        task.cancel()
        await asyncio.wait([task])

    run_virtual(cancel(), clock)
    assert ended == [1.0, 1.0]
    assert_at_rest(mesh)
