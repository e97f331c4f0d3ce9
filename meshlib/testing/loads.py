"""When simulated requests are made: at intervals, by chance, in bursts, or by users who wait for their answers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from meshlib.testing.latency import Latency

__all__ = ["Bursts", "Every", "Load", "Poisson", "Users", "launch", "one_by_one", "run_users"]

One: TypeAlias = Callable[[int], Coroutine[Any, Any, None]]
"""Makes the request of a number."""


class Load(Protocol):
    """Requests that come whether or not those before were answered."""

    def instants(self, chance: random.Random) -> Iterator[float]:
        """Seconds from the start, one for each request, never going back."""
        ...


@dataclass(frozen=True, slots=True)
class Every:
    """One request each ``seconds``."""

    seconds: float

    def instants(self, chance: random.Random) -> Iterator[float]:
        """0, 1, 2 … intervals after the start."""
        number = 0
        while True:
            yield number * self.seconds
            number += 1


@dataclass(frozen=True, slots=True)
class Poisson:
    """Requests independent of each other, ``rate`` a second on average."""

    rate: float

    def __post_init__(self) -> None:
        """Raise ValueError for a rate at which none would ever come."""
        if not self.rate > 0:
            raise ValueError(f"rate is {self.rate!r} requests a second, it is to be more than 0")

    def instants(self, chance: random.Random) -> Iterator[float]:
        """With exponentially distributed gaps."""
        now = 0.0
        while True:
            now += chance.expovariate(self.rate)
            yield now


@dataclass(frozen=True, slots=True, kw_only=True)
class Bursts:
    """``size`` requests at once, each ``every`` seconds."""

    size: int
    every: float

    def __post_init__(self) -> None:
        """Raise ValueError for bursts of nothing."""
        if self.size < 1:
            raise ValueError(f"size is {self.size!r} requests, it is to be 1 or more")

    def instants(self, chance: random.Random) -> Iterator[float]:
        """Equal instants for the requests of a burst."""
        number = 0
        while True:
            yield number // self.size * self.every
            number += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Users:
    """``count`` users, each waiting for its answer and then ``think`` before its next request."""

    count: int
    think: Latency = 0.0


async def one_by_one(one: One, times: int) -> None:
    """Each request when the one before was answered."""
    for number in range(times):
        await one(number)


async def run_users(one: One, times: int, users: Users, chance: random.Random) -> None:
    """Users share the requests out among themselves."""
    numbers = iter(range(times))

    async def user() -> None:
        for number in numbers:
            await one(number)
            await asyncio.sleep(users.think if isinstance(users.think, float | int) else users.think(chance))

    async with asyncio.TaskGroup() as group:
        for _ in range(users.count):
            group.create_task(user())


async def launch(one: One, instants: Iterator[float]) -> None:
    """Each request at its instant; returns when all are answered."""
    launching = _Launching(one, instants)
    try:
        await launching.done
    finally:
        launching.stop()


class _Launching:
    """Starts requests from the loop's own timers: no task wakes up for each, which would cost much of a request."""

    def __init__(self, one: One, instants: Iterator[float]) -> None:
        self._one = one
        self._instants = enumerate(instants)
        self._loop = asyncio.get_running_loop()
        self._begin = self._loop.time()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._left = 1  # the launching itself counts
        self.done: asyncio.Future[None] = self._loop.create_future()
        self._start(next(self._instants, None))

    def _start(self, due: tuple[int, float] | None) -> None:
        """Start what is due, and set the timer for what comes next."""
        while due is not None:
            number, instant = due
            if self._begin + instant > self._loop.time():
                self._timer = self._loop.call_at(self._begin + instant, self._start, due)
                return
            self._left += 1
            self._tasks.add(self._loop.create_task(self._run(number)))
            due = next(self._instants, None)
        self._finish()

    async def _run(self, number: int) -> None:
        try:
            await self._one(number)
        except Exception as error:  # noqa: BLE001 - raised where the load is waited for
            if not self.done.done():
                self.done.set_exception(error)
        finally:
            self._tasks.discard(asyncio.current_task())
            self._finish()

    def _finish(self) -> None:
        self._left -= 1
        if not self._left and not self.done.done():
            self.done.set_result(None)

    def stop(self) -> None:
        """Nothing more is started, and nothing goes on."""
        if self._timer is not None:
            self._timer.cancel()
        for task in list(self._tasks):
            task.cancel()
