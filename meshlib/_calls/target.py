"""Where the calls of a function go, and how they are made: one target for each decorated function.

The policies are the engine's, the loops the drivers'. Here calls go the long way, as an
:class:`Invocation`; decorator.py takes the short way where there is one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from meshlib._calls.classification import Classify
from meshlib._calls.fallbacks import Fallback, LastGood, Memory, key_of
from meshlib._calls.invocation import AsyncInvocation, Invocation
from meshlib._calls.pybreaker_gate import PybreakerGate
from meshlib._calls.refusals import breaker_open, refusal_of
from meshlib._calls.tenacity_rules import Retry, Stop, TenacityRules, Wait
from meshlib._context import deadline
from meshlib._drivers import adrive, drive
from meshlib._engine.calls import CallExchange, Plan
from meshlib._engine.commands import Reply
from meshlib._engine.short_way import Refused
from meshlib._http import NO_HEADERS, RequestHead
from meshlib._runtime import Runtime
from meshlib._snapshot.routes import Forward, VirtualHost
from meshlib._snapshot.snapshot import Snapshot
from meshlib._timers import Timers

if TYPE_CHECKING:
    from meshlib._engine.hedges import Hedges

__all__ = ["DEFAULT_METHOD", "Options", "Target", "awaited", "conclude_async"]

DEFAULT_METHOD: Final = "CALL"


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

    __slots__ = ("_memory", "_plan", "_timers", "has_memory", "host", "options", "runtime")

    def __init__(self, runtime: Runtime, host: str, options: Options) -> None:
        self.runtime = runtime
        self.host = host
        self.options = options
        self._memory = Memory()
        self.has_memory = isinstance(options.fallback, LastGood)
        self._timers: tuple[asyncio.AbstractEventLoop, Timers] | None = None
        self._plan = self._find()

    def begin(self, rules: TenacityRules | None = None) -> CallExchange:
        """Start an exchange on the snapshot in force."""
        plan, recorder = self._plan, self.runtime.recorder
        if plan.published is not self.runtime.published:
            plan = self._plan = self._find()
        exchange = CallExchange(plan, rules)
        if plan.caller is not None:
            exchange.deadline = deadline.get()
        if recorder is not None:
            recorder.begin(exchange)
        return exchange

    def _find(self) -> Plan:
        published, options = self.runtime.published, self.options
        port = _port(published.snapshot, self.host) if options.port is None else options.port
        request = RequestHead(options.method, "http", self.host, "/", NO_HEADERS, port=port)
        may_be_short = options.gate is None and options.classify is None and not options.has_rules
        return Plan(published, request, subset=options.subset, own_retries=options.has_rules, may_be_short=may_be_short)

    def short_plan(self) -> Plan | None:
        """The plan of the snapshot in force if the call may take its short way."""
        plan, runtime = self._plan, self.runtime
        published, recorder = runtime.published, runtime.recorder
        if plan.published is not published:
            plan = self._plan = self._find()
        observers = published.observers
        if plan.short is None or observers.watches_calls:
            return None
        return None if recorder is not None and recorder.wants_calls(published.snapshot) else plan

    def timers(self) -> Timers:
        """Those of the running loop."""
        loop, known = asyncio.get_running_loop(), self._timers
        if known is None or known[0] is not loop:
            known = self._timers = (loop, Timers())
        return known[1]

    # -- synchronous -----------------------------------------------------------------------------------

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call a function on the current thread, the long way."""
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
        """Await a function, the long way."""
        gate = self.options.gate
        if gate is None:
            invocation, reply = await self._arun(function, args, kwargs)
        else:
            is_probe = await gate.enter_async(function, args, kwargs)
            if is_probe is None:
                return await awaited(self._refused(gate, args, kwargs))
            try:
                invocation, reply = await self._arun(function, args, kwargs)
            except BaseException:
                gate.give_up(is_probe=is_probe)
                raise
            await gate.record_async(is_probe=is_probe, error=invocation.failure(reply))
        return await conclude_async(invocation, reply)

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
                hedges.send()
                second = first.beside(elsewhere=hedges.rules.elsewhere)
                running[asyncio.ensure_future(adrive(second.exchange.steps(), second, timers))] = second
            winner = await _first_good(list(running))
            hedges.record(clock.monotonic() - began)
            reply = winner.result()
            if running[winner] is not first and reply.status < 500:
                hedges.win()
            return running[winner], reply
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

    def answer(self, refused: Refused, plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a call gets that was refused on its short way."""
        if plan.last_good is not None or self.options.fallback is not None:
            instead = self.instead(args, kwargs, plan.last_good)
            if instead is not None:
                return instead()
        raise refusal_of(refused.reply, refused.flags, self.host)

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

    def remember(self, plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any], result: object) -> None:
        """Keep a good result if it may have to stand in for a failure."""
        if plan.last_good is None and not self.has_memory:
            return
        key = key_of(args, kwargs)
        if key is not None:
            self._memory.keep(key, result, self.runtime.clock.monotonic())

    def __repr__(self) -> str:
        return f"<Target {self.host} {self._plan!r}>"


async def conclude_async(invocation: AsyncInvocation, reply: Reply) -> Any:
    """The result of the call, an asynchronous fallback's too."""
    result = invocation.conclude(reply)
    return await awaited(result) if invocation.is_fallback else result


async def awaited(result: Any) -> Any:
    """What a fallback gives, which may be asynchronous."""
    return await result if isinstance(result, Awaitable) else result


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
