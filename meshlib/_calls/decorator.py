"""``@mesh.call``: any function under the policies of a host."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast

from meshlib._calls.target import Target

__all__ = ["govern", "is_asynchronous", "run"]

P = ParamSpec("P")
R = TypeVar("R")


def govern(function: Callable[P, R], target: Target) -> Callable[P, R]:
    """The function, called through a target. Raises TypeError for what cannot be governed."""
    _refuse_generators(function)
    if is_asynchronous(function):
        acall = target.acall

        @wraps(function)
        async def governed_async(*args: P.args, **kwargs: P.kwargs) -> Any:
            return await acall(cast("Callable[..., Any]", function), args, kwargs)

        return cast("Callable[P, R]", governed_async)
    call = target.call

    @wraps(function)
    def governed(*args: P.args, **kwargs: P.kwargs) -> R:
        return cast("R", call(function, args, kwargs))

    return governed


def run(target: Target, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function once through a target; of an asynchronous one, what is to be awaited."""
    _refuse_generators(function)
    if is_asynchronous(function):
        return cast("R", target.acall(cast("Callable[..., Any]", function), args, kwargs))
    return cast("R", target.call(function, args, kwargs))


def is_asynchronous(function: Callable[..., object]) -> bool:
    """Whether calling it gives something to await."""
    called = getattr(type(function), "__call__", None)  # noqa: B004 - the method itself, not whether there is one
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)


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
