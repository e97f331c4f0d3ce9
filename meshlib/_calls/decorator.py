"""``@mesh.call``: any function under the policies of a host, by the short way where there is one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from meshlib._calls.fallbacks import Fallback, LastGood
from meshlib._calls.invocation import UNGOVERNED, AsyncInvocation, Invocation, refuse_lazy
from meshlib._calls.target import Target, awaited, conclude_async
from meshlib._drivers import adrive, drive
from meshlib._engine.calls import CallExchange
from meshlib._engine.short_way import Refused

__all__ = ["govern", "is_asynchronous", "run"]

P = ParamSpec("P")
R = TypeVar("R")


def govern(function: Callable[P, R], target: Target) -> Callable[P, R]:
    """The function, called through a target. Raises TypeError for what cannot be governed."""
    return cast("Callable[P, R]", wraps(function)(_governed(function, target)))


def run(target: Target, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function once through a target; of an asynchronous one, what is to be awaited."""
    return cast("R", _governed(function, target)(*args, **kwargs))


def _governed(function: Callable[..., Any], target: Target) -> Callable[..., Any]:
    _refuse_generators(function)
    if is_asynchronous(function):
        return _governed_async(function, target)
    _refuse_waiting(target.options.fallback, function)
    return _governed_sync(function, target)


def _governed_sync(function: Callable[..., Any], target: Target) -> Callable[..., Any]:
    short_plan = target.short_plan

    def governed(*args: Any, **kwargs: Any) -> Any:
        plan = short_plan()
        if plan is None:
            return target.call(function, args, kwargs)
        short = plan.short
        assert short is not None
        started = short.enter()
        if isinstance(started, Refused):
            return target.answer(started, plan, args, kwargs)
        try:
            result = function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - that is what is classified
            invocation = Invocation(target, function, args, kwargs, CallExchange(plan))
            invocation.first = invocation.raised(error, 1)
        except BaseException:
            short.give_up(started)
            raise
        else:
            if type(result) in UNGOVERNED:
                short.give_up(started)
                refuse_lazy(result, function)
            if short.leave(started):
                if plan.last_good is not None or target.has_memory:
                    target.remember(plan, args, kwargs, result)
                return result
            invocation = Invocation(target, function, args, kwargs, CallExchange(plan))
            invocation.first = invocation.returned(result, 1)
        return invocation.conclude(drive(invocation.go_on(started), invocation))

    return governed


def _governed_async(function: Callable[..., Any], target: Target) -> Callable[..., Any]:
    short_plan, find_timers = target.short_plan, target.timers

    async def governed(*args: Any, **kwargs: Any) -> Any:
        plan = short_plan()
        if plan is None:
            return await target.acall(function, args, kwargs)
        short = plan.short
        assert short is not None
        started = short.enter()
        if isinstance(started, Refused):
            return await awaited(target.answer(started, plan, args, kwargs))
        timers = find_timers()
        entry = None if short.timeout is None else timers.start(short.timeout)
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            is_cut = entry is not None and timers.stop(entry)
            invocation = AsyncInvocation(target, function, args, kwargs, CallExchange(plan))
            invocation.first = invocation.ended(error, is_cut=is_cut)
            if invocation.first is None:
                short.give_up(started)
                raise
        else:
            if entry is not None:
                timers.stop(entry)
            if short.leave(started):
                if plan.last_good is not None or target.has_memory:
                    target.remember(plan, args, kwargs, result)
                return result
            invocation = AsyncInvocation(target, function, args, kwargs, CallExchange(plan))
            invocation.first = invocation.returned(result, 1)
        return await conclude_async(invocation, await adrive(invocation.go_on(started), invocation, timers))

    return governed


def is_asynchronous(function: Callable[..., object]) -> bool:
    """Whether calling it gives something to await."""
    called = getattr(type(function), "__call__", None)  # noqa: B004 - the method itself, not whether there is one
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)


def _refuse_waiting(fallback: Fallback | None, function: Callable[..., object]) -> None:
    instead = fallback.otherwise if isinstance(fallback, LastGood) else fallback
    if instead is not None and is_asynchronous(instead):
        name = getattr(function, "__qualname__", repr(function))
        raise TypeError(f"the fallback of {name} is asynchronous, but {name} is not: nobody would await it")


def _refuse_generators(function: Callable[..., object]) -> None:
    name = getattr(function, "__qualname__", repr(function))
    if isinstance(function, staticmethod | classmethod):
        kind = type(function).__name__
        raise TypeError(f"{name} is a {kind}: put the mesh's decorator below @{kind}, next to the function")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"{name} is a generator: its work happens while it is read, after the call, and cannot be repeated; "
            "decorate the function that fetches one page or item"
        )
    if not callable(function):
        raise TypeError(f"{function!r} is not callable; write @mesh.call(host) above a function")
