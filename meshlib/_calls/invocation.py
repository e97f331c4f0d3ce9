"""One call of a function: what it returned or raised as an outcome, and a reply as a result or an exception."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable, Coroutine
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any, Final

from meshlib._calls.classification import outcome_of_error, outcome_of_result
from meshlib._calls.refusals import refusal
from meshlib._calls.tenacity_rules import TenacityRules
from meshlib._engine.commands import Copy, LocalReply, Reply, Send, Steps
from meshlib._http import NO_HEADERS, Failure, FailureKind, Outcome, Response

if TYPE_CHECKING:
    from meshlib._calls.target import Target
    from meshlib._engine.calls import CallExchange
    from meshlib._engine.short_way import Started

__all__ = ["UNGOVERNED", "AsyncInvocation", "Invocation", "refuse_lazy"]

UNGOVERNED: Final = (CoroutineType, GeneratorType, AsyncGeneratorType)
"""Results of a plain function that have not happened yet."""


class Invocation:
    """One call of a function: the transport of its exchange."""

    first: Outcome | None  # that of an attempt which took the short way, until it goes on; set where it has to

    __slots__ = ("_args", "_error", "_function", "_kwargs", "_rules", "_target", "exchange", "first", "is_fallback")

    def __init__(
        self,
        target: Target,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        exchange: CallExchange | None = None,
    ) -> None:
        self._target = target
        self._function = function
        self._args = args
        self._kwargs = kwargs
        self._error: Exception | None = None
        self._rules: TenacityRules | None = None
        self.is_fallback = False
        options = target.options
        if options.has_rules:
            clock = target.runtime.clock
            self._rules = TenacityRules(
                clock, function, args, kwargs, stop=options.stop, wait=options.wait, retry=options.retry
            )
        self.exchange = target.begin(self._rules) if exchange is None else exchange

    def go_on(self, started: Started) -> Steps:
        """Go on after the first attempt, which came back."""
        first, self.first = self.first, None
        assert first is not None
        return self.exchange.go_on(started, first)

    def send(self, send: Send) -> Outcome:
        """One attempt."""
        try:
            result = self._function(*self._args, **self._kwargs)
        except Exception as error:  # noqa: BLE001 - that is what is classified
            return self.raised(error, send.attempt)
        if type(result) in UNGOVERNED:
            refuse_lazy(result, self._function)
        return self.returned(result, send.attempt)

    def discard(self, response: Response) -> None:
        """A result that will not be used needs nothing."""

    def mirror(self, copy: Copy) -> None:
        """A function is never mirrored: what it does cannot be done on the side."""

    def returned(self, result: object, attempt: int) -> Outcome:
        """The outcome of an attempt that returned."""
        self._error = None
        if self._rules is not None:
            self._rules.ended(attempt, result, None)
        classify = self._target.options.classify
        return Response(200, NO_HEADERS, result) if classify is None else outcome_of_result(result, classify)

    def raised(self, error: Exception, attempt: int) -> Outcome:
        """The outcome of an attempt that raised."""
        self._error = error
        if self._rules is not None:
            self._rules.ended(attempt, None, error)
        return outcome_of_error(error, self._target.options.classify)

    def failure(self, reply: Reply) -> BaseException | None:
        """What a breaker of pybreaker gets to see; None: a success."""
        if type(reply) is LocalReply:
            return reply.error or self._error or refusal(self.exchange, reply)
        if self._error is not None:
            return self._error
        return RuntimeError(f"the result counts as status {reply.status}") if reply.status >= 500 else None

    def conclude(self, reply: Reply) -> Any:
        """The result of the call: that of the function, of a fallback, or an exception."""
        exchange = self.exchange
        exchange.finish(0)
        is_local = type(reply) is LocalReply
        if not is_local and self._error is None and reply.status < 500:
            result = reply.handle  # type: ignore[union-attr]
            self._target.remember(exchange.plan, self._args, self._kwargs, result)
            return result
        if is_local or reply.status >= 500:
            instead = self._target.instead(self._args, self._kwargs, exchange.plan.last_good)
            if instead is not None:
                self.is_fallback = True
                return instead()
        return self._fail(reply)

    def _fail(self, reply: Reply) -> Any:
        error, self._error = self._error, None
        try:
            if isinstance(reply, LocalReply):
                is_own, reply.error = reply.error is error, None  # no cycle through the traceback is left behind
                if error is None or not is_own:
                    raise refusal(self.exchange, reply) from error
            if error is not None:
                raise error
        finally:
            del error
        assert isinstance(reply, Response)
        return reply.handle

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._target.host} attempts={self.exchange.attempts}>"


class AsyncInvocation(Invocation):
    """One call of an asynchronous function."""

    __slots__ = ()

    async def send(self, send: Send) -> Outcome:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        """One attempt."""
        try:
            result = await self._function(*self._args, **self._kwargs)
        except Exception as error:  # noqa: BLE001 - that is what is classified
            return self.raised(error, send.attempt)
        return self.returned(result, send.attempt)

    def ended(self, error: BaseException, *, is_cut: bool) -> Outcome | None:
        """The outcome of a first attempt that did not return; None: nobody waits for it any more."""
        if isinstance(error, Exception):
            return self.raised(error, 1)
        return Failure(FailureKind.TIMEOUT, sent=True) if is_cut and isinstance(error, CancelledError) else None

    async def discard(self, response: Response) -> None:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        """A result that will not be used needs nothing."""

    def beside(self, *, elsewhere: bool) -> AsyncInvocation:
        """A second attempt of the same call."""
        second = AsyncInvocation(self._target, self._function, self._args, self._kwargs)
        second.exchange.hedge(self.exchange.endpoint if elsewhere else None)
        return second


def refuse_lazy(result: Any, function: Callable[..., Any]) -> None:
    """A call that has not happened yet cannot be governed."""
    if isinstance(result, Coroutine | GeneratorType):
        result.close()
    name = getattr(function, "__qualname__", repr(function))
    raise TypeError(
        f"{name} is a plain function but returned a {type(result).__name__}, which runs later and ungoverned; "
        "pass the asynchronous function itself, or collect the items before they are returned"
    )
