"""What a caller gets in place of a failure: what another function says, or the last good result."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from threading import Lock
from typing import Any, Final, TypeAlias

__all__ = ["Fallback", "LastGood", "Memory"]

Fallback: TypeAlias = "Callable[..., Any] | LastGood"
"""Called with the arguments of the call, or the last good result for the same arguments."""

_MOST: Final = 1024


class LastGood:
    """As a fallback: the last good result of a call with the same arguments, if it is at most ``max_age`` seconds old.

    ``otherwise`` is asked where there is none (default: the failure is raised). Results of
    the last 1,024 different arguments are kept; arguments that cannot be hashed have none.
    """

    __slots__ = ("max_age", "otherwise")

    def __init__(self, max_age: float, otherwise: Callable[..., Any] | None = None) -> None:
        if max_age <= 0:
            raise ValueError(f"max_age is {max_age!r}, it is to be more than 0 seconds")
        self.max_age = max_age
        self.otherwise = otherwise

    def __repr__(self) -> str:
        return f"LastGood(max_age={self.max_age})"


class Memory:
    """Good results by arguments, bounded; shared by all threads."""

    __slots__ = ("_lock", "_results")

    def __init__(self) -> None:
        self._lock = Lock()
        self._results: OrderedDict[Hashable, tuple[float, object]] = OrderedDict()

    def keep(self, key: Hashable, result: object, now: float) -> None:
        """Remember a good result; the one that was kept first of too many is forgotten."""
        with self._lock:
            self._results[key] = (now, result)
            self._results.move_to_end(key)
            if len(self._results) > _MOST:
                self._results.popitem(last=False)

    def find(self, key: Hashable, oldest: float) -> tuple[object] | None:
        """The result that was kept, in a tuple, unless that was before ``oldest``."""
        with self._lock:
            found = self._results.get(key)
        return None if found is None or found[0] < oldest else (found[1],)

    def __repr__(self) -> str:
        return f"<Memory results={len(self._results)}>"


def key_of(args: tuple[object, ...], kwargs: Mapping[str, object]) -> Hashable | None:
    """What tells calls apart; None if the arguments cannot be hashed."""
    key = (args, tuple(sorted(kwargs.items(), key=_name))) if kwargs else (args,)
    try:
        hash(key)
    except TypeError:
        return None
    return key


def _name(item: tuple[str, object]) -> str:
    return item[0]
