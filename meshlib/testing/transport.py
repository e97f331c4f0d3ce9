"""An upstream that follows a script: what the engine's drivers talk to in place of a client library."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from meshlib._engine.commands import Copy, Send
from meshlib._http import Failure, FailureKind, Headers, Outcome, Response

__all__ = ["Answer", "ScriptedTransport", "SyncScriptedTransport"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A scripted answer: a response after ``delay`` seconds."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    delay: float = 0.0
    body: bytes = b""


Script: TypeAlias = int | Answer | FailureKind | Callable[[Send], "int | Answer | FailureKind"]


class ScriptedTransport:
    """Plays its answers in order, the last one again and again, and remembers every send.

    An answer is a status, an :class:`Answer`, a :class:`FailureKind`, or a function of
    the send that returns one of these. ``sends`` has every :class:`Send`, ``copies``
    every mirrored :class:`Copy`, ``discarded`` counts the responses that the engine let go of.
    """

    def __init__(self, *script: Script) -> None:
        self._script = _Script(script)
        self.sends = self._script.sends
        self.copies: list[Copy] = []
        self.discarded = 0

    async def send(self, send: Send) -> Outcome:
        """The next answer, after its delay."""
        answer = self._script.next(send)
        if isinstance(answer, Answer) and answer.delay:
            await asyncio.sleep(answer.delay)
        else:
            await asyncio.sleep(0)
        return _outcome(answer)

    async def discard(self, response: Response) -> None:
        """Count it."""
        self.discarded += 1

    def mirror(self, copy: Copy) -> None:
        """Remember it."""
        self.copies.append(copy)

    def beside(self, headers: Headers) -> ScriptedTransport:
        """A second attempt plays the next answer of the same script."""
        return self

    def adopt(self, winner: ScriptedTransport) -> None:
        """All attempts are its own."""


class SyncScriptedTransport:
    """The same for the synchronous driver. A delay is compared with ``send.timeout``, never waited for."""

    def __init__(self, *script: Script) -> None:
        self._script = _Script(script)
        self.sends = self._script.sends
        self.copies: list[Copy] = []
        self.discarded = 0

    def send(self, send: Send) -> Outcome:
        """The next answer at once, or a timeout where it would come too late."""
        answer = self._script.next(send)
        if isinstance(answer, Answer) and send.timeout is not None and answer.delay > send.timeout:
            return Failure(FailureKind.TIMEOUT, sent=True)
        return _outcome(answer)

    def discard(self, response: Response) -> None:
        """Count it."""
        self.discarded += 1

    def mirror(self, copy: Copy) -> None:
        """Remember it."""
        self.copies.append(copy)


class _Script:
    """Answers in order, the last one again and again."""

    def __init__(self, script: tuple[Script, ...]) -> None:
        self._script = script or (200,)
        self.sends: list[Send] = []

    def next(self, send: Send) -> int | Answer | FailureKind:
        self.sends.append(send)
        entry = self._script[min(len(self.sends), len(self._script)) - 1]
        return entry(send) if callable(entry) else entry


def _outcome(answer: int | Answer | FailureKind) -> Outcome:
    if isinstance(answer, FailureKind):
        connected = answer not in (FailureKind.CONNECT_FAILURE, FailureKind.CONNECT_TIMEOUT)
        return Failure(answer, sent=connected)
    if isinstance(answer, int):
        return Response(answer, Headers())
    return Response(answer.status, Headers(answer.headers))
