"""How drivers send two attempts at the same time: as tasks of an event loop, or in threads.

Only exchanges whose policy has ``hedging`` come here. On an event loop the attempt that
lost is cancelled and awaited, so that nothing of it is left when the answer is given. A
thread cannot be cancelled: its socket is shut down, which ends its wait at once, and what
it gets nevertheless is dropped; where there is no socket yet (a name is looked up, a
connection is made) or none of its own (HTTP/2, a transport of the application), it ends
by its own timeouts, while the answer has long been given.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import os
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Final, Protocol, TypeAlias

from meshlib._engine.commands import Race, Send
from meshlib._http import Failure, FailureKind, Headers, Outcome, Response

__all__ = ["AsyncRacer", "SyncRacer", "arace", "race"]


class AsyncRacer(Protocol):
    """What a race asks of an asynchronous transport."""

    async def send(self, send: Send) -> Outcome: ...

    async def discard(self, response: Response) -> None: ...

    def beside(self, headers: Headers) -> AsyncRacer | None:
        """The same request with these headers, for an attempt at the same time; None where that cannot be."""
        ...

    def adopt(self, winner: AsyncRacer) -> None:
        """Go on with the attempt that ``winner``, made by :meth:`beside`, has sent."""
        ...


class SyncRacer(Protocol):
    """What a race asks of a synchronous transport."""

    def send(self, send: Send) -> Outcome: ...

    def discard(self, response: Response) -> None: ...

    def beside(self, headers: Headers) -> SyncRacer | None:
        """The same request with these headers, for an attempt at the same time; None where that cannot be."""
        ...

    def adopt(self, winner: SyncRacer) -> None:
        """Go on with the attempt that ``winner``, made by :meth:`beside`, has sent."""
        ...

    def abort(self) -> None:
        """Have the attempt on its way end soon. Called on another thread than ``send``."""
        ...


async def arace(race: Race, transport: AsyncRacer) -> Outcome:
    """The outcome of the better of two attempts, the second of which starts if the first is slow."""
    running: dict[asyncio.Task[Outcome], AsyncRacer] = {_start(race.first, transport): transport}
    try:
        await asyncio.wait(running, timeout=race.delay)
        if not any(one.done() for one in running):
            second = transport.beside(race.headers)
            send = race.enter() if second is not None else None
            if second is not None and send is not None:
                running[_start(send, second)] = second
        winner = await _winner(race, list(running))
    except BaseException:
        await _end(running)
        raise
    adopted = running.pop(winner)
    try:
        await _end(running)
    except BaseException:
        await _end({winner: adopted})
        raise
    if adopted is not transport:
        transport.adopt(adopted)
    return _outcome(winner)


def _start(send: Send, transport: AsyncRacer) -> asyncio.Task[Outcome]:
    return asyncio.ensure_future(_send_in_time(send, transport))


async def _send_in_time(send: Send, transport: AsyncRacer) -> Outcome:
    limit = asyncio.timeout(send.timeout)
    try:
        async with limit:
            return await transport.send(send)
    except TimeoutError:
        if not limit.expired():
            raise
        return Failure(FailureKind.TIMEOUT, sent=True)


async def _winner(race: Race, tasks: list[asyncio.Task[Outcome]]) -> asyncio.Task[Outcome]:
    """The first with a good answer, else the one that was started last; what the first raises is raised."""
    waiting = set(tasks)
    while waiting:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for number, one in enumerate(tasks):
            if one not in done:
                continue
            if number == 0:
                one.result()
            if race.ended(number, _outcome(one)):
                race.winner = number
                return one
    race.winner = len(tasks) - 1
    return tasks[-1]


def _outcome(task: asyncio.Task[Outcome]) -> Outcome:
    """What came back; that of a task which raised the application's own error is a reset."""
    if task.cancelled():
        return Failure(FailureKind.LOCAL_RESET, sent=True)
    error = task.exception()
    return task.result() if error is None else Failure(FailureKind.LOCAL_RESET, sent=True, error=error)


async def _end(running: dict[asyncio.Task[Outcome], AsyncRacer]) -> None:
    """Cancel what is on its way and let go of what has come."""
    waiting = [one for one in running if not one.done()]
    for one in waiting:
        one.cancel()
    try:
        if waiting:
            await asyncio.wait(waiting)
    finally:
        for one, transport in running.items():
            if one.done() and not one.cancelled() and one.exception() is None:
                outcome = one.result()
                if isinstance(outcome, Response):
                    await transport.discard(outcome)


