"""``stop``, ``wait`` and ``retry`` of tenacity, obeyed without its loop.

tenacity's objects look at a :class:`tenacity.RetryCallState`. One is made when a call
has come back badly, or each time if ``retry`` is given, which may dislike results; its
times are those of the mesh's clock.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from meshlib._clock import Clock
from meshlib._http import Outcome

if TYPE_CHECKING:
    from tenacity import RetryCallState

__all__ = ["Retry", "Stop", "TenacityRules", "Wait", "refuse_async"]

Stop: TypeAlias = "Callable[[RetryCallState], bool]"
Wait: TypeAlias = "Callable[[RetryCallState], float]"
Retry: TypeAlias = "Callable[[RetryCallState], bool]"


def refuse_async(**rules: object) -> None:
    """Raise for rules that would have to be awaited: they decide between attempts, where nothing may wait."""
    for name, rule in rules.items():
        called = getattr(type(rule), "__call__", None)  # noqa: B004 - the method itself, not whether there is one
        if inspect.iscoroutinefunction(rule) or inspect.iscoroutinefunction(called):
            raise TypeError(f"{name}= is to be a plain function or an object of tenacity, not an asynchronous one")


class TenacityRules:
    """The rules for one call of ``function``; the transport tells each attempt's end by :meth:`ended`."""

    __slots__ = ("_clock", "_retry", "_state", "_stop", "_wait")

    def __init__(
        self,
        clock: Clock,
        function: Callable[..., Any],
        args: tuple[object, ...],
        kwargs: dict[str, object],
        *,
        stop: Stop | None,
        wait: Wait | None,
        retry: Retry | None,
    ) -> None:
        from tenacity import RetryCallState, Retrying

        self._clock = clock
        self._stop, self._wait, self._retry = stop, wait, retry
        state = self._state = RetryCallState(Retrying(), function, args, kwargs)
        state.start_time = clock.monotonic()

    def ended(self, number: int, result: object, error: BaseException | None) -> None:
        """Attempt ``number`` (from 1) has returned ``result``, or raised ``error``."""
        state = self._state
        state.attempt_number = number
        if error is None:
            state.set_result(result)
        else:
            state.set_exception((type(error), error, error.__traceback__))
        state.outcome_timestamp = self._clock.monotonic()

    def reason(self, outcome: Outcome) -> str | None:
        """As ``retry`` says, if it was given."""
        del outcome  # tenacity has seen what the function returned or raised
        if self._retry is None:
            return None
        return "tenacity" if self._retry(self._state) else ""

    def is_used_up(self, attempts: int) -> bool | None:
        """As ``stop`` says; it may look at the wait that would follow."""
        if self._stop is None:
            return None
        self._state.upcoming_sleep = self.wait(attempts) or 0.0
        return bool(self._stop(self._state))

    def wait(self, attempts: int) -> float | None:
        """As ``wait`` says."""
        del attempts
        return None if self._wait is None else max(float(self._wait(self._state)), 0.0)

    def __repr__(self) -> str:
        return f"<TenacityRules stop={self._stop} wait={self._wait} retry={self._retry}>"
