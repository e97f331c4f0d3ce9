"""Blocking code on virtual time: clients without an event loop, WSGI applications, code that sleeps.

Blocking code runs in a thread of its own, and only ever one thread runs: the loop stands
still until the thread waits for something of the simulation (an answer, a sleep), then
goes on until that has come. So the order of everything is the same in every run.

Threads that such code starts itself are strangers: a call of theirs wakes the loop, which
serves it while the thread that started them waits for them, as far as anybody can tell.
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Final, SupportsIndex, TypeAlias, TypeVar

from meshlib.testing.clock import VirtualClock
from meshlib.testing.memory_loop import MemoryLoop

__all__ = ["Blocking", "run_in_memory"]

T = TypeVar("T")

_SLEEP: Final = time.sleep
_MONOTONIC: Final = time.monotonic
_TIME: Final = time.time


class _Strangers:
    """Says that other threads have work for the loop."""


Asked: TypeAlias = Coroutine[Any, Any, Any] | _Strangers | None


class _Worker:
    """One thread of blocking code; the loop and the thread take turns."""

    def __init__(self, function: Callable[[], Any], on_ask: Callable[[], None]) -> None:
        self._mine = threading.Semaphore(0)
        self._on_ask = on_ask
        self._answer: Future[Any] = Future()
        self.asked: queue.SimpleQueue[Asked] = queue.SimpleQueue()
        """What it wants: a coroutine's result, or nothing more; and that there are strangers."""
        self.result: Future[Any] = Future()
        context = contextvars.copy_context()
        self._thread = threading.Thread(
            target=self._run, args=(context, function), name="meshlib-blocking", daemon=True
        )
        self._thread.start()

    def _run(self, context: contextvars.Context, function: Callable[[], Any]) -> None:
        self._mine.acquire()
        _here.worker = self
        try:
            self.result.set_result(context.run(function))
        except BaseException as error:  # noqa: BLE001 - whatever it is belongs to who waits for the result
            self.result.set_exception(error)
        self._ask(None)

    def _ask(self, asked: Asked) -> None:
        self.asked.put(asked)
        self._on_ask()

    def ask(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """In the thread: have the loop run a coroutine, and wait for its result."""
        self._ask(coroutine)
        self._mine.acquire()
        answer: Future[T] = self._answer
        return answer.result()

    def go_on(self, answer: Future[Any] | None = None) -> None:
        """In the loop: let the thread run, with what came of the coroutine that it asked for."""
        if answer is not None:
            self._answer = answer
        self._mine.release()


class _Here(threading.local):
    worker: _Worker | None = None


_here = _Here()


class Blocking:
    """Joins blocking code with the loop of a simulation."""

    @classmethod
    def of(cls, loop: MemoryLoop) -> Blocking:
        """The one of a loop."""
        found = loop.blocking
        if found is None:
            found = loop.blocking = cls(loop)  # not in a table: it knows the loop, which would never be let go of
        assert isinstance(found, cls)
        return found

    def __init__(self, loop: MemoryLoop) -> None:
        self._loop = loop
        self._waiting = 0  # threads of others that wait for the loop
        self._strangers = 0  # those and the ones that are about to; under the lock
        self._lock = threading.Lock()
        self._turning: _Worker | None = None  # the thread that the loop stands still for
        self._changed = asyncio.Event()
        self._limiter: Any = None
        loop.selector.busy_threads = self._busy
        loop.run_blocking = self.run

    def _busy(self) -> int:
        """How many of anyio's threads run application code: FastAPI and Starlette have `def` endpoints in them."""
        return 0 if self._limiter is None else max(int(self._limiter.borrowed_tokens) - self._waiting, 0)

    def watch_threads(self) -> None:
        """In a task of the loop: keep the clock still while one of anyio's threads works."""
        anyio = sys.modules.get("anyio.to_thread") if self._limiter is None else None
        if anyio is not None:
            self._limiter = anyio.current_default_thread_limiter()

    async def _watched(self, coroutine: Coroutine[Any, Any, T]) -> T:
        self.watch_threads()
        return await coroutine

    async def run(self, function: Callable[[], T]) -> T:
        """In the loop: run a blocking function, on virtual time."""
        worker = _Worker(function, self._wake)
        worker.go_on()
        while (asked := await self._hear(worker)) is not None:
            answer: Future[Any] = Future()
            try:
                answer.set_result(await asked)
            except BaseException as error:  # noqa: BLE001 - raised in the thread, which ends by it
                answer.set_exception(error)
            worker.go_on(answer)
        result: Future[T] = worker.result
        return result.result()

    async def _hear(self, worker: _Worker) -> Coroutine[Any, Any, Any] | None:
        """What a thread asks for next; None: it is done. The loop stands still for it, unless strangers call."""
        while True:
            with self._lock:
                is_alone = not self._strangers
                self._turning = worker if is_alone else None
            try:
                asked = worker.asked.get(block=is_alone)
            except queue.Empty:
                self._changed.clear()
                if worker.asked.empty():  # else it asked in between, and nobody would tell again
                    await self._changed.wait()
                continue
            finally:
                self._turning = None
            if not isinstance(asked, _Strangers):
                return asked

    def _wake(self) -> None:
        """In a thread: it asked, and the loop may not be standing still for it."""
        if self._strangers:
            self._loop.call_soon_threadsafe(self._changed.set)

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """In blocking code: run a coroutine on virtual time and return its result, wherever this is."""
        if _here.worker is not None:
            return _here.worker.ask(coroutine)
        running = asyncio._get_running_loop()
        if self._loop.is_closed():
            coroutine.close()
            raise RuntimeError("the simulation is closed: calls are made within its with block, or before close()")
        if running is self._loop:
            coroutine.close()
            raise RuntimeError(
                "a blocking call would stop the simulation's event loop; in a coroutine await sim.client.call(…), "
                "or give what blocks to asyncio.to_thread"
            )
        if running is not None:
            return self._elsewhere(coroutine)
        if self._loop.is_running():
            return self._from_outside(coroutine)
        with self.patched_time():
            return self._loop.run_until_complete(self._watched(coroutine))

    def _elsewhere(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Another loop runs in this thread, so ours runs in another thread; this one waits."""
        result: Future[T] = Future()
        context = contextvars.copy_context()

        def main() -> None:
            try:
                result.set_result(context.run(self.wait, coroutine))
            except BaseException as error:  # noqa: BLE001 - belongs to who waits
                result.set_exception(error)

        thread = threading.Thread(target=main, name="meshlib-simulation")
        thread.start()
        thread.join()
        return result.result()

    def _from_outside(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """A thread that the application made, while the loop runs."""
        result: Future[T] = Future()

        async def counted() -> None:
            self._waiting += 1  # only ever changed in the loop's thread
            try:
                result.set_result(await coroutine)
            except BaseException as error:  # noqa: BLE001 - belongs to who waits
                result.set_exception(error)
            finally:
                self._waiting -= 1
                with self._lock:
                    self._strangers -= 1  # after the result: the loop may stand still from now on
                self._changed.set()

        with self._lock:
            self._strangers += 1
            turning = self._turning
        served = asyncio.run_coroutine_threadsafe(counted(), self._loop)
        served.add_done_callback(lambda ended: ended.cancelled() and result.cancel())  # before it began
        if turning is not None:
            turning.asked.put(_Strangers())
        return result.result()

    # -- the clock of code that asks the system ------------------------------------------------------

    @contextmanager
    def patched_time(self) -> Iterator[None]:
        """Within, :func:`time.sleep`, :func:`time.monotonic` and :func:`time.time` are those of the simulation.

        Only for its own threads; all others get the system's.
        """
        before = time.sleep, time.monotonic, time.time
        owner = threading.get_ident()
        clock = self._loop.clock

        def is_ours() -> bool:
            return threading.get_ident() == owner or _here.worker is not None or self._is_applications()

        def sleep(seconds: float | SupportsIndex, /) -> None:
            if is_ours():
                self.sleep(float(seconds))
            else:
                _SLEEP(seconds)

        time.sleep = sleep
        time.monotonic = lambda: clock.monotonic() if is_ours() else _MONOTONIC()
        time.time = lambda: clock.time() if is_ours() else _TIME()
        try:
            yield
        finally:
            time.sleep, time.monotonic, time.time = before

    def _is_applications(self) -> bool:
        return self._limiter is not None and threading.current_thread().name.startswith("AnyIO worker")

    def sleep(self, seconds: float) -> None:
        """Let virtual time pass in blocking code; in the loop itself everybody waits, as with any loop."""
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        if _here.worker is None and asyncio._get_running_loop() is self._loop:
            self._loop.clock.advance(seconds)
        else:
            self.wait(asyncio.sleep(seconds))


def run_in_memory(main: Coroutine[Any, Any, T], clock: VirtualClock | None = None) -> T:
    """Run a coroutine on virtual time; simulations that it makes take part in its loop."""
    loop = MemoryLoop(clock or VirtualClock())
    try:
        return Blocking.of(loop).wait(main)
    finally:
        loop.close()
