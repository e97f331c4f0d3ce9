"""stop, wait and retry of the real tenacity, obeyed by the mesh's own loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import tenacity
from tenacity import RetryCallState

from meshlib.events import RetryScheduled
from meshlib.testing import VirtualClock
from tests.calls.meshes import EITHER, NO_RETRY, RETRY, DownError, Script, assert_at_rest, call_async, call_sync, load


@EITHER
@pytest.mark.parametrize("route", [NO_RETRY, RETRY])
def test_stop_replaces_the_attempts_of_the_route(call: Any, route: str) -> None:
    """Whatever those are; `retry` says that the exception is to be retried at all."""
    mesh, script = load(route, clock=VirtualClock()), Script(DownError())
    with pytest.raises(DownError):
        call(mesh, script, stop=tenacity.stop_after_attempt(6), retry=tenacity.retry_if_exception_type(DownError))
    assert script.calls == 6
    assert_at_rest(mesh)


@EITHER
def test_stop_alone_leaves_the_conditions_to_the_route(call: Any) -> None:
    """A 500 is retried under 5xx; under connect-failure it is not."""
    for retry_on, calls in (("5xx", 6), ("connect-failure", 1)):
        route = f"retries: {{attempts: 1, retryOn: '{retry_on}', backoff: 1ms}}"
        mesh, script = load(route, clock=VirtualClock()), Script(DownError())
        with pytest.raises(DownError):
            call(mesh, script, stop=tenacity.stop_after_attempt(6))
        assert script.calls == calls


@EITHER
def test_retry_may_dislike_results(call: Any) -> None:
    """And like exceptions that the route would retry."""
    mesh, script = load(RETRY, clock=VirtualClock()), Script(None, None, 5)
    assert call(mesh, script, retry=tenacity.retry_if_result(lambda result: result is None)) == 5
    script = Script(DownError())
    with pytest.raises(DownError):
        call(mesh, script, retry=tenacity.retry_if_exception_type(KeyError))
    assert script.calls == 1
    script = Script(None)
    assert call(mesh, script, retry=tenacity.retry_if_result(lambda result: result is None)) is None
    assert script.calls == 4  # as often as the route says, where stop is not given
    assert_at_rest(mesh)


def test_wait_replaces_the_backoff() -> None:
    """In the mesh's own time."""
    clock = VirtualClock()
    mesh, waits = load(RETRY, clock=clock), []
    mesh.observe(waits.append, RetryScheduled)
    exponential = tenacity.wait_exponential(multiplier=2, max=5)
    assert call_async(mesh, Script(DownError(), DownError(), DownError(), 5), wait=exponential) == 5
    assert [event.backoff for event in waits] == [2.0, 4.0, 5.0]
    assert clock.monotonic() == 11.0


@pytest.mark.parametrize(
    ("stop", "calls", "seconds"),
    [
        (tenacity.stop_after_delay(10), 5, 12.0),  # 3 s a wait: the attempt at 12 s is the first after 10 s
        (tenacity.stop_before_delay(10), 4, 9.0),
        (tenacity.stop_after_attempt(3), 3, 6.0),
        (tenacity.stop_after_attempt(9) | tenacity.stop_before_delay(4), 2, 3.0),
    ],
)
def test_stops_by_time_go_by_the_clock_of_the_mesh(
    stop: Callable[[RetryCallState], bool], calls: int, seconds: float
) -> None:
    """And know the wait that would come."""
    clock, script = VirtualClock(), Script(DownError())
    mesh = load(RETRY, clock=clock)
    with pytest.raises(DownError):
        call_async(mesh, script, stop=stop, wait=tenacity.wait_fixed(3))
    assert (script.calls, clock.monotonic()) == (calls, seconds)


def test_what_tenacity_sees_of_a_call() -> None:
    """Function, arguments, the number of the attempt and its end."""
    seen: list[tuple[Any, ...]] = []

    def retry(state: RetryCallState) -> bool:
        assert state.outcome is not None
        end = state.outcome.exception() if state.outcome.failed else state.outcome.result()
        seen.append((state.get_fn_name().rpartition(".")[2], state.args, state.kwargs, state.attempt_number, end))
        return bool(state.outcome.failed)

    error = DownError()
    script = Script(error, 5)
    mesh = load(RETRY, clock=VirtualClock())

    @mesh.call("ratings", retry=retry)
    def ratings(product: int, *, limit: int) -> object:
        del product, limit
        return script()

    assert ratings(1, limit=2) == 5
    assert seen == [("ratings", (1,), {"limit": 2}, 1, error), ("ratings", (1,), {"limit": 2}, 2, 5)]


def test_the_limits_of_the_destination_hold_all_the_same() -> None:
    """The route's timeout ends what tenacity would go on with."""
    clock, script = VirtualClock(), Script(DownError())
    mesh = load("timeout: 5s, " + RETRY, clock=clock)
    with pytest.raises(TimeoutError) as caught:
        call_async(mesh, script, stop=tenacity.stop_never, wait=tenacity.wait_fixed(2))
    assert (script.calls, clock.monotonic()) == (3, 5.0)
    assert isinstance(caught.value.__cause__, DownError)
    assert_at_rest(mesh)


def test_rules_that_would_have_to_be_awaited_are_refused() -> None:
    """When the function is decorated."""
    mesh = load(clock=VirtualClock())

    async def retry(state: RetryCallState) -> bool:
        return bool(state)

    for rule in (retry, tenacity.asyncio.retry_if_exception(lambda _: True)):
        with pytest.raises(TypeError, match="not an asynchronous one"):
            mesh.call("ratings", retry=rule)  # type: ignore[arg-type]


def test_a_good_call_makes_no_detour() -> None:
    """Neither tenacity's loop nor its state is used for a call without `retry`."""
    mesh = load(clock=VirtualClock())
    asked: list[RetryCallState] = []

    def stop(state: RetryCallState) -> bool:
        asked.append(state)
        return True

    assert call_sync(mesh, Script(5), stop=stop) == 5
    assert asked == []
