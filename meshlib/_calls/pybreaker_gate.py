"""A :class:`pybreaker.CircuitBreaker` that was handed in: its state, its rules, its listeners, its storage.

Its own ``call()`` holds a lock for as long as the function runs and lets every waiting
caller through at half-open. Here the breaker is only asked before a call and told after
it, so calls run beside each other, asynchronous ones too, and one probe at a time passes.

Rules, as pybreaker's: failures in a row up to ``fail_max`` open it, ``reset_timeout``
seconds later a probe passes, ``success_threshold`` good probes close it. Exceptions that
it excludes are successes. A call that was let in before the breaker opened says nothing
any more when it ends.

Where the state is shared (Redis), each process sends a probe of its own. Such a storage
is asked in a worker thread when the function is asynchronous.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from meshlib._clock import Clock
from meshlib.errors import UnsupportedVersionError

if TYPE_CHECKING:
    from pybreaker import CircuitBreaker, CircuitBreakerStorage

__all__ = ["PybreakerGate"]

_CLOSED: Final = "closed"
_OPEN: Final = "open"


class PybreakerGate:
    """One breaker for all functions and threads that it was handed in for."""

    __slots__ = ("_breaker", "_clock", "_is_probing", "_lock", "_storage", "is_local")

    def __init__(self, breaker: CircuitBreaker, clock: Clock) -> None:
        # How a storage is told of a failure is not public; a release without it would be one to adapt to.
        storage: CircuitBreakerStorage | None = getattr(breaker, "_state_storage", None)
        if storage is None:
            found = f"{type(breaker).__module__}.{type(breaker).__qualname__}"
            raise UnsupportedVersionError("pybreaker", f"as seen in {found}", "1.3.0")
        from pybreaker import CircuitMemoryStorage

        self._breaker = breaker
        self._storage = storage
        self._clock = clock
        self._lock = Lock()
        self._is_probing = False
        self.is_local = isinstance(storage, CircuitMemoryStorage)

    @property
    def name(self) -> str | None:
        """The breaker's own name."""
        return self._breaker.name

    def enter(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool | None:
        """Whether the call is a probe; None: it is refused. To be ended by :meth:`record` or :meth:`give_up`."""
        state = self._breaker.state.name  # looks into the storage, and tells the listeners of a change made elsewhere
        is_probe = state != _CLOSED
        if is_probe:
            if not self._claim_probe(is_open=state == _OPEN):
                return None
            is_probe = self._storage.state != _CLOSED  # another probe may have closed it meanwhile
            if not is_probe:
                self.give_up(is_probe=True)
        for listener in self._breaker.listeners:
            listener.before_call(self._breaker, function, *args, **kwargs)
        return is_probe

    def record(self, *, is_probe: bool, error: BaseException | None) -> None:
        """The call has ended: ``error`` if it failed."""
        try:
            state = self._storage.state
            if (is_probe and state == _CLOSED) or (not is_probe and state != _CLOSED):
                return
            if error is not None and self._breaker.is_system_error(error):
                self._fail(error, is_probe=is_probe)
            else:
                self._succeed(is_probe=is_probe)
        finally:
            self.give_up(is_probe=is_probe)

    def give_up(self, *, is_probe: bool) -> None:
        """Nobody knows how the call would have ended."""
        if is_probe:
            with self._lock:
                self._is_probing = False

    async def enter_async(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool | None:
        """:meth:`enter`, which never blocks the loop."""
        if self.is_local:
            return self.enter(function, args, kwargs)
        entering = asyncio.ensure_future(asyncio.to_thread(self.enter, function, args, kwargs))
        try:
            return await asyncio.shield(entering)
        except asyncio.CancelledError:
            entering.add_done_callback(self._leave)  # the thread goes on: what it claims must not be lost
            raise

    async def record_async(self, *, is_probe: bool, error: BaseException | None) -> None:
        """:meth:`record`, which never blocks the loop."""
        if self.is_local:
            self.record(is_probe=is_probe, error=error)
        else:
            await asyncio.to_thread(self.record, is_probe=is_probe, error=error)

    def _leave(self, entering: asyncio.Future[bool | None]) -> None:
        if not entering.cancelled() and entering.exception() is None and entering.result():
            self.give_up(is_probe=True)

    def _claim_probe(self, *, is_open: bool) -> bool:
        if is_open and not self._is_rested():
            return False
        with self._lock:
            if self._is_probing:
                return False
            self._is_probing = True
        if is_open and self._storage.state == _OPEN:
            self._breaker.half_open()
        return True

    def _is_rested(self) -> bool:
        opened = self._storage.opened_at
        now = datetime.fromtimestamp(self._clock.time(), UTC)
        return not opened or now >= opened + timedelta(seconds=self._breaker.reset_timeout)

    def _fail(self, error: BaseException, *, is_probe: bool) -> None:
        self._storage.increment_counter()
        for listener in self._breaker.listeners:
            listener.failure(self._breaker, error)
        if is_probe or self._storage.counter >= self._breaker.fail_max:
            self._breaker.open()
            self._storage.opened_at = datetime.fromtimestamp(self._clock.time(), UTC)

    def _succeed(self, *, is_probe: bool) -> None:
        self._storage.reset_counter()
        if is_probe and self._is_enough():
            self._breaker.close()
        for listener in self._breaker.listeners:
            listener.success(self._breaker)

    def _is_enough(self) -> bool:
        """Whether one more good probe closes the breaker; pybreaker counts them since 1.4."""
        wanted: int = getattr(self._breaker, "success_threshold", 1)
        if wanted <= 1:
            return True
        self._storage.increment_success_counter()
        return bool(self._storage.success_counter >= wanted)

    def __repr__(self) -> str:
        return f"<PybreakerGate {self.name} {self._storage.state}>"
