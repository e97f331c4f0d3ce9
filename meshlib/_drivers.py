"""The only loops that send and sleep: one for threads, one for event loops. All decisions are the engine's."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Coroutine
from typing import Protocol, cast

from meshlib._engine.commands import Backoff, Command, Copy, Race, Reply, Send, Steps, Wait
from meshlib._engine.exchange import Exchange
from meshlib._hedging import AsyncRacer, SyncRacer, arace, race
from meshlib._http import Failure, FailureKind, Outcome, Response
from meshlib._timers import Timers

__all__ = ["AsyncTransport", "SyncTransport", "adrive", "agovern", "drive", "govern", "take_turn"]


class AsyncTransport(Protocol):
    """What an asynchronous adapter does for the engine."""

    async def send(self, send: Send) -> Outcome:
        """One attempt. Failures of the transport are outcomes; cancellation and the caller's own errors are raised."""
        ...

    async def discard(self, response: Response) -> None:
        """Let go of a response that will not be used."""
        ...

    def mirror(self, copy: Copy) -> None:
        """Start sending a copy, and forget it: it never delays or fails the call."""
        ...


class SyncTransport(Protocol):
    """What a synchronous adapter does for the engine; ``send`` itself keeps to ``send.timeout``."""

    def send(self, send: Send) -> Outcome: ...

    def discard(self, response: Response) -> None: ...

    def mirror(self, copy: Copy) -> None: ...


async def adrive(steps: Steps, transport: AsyncTransport, timers: Timers | None = None) -> Reply:
    """Run an exchange on the current event loop. Cancelled at any await, it closes the exchange and passes on.

    ``timers`` are those of the loop; who runs many exchanges on one loop keeps them.
    """
    outcome: Outcome | None = None
    try:
        while True:
            command: Command = steps.send(outcome)
            if type(command) is Send:
                if command.timeout is None:
                    outcome = await transport.send(command)
                else:
                    outcome = await _send_in_time(command, command.timeout, transport, timers or Timers())
                continue
            outcome = None
            outcome = await _otherwise(command, transport)
    except StopIteration as done:
        reply: Reply = done.value
        return reply
    except BaseException:
        steps.close()
        raise
    finally:
        del outcome  # the traceback of its error may lead back to this frame: no cycle


async def _otherwise(command: Command, transport: AsyncTransport) -> Outcome | None:
    """What is asked for more rarely than a plain attempt."""
    if type(command) is Race:  # of transports of requests only
        return await arace(command, cast("AsyncRacer", transport))
    if isinstance(command, Copy):
        transport.mirror(command)
    elif type(command) is Wait:
        await take_turn(command)
    else:
        assert isinstance(command, Backoff)
        if command.discard is not None:
            await transport.discard(command.discard)
        if command.seconds > 0.0:
            await asyncio.sleep(command.seconds)
    return None


async def agovern(exchange: Exchange, transport: AsyncTransport, timers: Timers, limit: float | None = None) -> Reply:
    """Run an exchange on the current event loop, as :func:`adrive` does; most need no generator for it.

    It is given up with a TimeoutError when it takes longer than ``limit`` seconds, those of the application
    itself; None: it has no such.
    """
    try:
        start = exchange.start()
        if start is None:
            steps = exchange.steps()
        elif isinstance(start, Send):
            seconds, is_limit = start.timeout, False
            if limit is not None and (seconds is None or seconds > limit):
                seconds, is_limit = limit, True
            entry = timers.start(seconds) if seconds is not None else None
            try:
                outcome = await transport.send(start)
            except BaseException as error:
                is_late = entry is not None and timers.stop(entry)
                if not (is_late and isinstance(error, asyncio.CancelledError)):
                    raise
                outcome = _late(error, is_limit=is_limit)
            else:
                if entry is not None:
                    timers.stop(entry)
            reply = exchange.settle(outcome)
            if reply is not None:
                return reply
            steps = exchange.resume(outcome)
        else:
            return start
    except BaseException:
        exchange.abandon()
        raise
    rest = adrive(steps, transport, timers)
    return await (rest if limit is None else _within(rest, limit - exchange.elapsed))


async def _within(rest: Coroutine[object, object, Reply], seconds: float) -> Reply:
    async with asyncio.timeout(max(seconds, 0.0)):
        return await rest


def _late(error: BaseException, *, is_limit: bool) -> Failure:
    """What becomes of an attempt that was cut off: a failure, unless the time of the whole exchange is over."""
    if is_limit:
        raise TimeoutError from error
    return Failure(FailureKind.TIMEOUT, sent=True)


async def _send_in_time(send: Send, seconds: float, transport: AsyncTransport, timers: Timers) -> Outcome:
    entry = timers.start(seconds)
    try:
        outcome = await transport.send(send)
    except asyncio.CancelledError:
        if timers.stop(entry):
            return Failure(FailureKind.TIMEOUT, sent=True)
        raise
    except BaseException:
        timers.stop(entry)
        raise
    timers.stop(entry)
    return outcome


async def take_turn(wait: Wait) -> None:
    """Return at the ticket's turn, whichever thread tells it, or when the time is over."""
    loop = asyncio.get_running_loop()
    turn = asyncio.Event()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: who waited is gone, its steps are closed
            loop.call_soon_threadsafe(turn.set)

    if wait.ticket.subscribe(wake):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(turn.wait(), wait.seconds)


def govern(exchange: Exchange, transport: SyncTransport) -> Reply:
    """Run an exchange on the current thread, as :func:`drive` does; most need no generator for it."""
    try:
        start = exchange.start()
        if start is None:
            steps = exchange.steps()
        elif isinstance(start, Send):
            outcome = transport.send(start)
            reply = exchange.settle(outcome)
            if reply is not None:
                return reply
            steps = exchange.resume(outcome)
        else:
            return start
    except BaseException:
        exchange.abandon()
        raise
    return drive(steps, transport)


def drive(steps: Steps, transport: SyncTransport) -> Reply:
    """Run an exchange on the current thread."""
    outcome: Outcome | None = None
    try:
        while True:
            command: Command = steps.send(outcome)
            if type(command) is Send:
                outcome = transport.send(command)
                continue
            if type(command) is Race:
                outcome = race(command, cast("SyncRacer", transport))
                continue
            outcome = None
            if isinstance(command, Copy):
                transport.mirror(command)
                continue
            if type(command) is Wait:
                turn = threading.Event()
                if command.ticket.subscribe(turn.set):
                    turn.wait(command.seconds)
                continue
            assert isinstance(command, Backoff)
            if command.discard is not None:
                transport.discard(command.discard)
            if command.seconds > 0.0:
                time.sleep(command.seconds)
    except StopIteration as done:
        reply: Reply = done.value
        return reply
    finally:
        steps.close()
        del outcome
