"""The contract of clients on event loops: a call can be cancelled at each of its steps, and nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Coroutine, Generator
from typing import Any

import pytest

from tests.adapters.contract.conftest import URL, Kit
from tests.adapters.contract.test_hedging import HANG, hang_up, hedging, pair
from tests.patience import until

STEPS = 100


class CancelledAt:
    """A coroutine whose task is cancelled at its step number ``step``: when it begins to wait there.

    With ``late`` when what it waits for has just come: the result is thrown away for the cancellation.
    """

    def __init__(self, work: Coroutine[Any, Any, Any], step: int, *, late: bool) -> None:
        self._work = work
        self._step = step
        self._late = late

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._work.__await__()
        go_on, value = steps.send, None
        for step in range(1, STEPS):
            try:
                waiting = go_on(value)
            except StopIteration as end:
                return end.value
            if step == self._step:
                self._cancel(waiting)
            try:
                go_on, value = steps.send, (yield waiting)
            except BaseException as error:  # noqa: BLE001 - whatever comes is the coroutine's
                go_on, value = steps.throw, error  # type: ignore[assignment]
        raise AssertionError("the call has more steps than the test expects")

    def _cancel(self, waiting: asyncio.Future[Any] | None) -> None:
        task = asyncio.current_task()
        assert task is not None
        if self._late and waiting is not None:
            waiting.add_done_callback(lambda _: task.cancel())
        else:
            task.cancel()


def is_cancelled_at(client: Any, step: int, *, late: bool, method: str = "POST") -> bool:
    """Make a call and cancel it; whether it came that far."""

    async def body() -> object:
        return await CancelledAt(client.arequest(method, URL, body=b"x" * 100), step, late=late)

    async def main() -> bool:
        try:
            await asyncio.ensure_future(body())
        except asyncio.CancelledError:
            return True
        return False

    done: bool = client.run(main())
    return done


@pytest.mark.parametrize("late", [False, True], ids=["while-it-waits", "when-it-has-come"])
def test_a_call_can_be_cancelled_at_each_step(async_kit: Kit, late: bool) -> None:
    """Also in the middle of connecting and of the handshake: counters are right, no socket is left to the collector."""
    kit = async_kit
    kit.upstream()
    kit.mesh(route={"timeout": "90s"})
    step = 1
    gc.collect()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        while is_cancelled_at(kit.client(), step, late=late):
            kit.close_clients()
            assert kit.at_rest(), step
            gc.collect()
            assert [str(one.message) for one in warned] == [], step
            step += 1
    assert step > 3


def test_a_cancelled_call_cancels_both_attempts(async_kit: Kit) -> None:
    """While a second one is beside the first: both connections are closed, no task is left."""
    kit = async_kit
    servers = pair(kit, HANG, HANG)
    kit.mesh(more=[hedging()])
    client = kit.client()

    async def main() -> int:
        call = asyncio.ensure_future(client.arequest("GET", URL))
        await until(lambda: sum(len(one.seen) for one in servers) == 2)
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()
        return len(asyncio.all_tasks())

    assert client.run(main()) == 1
    assert kit.at_rest()
    kit.until(client, hang_up(*servers, times=2))


@pytest.mark.parametrize("late", [False, True], ids=["while-it-waits", "when-it-has-come"])
def test_a_hedged_call_can_be_cancelled_at_each_step(async_kit: Kit, late: bool) -> None:
    """Whatever both attempts are doing: counters are right, no socket is left to the collector."""
    kit = async_kit
    pair(kit)
    kit.mesh(more=[hedging("1ms")])
    step = 1
    gc.collect()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        while is_cancelled_at(kit.client(), step, late=late, method="GET"):
            kit.close_clients()
            assert kit.at_rest(), step
            gc.collect()
            assert [str(one.message) for one in warned] == [], step
            step += 1
    assert step > 1
