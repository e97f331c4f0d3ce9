"""Fallbacks and breakers around functions."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections import Counter
from typing import Any

import pytest

from meshlib import LastGood, RefusedError
from meshlib.errors import BreakerOpenError
from meshlib.testing import VirtualClock, run_virtual
from tests.calls.meshes import (
    BREAKER,
    EITHER,
    NO_RETRY,
    DownError,
    Script,
    assert_at_rest,
    call_async,
    call_sync,
    load,
)
from tests.patience import PATIENCE

NOT_FOUND = RefusedError(status=404, body="", flags=(), details="", host="x")


@EITHER
def test_a_fallback_takes_the_arguments(call: Any) -> None:
    """Where all attempts failed; an exception that is no failure is raised."""
    mesh = load(clock=VirtualClock())
    assert call(mesh, Script(DownError()), fallback=lambda *args: [args]) == [()]
    assert call(mesh, Script(5), fallback=lambda: 6) == 5
    with pytest.raises(RefusedError, match="404"):
        call(mesh, Script(NOT_FOUND), fallback=lambda: 6)
    assert_at_rest(mesh)


def test_a_fallback_may_be_asynchronous() -> None:
    """For an asynchronous function."""

    async def instead() -> int:
        return 6

    assert call_async(load(clock=VirtualClock()), Script(DownError()), fallback=instead) == 6


@EITHER
def test_a_fallback_covers_refusals(call: Any) -> None:
    """Of an open breaker, say."""
    mesh, script = load(NO_RETRY, policy=BREAKER, clock=VirtualClock()), Script(DownError())
    assert [call(mesh, script, fallback=lambda: 6) for _ in range(5)] == [6] * 5
    assert script.calls == 2


@EITHER
@pytest.mark.parametrize("where", ["argument", "policy"])
def test_the_last_good_result_stands_in(call: Any, where: str) -> None:
    """For the same arguments, until it is too old."""
    clock = VirtualClock()
    mesh = load(NO_RETRY, policy="fallback: {lastGood: {maxAge: 60s}}" if where == "policy" else "", clock=clock)
    options: dict[str, Any] = {"fallback": LastGood(60)} if where == "argument" else {}
    script = Script("a", DownError(), DownError())
    key = [1]

    def ratings(product: object) -> object:
        del product
        return script()

    async def ratings_async(product: object) -> object:
        return ratings(product)

    governed = mesh.call("ratings", **options)(ratings if call is call_sync else ratings_async)

    def ask(product: object) -> object:
        answer = governed(product)
        return run_virtual(answer, clock) if inspect.isawaitable(answer) else answer

    assert [ask(1), ask(1)] == ["a", "a"]
    with pytest.raises(DownError):
        ask(2)
    with pytest.raises(DownError):
        ask(key)
    clock.advance(61.0)
    with pytest.raises(DownError):
        ask(1)


def test_last_good_knows_what_to_do_otherwise() -> None:
    """And refuses an age that cannot be."""
    mesh = load(NO_RETRY, clock=VirtualClock())
    assert call_sync(mesh, Script(DownError()), fallback=LastGood(60, lambda: "none")) == "none"
    with pytest.raises(ValueError, match="max_age"):
        LastGood(0)


@EITHER
def test_an_open_breaker_refuses(call: Any) -> None:
    """The ClientPolicy's; its error names what happened."""
    clock, script = VirtualClock(), Script(DownError(), DownError(), 5)
    mesh = load(NO_RETRY, policy=BREAKER, clock=clock)
    for _ in range(2):
        with pytest.raises(DownError):
            call(mesh, script)
    with pytest.raises(BreakerOpenError, match="circuit breaker open") as caught:
        call(mesh, script)
    assert (caught.value.status, caught.value.flags) == (503, ("UO",))
    clock.advance(10.0)
    assert [call(mesh, script) for _ in range(3)] == [5, 5, 5]


def test_ten_threads_go_through_one_breaker_side_by_side() -> None:
    """Each waits for the others inside the function: one at a time would never end."""
    mesh = load(policy=BREAKER, clock=VirtualClock())
    together = threading.Barrier(10)

    @mesh.call("ratings")
    def ratings() -> int:
        return together.wait(timeout=PATIENCE)

    results: list[int] = []
    threads = [threading.Thread(target=lambda: results.append(ratings())) for _ in range(10)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(results) == list(range(10))
    assert_at_rest(mesh)


def test_half_open_lets_one_of_two_hundred_through() -> None:
    """The others are refused at once."""
    clock = VirtualClock()
    mesh = load(NO_RETRY, policy=BREAKER, clock=clock)
    for _ in range(2):
        with pytest.raises(DownError):
            call_sync(mesh, Script(DownError()))
    clock.advance(10.0)

    @mesh.call("ratings")
    async def ratings() -> int:
        await asyncio.sleep(0.5)
        return 5

    async def stampede() -> Counter[str]:
        ends = await asyncio.gather(*(ratings() for _ in range(200)), return_exceptions=True)
        return Counter(str(type(end).__name__) for end in ends)

    assert run_virtual(stampede(), clock) == {"int": 1, "BreakerOpenError": 199}


def test_a_fallback_that_nobody_could_await_is_refused() -> None:
    """An asynchronous one of a plain function; and what cannot be called at all."""
    mesh = load(clock=VirtualClock())

    async def instead() -> int:
        return 6

    for fallback in (instead, LastGood(5.0, instead)):
        with pytest.raises(TypeError, match=r"fallback of .*ratings is asynchronous"):

            @mesh.call("ratings", fallback=fallback)
            def ratings() -> int:
                return 5

    with pytest.raises(TypeError, match=r"fallback is \[\], it is to be a function"):
        mesh.call("ratings", fallback=[])  # type: ignore[arg-type]