# -- threads -------------------------------------------------------------------------------------------

_IDLE_SECONDS: Final = 5.0
Ends: TypeAlias = "SimpleQueue[tuple[int, Outcome | BaseException]]"


def race(race: Race, transport: SyncRacer) -> Outcome:
    """The same in threads: the caller's waits, each attempt has one of its own."""
    own = transport.beside(Headers(race.headers))
    if own is None:
        return transport.send(race.first)
    ends: Ends = SimpleQueue()
    runs = [_Run(0, own, race.first, ends)]
    winner: _Run | None = None
    try:
        end = _first(ends, race.delay)
        if end is None:
            second = transport.beside(race.headers)
            send = race.enter() if second is not None else None
            if second is not None and send is not None:
                runs.append(_Run(1, second, send, ends))
        winner, outcome = _judge(race, runs, ends, end)
        transport.adopt(winner.transport)
        return outcome
    finally:
        for one in runs:
            if one is not winner:
                one.give_up()


def _first(ends: Ends, delay: float) -> tuple[int, Outcome | BaseException] | None:
    with contextlib.suppress(Empty):
        return ends.get(timeout=delay) if delay > 0 else ends.get_nowait()
    return None


def _judge(
    race: Race, runs: list[_Run], ends: Ends, end: tuple[int, Outcome | BaseException] | None
) -> tuple[_Run, Outcome]:
    """As :func:`_winner`."""
    outcomes: dict[int, Outcome] = {}
    while len(outcomes) < len(runs):
        number, outcome = end or ends.get()
        end = None
        if isinstance(outcome, BaseException):
            if number == 0:
                raise outcome
            outcome = Failure(FailureKind.LOCAL_RESET, sent=True, error=outcome)
        outcomes[number] = outcome
        if race.ended(number, outcome):
            race.winner = number
            return runs[number], outcome
    race.winner = len(runs) - 1
    return runs[-1], outcomes[race.winner]


class _Run:
    """One attempt in a thread of its own."""

    def __init__(self, number: int, transport: SyncRacer, send: Send, ends: Ends) -> None:
        self.transport = transport
        self._number = number
        self._send = send
        self._ends = ends
        self._lock = threading.Lock()
        self._is_given_up = self._is_over = False
        self._outcome: Outcome | BaseException | None = None
        context = contextvars.copy_context()
        _workers.start(lambda: context.run(self._run))

    def _run(self) -> None:
        try:
            outcome: Outcome | BaseException = self.transport.send(self._send)
        except BaseException as error:  # noqa: BLE001 - belongs to who waits for it
            outcome = error
        with self._lock:
            self._is_over, is_wanted = True, not self._is_given_up
            if is_wanted:
                self._outcome = outcome
                self._ends.put((self._number, outcome))
        if not is_wanted and isinstance(outcome, Response):
            self.transport.discard(outcome)

    def give_up(self) -> None:
        """Nobody wants it any more."""
        with self._lock:
            self._is_given_up, outcome = True, self._outcome
        if isinstance(outcome, Response):
            self.transport.discard(outcome)
        elif not self._is_over:
            self.transport.abort()


class _Workers:
    """Threads that are kept a while for the next attempt. None of them keeps the process from its end."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._idle: list[SimpleQueue[Callable[[], None]]] = []

    def start(self, job: Callable[[], None]) -> None:
        """Run ``job`` at once."""
        if self._process != os.getpid():  # the threads of the parent are not here
            self.__init__()  # type: ignore[misc]
        with self._lock:
            idle = self._idle.pop() if self._idle else None
        if idle is None:
            jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
            jobs.put(job)
            threading.Thread(target=self._work, args=(jobs,), name="meshlib-hedged", daemon=True).start()
        else:
            idle.put(job)

    def _work(self, jobs: SimpleQueue[Callable[[], None]]) -> None:
        while True:
            try:
                job = jobs.get(timeout=_IDLE_SECONDS)
            except Empty:
                with self._lock:
                    if jobs in self._idle:
                        self._idle.remove(jobs)
                        return
                job = jobs.get()  # it was handed out just now
            job()
            del job  # what it holds is not kept while the thread is idle
            with self._lock:
                self._idle.append(jobs)

    def __repr__(self) -> str:
        return f"<Workers idle={len(self._idle)}>"


_workers: Final = _Workers()
