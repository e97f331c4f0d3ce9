"""``with mesh.attempt(host)``: a block of code as one attempt, which cannot be repeated."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from meshlib._calls.classification import outcome_of_error
from meshlib._calls.refusals import refusal
from meshlib._drivers import adrive, drive
from meshlib._engine.calls import CallExchange
from meshlib._engine.commands import Command, Copy, LocalReply, Reply, Send, Steps
from meshlib._http import NO_HEADERS, Failure, FailureKind, Outcome, Response

if TYPE_CHECKING:
    from meshlib._calls.target import Target
    from meshlib._timers import Timers

__all__ = ["CallAttempt"]


class CallAttempt:
    """One block of code under the policies of a host, without retries; for ``with`` or ``async with``, once.

    It is entered when there is room and an endpoint, else the mesh's refusal is raised
    before the block starts. Under ``async with`` the timeouts of the route cut the block
    off (:class:`meshlib.errors.CallTimeoutError`); a synchronous block runs to its end.
    ``endpoint`` is the address that was picked (empty where the host is not known),
    ``timeout`` the seconds that the block may take (None: any time).
    """

    __slots__ = ("_entry", "_exchange", "_steps", "_target", "_timers", "endpoint", "timeout")

    def __init__(self, target: Target) -> None:
        self._target = target
        self._steps: Steps | None = None
        self._exchange: CallExchange | None = None
        self._timers: Timers | None = None
        self._entry: object = None
        self.endpoint = ""
        self.timeout: float | None = None

    # -- synchronous -----------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._start(drive(_until_send(self._begin(), None), _NOWHERE))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        outcome = self._outcome(error)
        if outcome is not None:
            drive(_until_send(self._begun(), outcome), _NOWHERE)
        self._end()

    # -- asynchronous ----------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        self._start(await adrive(_until_send(self._begin(), None), _NOWHERE_ASYNC))
        if self.timeout is not None:
            self._timers = self._target.timers()
            self._entry = self._timers.start(self.timeout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        outcome = self._outcome(error)
        if self._timers is not None and self._timers.stop(self._entry):  # type: ignore[arg-type]
            if isinstance(error, asyncio.CancelledError):
                outcome = Failure(FailureKind.TIMEOUT, sent=True)
        reply: Reply | None = None
        try:
            if outcome is not None:
                reply = await adrive(_until_send(self._begun(), outcome), _NOWHERE_ASYNC)
        finally:
            exchange = self._end()
        if isinstance(error, asyncio.CancelledError) and isinstance(reply, LocalReply):
            raise refusal(exchange, reply) from error

    # -- both ------------------------------------------------------------------------------------------

    def _begin(self) -> Steps:
        if self._steps is not None:
            raise RuntimeError("this attempt was made already; write mesh.attempt(host) for each `with`")
        self._exchange = self._target.begin()
        self._exchange.once()
        self._steps = self._exchange.steps()
        return self._steps

    def _begun(self) -> Steps:
        assert self._steps is not None
        return self._steps

    def _start(self, reached: Reply | Send) -> None:
        assert self._exchange is not None
        if isinstance(reached, Send):
            self.timeout = reached.timeout
            self.endpoint = reached.endpoint.key if reached.endpoint is not None else ""
            return
        self._exchange.finish(0)
        assert isinstance(reached, LocalReply)
        raise refusal(self._exchange, reached) from reached.error

    def _outcome(self, error: BaseException | None) -> Outcome | None:
        """What the block's end means; None: nobody knows."""
        if error is None:
            return Response(200, NO_HEADERS)
        if isinstance(error, Exception):
            return outcome_of_error(error, None)
        return None

    def _end(self) -> CallExchange:
        """Every counter back."""
        assert self._exchange is not None
        self._begun().close()
        self._exchange.finish(0)
        return self._exchange

    def __repr__(self) -> str:
        return f"<CallAttempt {self._target.host} {self.endpoint or 'nowhere'} timeout={self.timeout}>"


def _until_send(steps: Steps, outcome: Outcome | None) -> Generator[Command, Outcome | None, Reply]:
    """Run an exchange up to the next thing to send, which is returned in place of a reply, or to its end."""
    try:
        command = steps.send(outcome)
        while not isinstance(command, Send):
            command = steps.send((yield command))
    except StopIteration as done:
        reply: Reply = done.value
        return reply
    return command  # type: ignore[return-value]  # what a driver returns is what its steps return


class _Nowhere:
    """The transport of what is never sent."""

    def send(self, send: Send) -> Outcome:
        raise AssertionError(send)

    def discard(self, response: Response) -> None:
        """Nothing is held."""

    def mirror(self, copy: Copy) -> None:
        """A block is never mirrored."""


class _NowhereAsync:
    """The same for event loops."""

    async def send(self, send: Send) -> Outcome:
        raise AssertionError(send)

    async def discard(self, response: Response) -> None:
        """Nothing is held."""

    def mirror(self, copy: Copy) -> None:
        """A block is never mirrored."""


_NOWHERE = _Nowhere()
_NOWHERE_ASYNC = _NowhereAsync()
