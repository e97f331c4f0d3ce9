"""The drivers' deadlines: whatever an attempt does when it is cut off, its task is left as it was."""

from __future__ import annotations

import asyncio

import pytest

from meshlib._drivers import adrive, agovern
from meshlib._engine.commands import LocalReply, Send
from meshlib._http import Headers, Outcome, Response
from meshlib._timers import Timers
from meshlib.testing import Answer, ScriptedTransport, VirtualClock, run_virtual
from tests.mesh_builders import begin, make_cluster, make_runtime, make_snapshot


class Stubborn:
    """An attempt that turns its cancellation into something else."""

    def __init__(self, *, raises: bool) -> None:
        self._raises = raises

    async def send(self, send: Send) -> Outcome:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            if self._raises:
                raise OSError("converted") from None
        return Response(200, Headers())

    async def discard(self, response: Response) -> None:
        """Nothing to let go of."""


@pytest.mark.parametrize("raises", [True, False])
def test_a_deadline_takes_its_cancellation_back_however_the_attempt_ends(raises: bool) -> None:
    """Else an enclosing asyncio.timeout or TaskGroup would take it for a cancellation of its own."""

    async def call() -> int:
        runtime = make_runtime(make_snapshot(make_cluster(1), timeout=0.5), clock=clock)
        exchange = begin(runtime)
        task = asyncio.current_task()
        assert task is not None
        try:
            await adrive(exchange.steps(), Stubborn(raises=raises))
        except OSError:
            assert raises
        exchange.finish()
        return task.cancelling()

    clock = VirtualClock()
    assert run_virtual(call(), clock) == 0


def test_a_cancellation_from_outside_is_not_taken_for_a_timeout() -> None:
    """Both at the same instant: the caller's wins."""

    async def call() -> None:
        runtime = make_runtime(make_snapshot(make_cluster(1), timeout=0.5), clock=clock)
        exchange = begin(runtime)
        task = asyncio.get_running_loop().create_task(
            adrive(exchange.steps(), ScriptedTransport(Answer(delay=60.0)), Timers())
        )
        asyncio.get_running_loop().call_at(clock.monotonic() + 0.5, task.cancel)
        await asyncio.wait([task])
        assert task.cancelled()

    clock = VirtualClock()
    run_virtual(call(), clock)


def test_many_different_timeouts_each_end_in_time() -> None:
    """More than have a queue of their own."""

    async def call(seconds: float) -> float:
        runtime = make_runtime(make_snapshot(make_cluster(1), timeout=seconds), clock=clock)
        exchange = begin(runtime)
        started = clock.monotonic()
        reply = await adrive(exchange.steps(), ScriptedTransport(Answer(delay=600.0)), timers)
        assert isinstance(reply, LocalReply)
        return clock.monotonic() - started

    async def main() -> list[float]:
        nonlocal timers
        timers = Timers()
        return await asyncio.gather(*(call(0.5 + number / 100) for number in range(100)))

    timers: Timers | None = None
    clock = VirtualClock()
    took = run_virtual(main(), clock)
    assert took == pytest.approx([0.5 + number / 100 for number in range(100)], abs=1e-5)


def test_a_slow_attempt_keeps_none_of_the_quick_ones() -> None:
    """What is over is let go though it stands behind one that is not, and that one still ends in time."""

    async def slow() -> float:
        entry = timers.start(5.0)
        try:
            await asyncio.sleep(60.0)
        except asyncio.CancelledError:
            assert timers.stop(entry)
        return clock.monotonic()

    async def main() -> tuple[float, int]:
        nonlocal timers
        timers = Timers()
        task = asyncio.ensure_future(slow())
        await asyncio.sleep(0)
        most = 0
        for _ in range(10_000):
            timers.stop(timers.start(5.0))
            most = max(most, len(timers._queues[5.0].running))
        return await task, most

    clock = VirtualClock()
    timers: Timers
    began = clock.monotonic()
    ended, most = run_virtual(main(), clock)
    assert ended - began == pytest.approx(5.0, abs=1e-5)
    assert most <= 2


@pytest.mark.parametrize("limit", [0.3, 0.5, 0.7])
def test_a_limit_of_the_application_is_not_the_meshs_timeout(limit: float) -> None:
    """The sooner of the two ends the exchange: with an error of the application's, or with the mesh's reply."""

    async def call() -> object:
        runtime = make_runtime(make_snapshot(make_cluster(1), timeout=0.5), clock=clock)
        exchange = begin(runtime)
        try:
            reply = await agovern(exchange, ScriptedTransport(Answer(delay=60.0)), Timers(), limit)
        except TimeoutError as error:
            assert exchange.flags == ("DC",)
            return type(error)
        return reply.status

    clock = VirtualClock()
    assert run_virtual(call(), clock) == (TimeoutError if limit < 0.5 else 504)
