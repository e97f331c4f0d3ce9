"""The only loops that send and sleep: one for threads, one for event loops. All decisions are the engine's."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from meshlib._engine.commands import Command, Reply, Send, Steps
from meshlib._http import Failure, FailureKind, Outcome, Response

__all__ = ["AsyncTransport", "SyncTransport", "adrive", "drive"]


class AsyncTransport(Protocol):
    """What an asynchronous adapter does for the engine."""

    async def send(self, send: Send) -> Outcome:
        """One attempt. Failures of the transport are outcomes; cancellation and the caller's own errors are raised."""
        ...

    async def discard(self, response: Response) -> None:
        """Let go of a response that will not be used."""
        ...


class SyncTransport(Protocol):
    """What a synchronous adapter does for the engine; ``send`` itself keeps to ``send.timeout``."""

    def send(self, send: Send) -> Outcome: ...

    def discard(self, response: Response) -> None: ...


async def adrive(steps: Steps, transport: AsyncTransport) -> Reply:
    """Run an exchange on the current event loop. Cancelled at any await, it closes the exchange and passes on."""
    outcome: Outcome | None = None
    try:
        while True:
            command: Command = steps.send(outcome)
            if type(command) is Send:
                outcome = await _asend(command, transport)
                continue
            outcome = None
            assert not isinstance(command, Send)
            if command.discard is not None:
                await transport.discard(command.discard)
            if command.seconds > 0.0:
                await asyncio.sleep(command.seconds)
    except StopIteration as done:
        reply: Reply = done.value
        return reply
    finally:
        steps.close()


async def _asend(send: Send, transport: AsyncTransport) -> Outcome:
    if send.timeout is None:
        return await transport.send(send)
    scope = asyncio.timeout(send.timeout)
    try:
        async with scope:
            return await transport.send(send)
    except TimeoutError as error:
        if not scope.expired():
            raise
        return Failure(FailureKind.TIMEOUT, sent=True, error=error)


def drive(steps: Steps, transport: SyncTransport) -> Reply:
    """Run an exchange on the current thread."""
    outcome: Outcome | None = None
    try:
        while True:
            command: Command = steps.send(outcome)
            if type(command) is Send:
                outcome = transport.send(command)
                continue
            outcome = None
            assert not isinstance(command, Send)
            if command.discard is not None:
                transport.discard(command.discard)
            if command.seconds > 0.0:
                time.sleep(command.seconds)
    except StopIteration as done:
        reply: Reply = done.value
        return reply
    finally:
        steps.close()
