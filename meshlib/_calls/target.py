"""Where the calls of a function go, and how they are made: one target for each decorated function.

The policies are the engine's, the loops the drivers'. This file only translates: what a
function returned or raised into an outcome, and a reply into a result or an exception.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from dataclasses import dataclass
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any, Final

from meshlib._calls.classification import Classify, outcome_of_error, outcome_of_result
from meshlib._calls.fallbacks import Fallback, LastGood, Memory, key_of
from meshlib._calls.pybreaker_gate import PybreakerGate
from meshlib._calls.refusals import breaker_open, refusal
from meshlib._calls.tenacity_rules import Retry, Stop, TenacityRules, Wait
from meshlib._context import deadline
from meshlib._drivers import adrive, drive
from meshlib._engine.calls import CallExchange, Plan
from meshlib._engine.commands import Copy, LocalReply, Reply, Send
from meshlib._http import NO_HEADERS, Outcome, RequestHead, Response
from meshlib._runtime import Runtime
from meshlib._snapshot.routes import Forward, VirtualHost
from meshlib._snapshot.snapshot import Snapshot
from meshlib._timers import Timers

if TYPE_CHECKING:
    from meshlib._engine.hedges import Hedges

__all__ = ["DEFAULT_METHOD", "Options", "Target"]

DEFAULT_METHOD: Final = "CALL"
_UNGOVERNED: Final = (CoroutineType, GeneratorType, AsyncGeneratorType)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a caller adds to the policies of the host; see :meth:`meshlib.Mesh.call`."""

    subset: str = ""
    port: int | None = None
    method: str = DEFAULT_METHOD
    fallback: Fallback | None = None
    classify: Classify | None = None
    stop: Stop | None = None
    wait: Wait | None = None
    retry: Retry | None = None
    gate: PybreakerGate | None = None

    @property
    def has_rules(self) -> bool:
        """Whether tenacity has a say."""
        return self.stop is not None or self.wait is not None or self.retry is not None


class Target:
    """One host, called by one function. Shared by threads and loops."""

    __slots__ = ("_memory", "_plan", "_request", "_timers", "host", "options", "runtime")

    def __init__(self, runtime: Runtime, host: str, options: Options) -> None:
        self.runtime = runtime
        self.host = host
        self.options = options
        self._memory = Memory()
        self._timers: tuple[asyncio.AbstractEventLoop, Timers] | None = None
        self._request, self._plan = self._find(runtime)

    def begin(self, rules: TenacityRules | None = None) -> CallExchange:
        """Start an exchange on the snapshot in force."""
        runtime = self.runtime
        plan = self._plan
        if plan.published is not runtime.published:
            self._request, plan = self._request, self._plan = self._find(runtime)
        exchange = CallExchange(plan, self._request, rules)
        if plan.caller is not None:
            exchange.deadline = deadline.get()
        if runtime.recorder is not None:
            runtime.recorder.begin(exchange)
        return exchange

    def _find(self, runtime: Runtime) -> tuple[RequestHead, Plan]:
        published, options = runtime.published, self.options
        port = _port(published.snapshot, self.host) if options.port is None else options.port
        request = RequestHead(options.method, "http", self.host, "/", NO_HEADERS, port=port)
        return request, Plan(published, request, subset=options.subset, own_retries=options.has_rules)

    def timers(self) -> Timers:
        """Those of the running loop."""
        loop, known = asyncio.get_running_loop(), self._timers
        if known is None or known[0] is not loop:
            known = self._timers = (loop, Timers())
        return known[1]

    # -- synchronous -----------------------------------------------------------------------------------

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function on the current thread."""
        gate = self.options.gate
        if gate is None:
            invocation = Invocation(self, function, args, kwargs)
            reply = drive(invocation.exchange.steps(), invocation)
        else:
            is_probe = gate.enter(function, args, kwargs)
            if is_probe is None:
                return self._refused(gate, args, kwargs)
            invocation = Invocation(self, function, args, kwargs)
            try:
                reply = drive(invocation.exchange.steps(), invocation)
            except BaseException:
                gate.give_up(is_probe=is_probe)
                raise
            gate.record(is_probe=is_probe, error=invocation.failure(reply))
        return invocation.conclude(reply)

    # -- asynchronous ----------------------------------------------------------------------------------

    async def acall(
        self, function: Callable[..., Awaitable[Any]], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Await a function."""
        gate = self.options.gate
        if gate is None:
            invocation, reply = await self._arun(function, args, kwargs)
        else:
            is_probe = await gate.enter_async(function, args, kwargs)
            if is_probe is None:
                refused = self._refused(gate, args, kwargs)
                return (await refused) if isinstance(refused, Awaitable) else refused
            try:
                invocation, reply = await self._arun(function, args, kwargs)
            except BaseException:
                gate.give_up(is_probe=is_probe)
                raise
            await gate.record_async(is_probe=is_probe, error=invocation.failure(reply))
        result = invocation.conclude(reply)
        if invocation.is_fallback and isinstance(result, Awaitable):
            return await result
        return result

    async def _arun(
        self, function: Callable[..., Awaitable[Any]], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[AsyncInvocation, Reply]:
        invocation = AsyncInvocation(self, function, args, kwargs)
        caller = invocation.exchange.plan.caller
        if caller is not None and caller.hedges is not None:
            return await self._hedged(invocation, caller.hedges)
        return invocation, await adrive(invocation.exchange.steps(), invocation, self.timers())

    async def _hedged(self, first: AsyncInvocation, hedges: Hedges) -> tuple[AsyncInvocation, Reply]:
        """The better of two attempts, the second of which starts when the first is slow; the other is cancelled."""
        clock, timers, delay = self.runtime.clock, self.timers(), hedges.delay()
        began = clock.monotonic()
        running = {asyncio.ensure_future(adrive(first.exchange.steps(), first, timers)): first}
        winner: asyncio.Task[Reply] | None = None
        try:
            done, _ = await asyncio.wait(running, timeout=delay)
            if not done and hedges.take():
                second = first.beside(elsewhere=hedges.rules.elsewhere)
                running[asyncio.ensure_future(adrive(second.exchange.steps(), second, timers))] = second
            winner = await _first_good(list(running))
            hedges.record(clock.monotonic() - began)
            return running[winner], winner.result()
        finally:
            for one in running:
                one.cancel()
            await asyncio.wait(running)
            for one, invocation in running.items():
                if one is not winner:
                    invocation.exchange.finish(0)
                    with contextlib.suppress(asyncio.CancelledError):
                        one.exception()  # seen, so that nobody complains of what a loser raised

    # -- conclusions -----------------------------------------------------------------------------------

    def _refused(self, gate: PybreakerGate, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        instead = self.instead(args, kwargs, None)
        if instead is None:
            raise breaker_open(self.host, gate.name)
        return instead()

    def instead(self, args: tuple[Any, ...], kwargs: dict[str, Any], max_age: float | None) -> Callable[[], Any] | None:
        """What gives a result in place of a failure; ``max_age`` is the policy's for the last good one."""
        fallback = self.options.fallback
        if isinstance(fallback, LastGood):
            max_age, fallback = fallback.max_age, fallback.otherwise
        key = key_of(args, kwargs) if max_age is not None else None
        if max_age is not None and key is not None:
            found = self._memory.find(key, self.runtime.clock.monotonic() - max_age)
            if found is not None:
                return lambda: found[0]
        if fallback is None:
            return None
        ask: Callable[..., Any] = fallback
        return lambda: ask(*args, **kwargs)

    def keep(self, key: Hashable, result: object) -> None:
        """Remember a good result."""
        self._memory.keep(key, result, self.runtime.clock.monotonic())

    def __repr__(self) -> str:
        return f"<Target {self.host} {self._plan!r}>"


class Invocation:
    """One call of a function: the transport of its exchange."""

    __slots__ = ("_args", "_error", "_function", "_kwargs", "_rules", "_target", "exchange", "is_fallback")

    def __init__(
        self, target: Target, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
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
        self.exchange = target.begin(self._rules)

    def send(self, send: Send) -> Outcome:
        """One attempt."""
        try:
            result = self._function(*self._args, **self._kwargs)
        except Exception as error:  # noqa: BLE001 - that is what is classified
            return self.raised(error, send)
        if type(result) in _UNGOVERNED:
            _refuse_lazy(result, self._function)
        return self.returned(result, send)

    def discard(self, response: Response) -> None:
        """A result that will not be used needs nothing."""

    def mirror(self, copy: Copy) -> None:
        """A function is never mirrored: what it does cannot be done on the side."""

    def returned(self, result: object, send: Send) -> Outcome:
        """The outcome of an attempt that returned."""
        self._error = None
        if self._rules is not None:
            self._rules.ended(send.attempt, result, None)
        classify = self._target.options.classify
        return Response(200, NO_HEADERS, result) if classify is None else outcome_of_result(result, classify)

    def raised(self, error: Exception, send: Send) -> Outcome:
        """The outcome of an attempt that raised."""
        self._error = error
        if self._rules is not None:
            self._rules.ended(send.attempt, None, error)
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
            if exchange.plan.caller is not None or self._target.options.fallback is not None:
                self._remember(result)
            return result
        if is_local or reply.status >= 500:
            policy = exchange.plan.caller.policy if exchange.plan.caller is not None else None
            instead = self._target.instead(self._args, self._kwargs, policy.last_good if policy is not None else None)
            if instead is not None:
                self.is_fallback = True
                return instead()
        return self._fail(reply)

    def _fail(self, reply: Reply) -> Any:
        error, self._error = self._error, None  # no cycle through the traceback is left behind
        try:
            if isinstance(reply, LocalReply) and (error is None or reply.error is not error):
                raise refusal(self.exchange, reply) from error
            if error is not None:
                raise error
        finally:
            del error
        assert isinstance(reply, Response)
        return reply.handle

    def _remember(self, result: object) -> None:
        fallback, caller = self._target.options.fallback, self.exchange.plan.caller
        if isinstance(fallback, LastGood) or (caller is not None and caller.policy.last_good is not None):
            key = key_of(self._args, self._kwargs)
            if key is not None:
                self._target.keep(key, result)

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
            return self.raised(error, send)
        return self.returned(result, send)

    async def discard(self, response: Response) -> None:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
        """A result that will not be used needs nothing."""

    def beside(self, *, elsewhere: bool) -> AsyncInvocation:
        """A second attempt of the same call."""
        second = AsyncInvocation(self._target, self._function, self._args, self._kwargs)
        second.exchange.hedge(self.exchange.endpoint if elsewhere else None)
        return second


async def _first_good(tasks: list[asyncio.Task[Reply]]) -> asyncio.Task[Reply]:
    """The first that has a good answer, else the one that was started first."""
    waiting = set(tasks)
    while waiting:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for one in tasks:
            if one in done and one.exception() is None and one.result().status < 500:
                return one
    return tasks[0]


def _port(snapshot: Snapshot, host: str) -> int:
    """The port whose rules hold for a host when none is named: 80 if it is served there, else the lowest that is."""
    name, _, written = host.rpartition(":")
    if name and written.isdigit():
        return int(written)
    known = []
    for port, table in sorted(snapshot.tables.items(), key=_http_first):
        found = table.find(host.lower())
        if found is not None and found is not table.catch_all:
            if _leads_somewhere(found, snapshot):
                return port
            known.append(port)
    return known[0] if known else 80


def _http_first(item: tuple[int, object]) -> tuple[bool, int]:
    return item[0] != 80, item[0]


def _leads_somewhere(host: VirtualHost, snapshot: Snapshot) -> bool:
    """Whether a destination of the host has a cluster: Istio puts the rules of a host on port 80 too, without one."""
    return any(
        not isinstance(route.action, Forward)
        or any(one.cluster in snapshot.clusters for one in route.action.destinations)
        for route in host.routes
    )


def _refuse_lazy(result: Any, function: Callable[..., Any]) -> None:
    """A call that has not happened yet cannot be governed."""
    if isinstance(result, Coroutine | GeneratorType):
        result.close()
    name = getattr(function, "__qualname__", repr(function))
    raise TypeError(
        f"{name} is a plain function but returned a {type(result).__name__}, which runs later and ungoverned; "
        "pass the asynchronous function itself, or collect the items before they are returned"
    )
