"""Cutting an attempt off in time, for a tenth of what :func:`asyncio.timeout` costs.

Attempts share few distinct timeouts, and with the same timeout the first to start is
the first to end. So each distinct timeout has a queue in order of deadline, with one
loop timer armed; an attempt that finishes marks its entry, and the next one that starts
uses it again. Timeouts that are not worth a queue (what is left of a route's timeout, say)
get a loop timer of their own.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Final

__all__ = ["Timers"]

_QUEUES: Final = 64
_ROOM: Final = 256
_FIRED: Final = float("inf")


class _Entry:
    """One attempt under a deadline. ``task`` is None once it does not need cutting any more.

    ``deadline`` is infinite once it has fired, ``cancelling`` what had been asked of the task before.
    """

    __slots__ = ("cancelling", "deadline", "task", "timer")
    task: asyncio.Task[object] | None
    deadline: float
    cancelling: int

    def __init__(self) -> None:
        self.timer: asyncio.TimerHandle | None = None

    def expire(self) -> None:
        task, self.task = self.task, None
        if task is not None:
            self.deadline = _FIRED
            task.cancel()


class _Queue:
    """The attempts of one timeout, in the order of their deadlines; ``is_armed`` while a loop timer is set.

    If it is not ``is_kept``, attempts do not stand in it: each has a loop timer of its own. With more than
    ``room`` of them, those that are over are let go: a slow one at the front keeps no others.
    """

    __slots__ = ("entries", "is_armed", "is_kept", "room")

    def __init__(self, *, is_kept: bool) -> None:
        self.entries: deque[_Entry] = deque()
        self.is_armed = False
        self.is_kept = is_kept
        self.room = _ROOM

    def tidy(self) -> None:
        """Let go of the attempts that are over, wherever they stand."""
        self.entries = deque(one for one in self.entries if one.task is not None)
        self.room = 2 * len(self.entries) + _ROOM


class Timers:
    """The deadlines of one event loop; made while it runs."""

    __slots__ = ("_apart", "_loop", "_now", "_queues")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        # asyncio's own loops ask the system by way of a method; others may have a time of their own.
        is_systems = type(self._loop).time is asyncio.BaseEventLoop.time
        self._now = time.monotonic if is_systems else self._loop.time
        self._apart = _Queue(is_kept=False)
        self._queues: dict[float, _Queue] = {}

    def start(self, seconds: float) -> _Entry:
        """Cut the current task off after ``seconds``, unless the entry is given to :meth:`stop` before."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a timeout needs a running task")
        queue = self._queues.get(seconds) or self._open(seconds)
        entries = queue.entries
        if entries and entries[0].task is None:  # what is over goes before more comes, and is used again
            entry = entries.popleft()
            while entries and entries[0].task is None:
                entries.popleft()
        else:
            entry = _Entry()
        entry.task, entry.cancelling = task, task.cancelling()
        entry.deadline = deadline = self._now() + seconds
        if not queue.is_kept:
            entry.timer = self._loop.call_at(deadline, entry.expire)
            return entry
        entries.append(entry)
        if len(entries) > queue.room:
            queue.tidy()
        if not queue.is_armed:
            queue.is_armed = True
            self._loop.call_at(deadline, self._fire, queue)
        return entry

    def _open(self, seconds: float) -> _Queue:
        """A queue for a timeout that had none; one that keeps nothing where there are too many."""
        if len(self._queues) >= _QUEUES:
            return self._apart
        queue = self._queues[seconds] = _Queue(is_kept=True)
        return queue

    def stop(self, entry: _Entry) -> bool:
        """The attempt is over, however it ended; whether a cancellation of it was this deadline's alone.

        A deadline that fired takes its cancellation back in any case, as asyncio.timeout
        does: the task may have ended in another way before it got to it.
        """
        entry.task = None
        if entry.timer is not None:
            entry.timer.cancel()
        if entry.deadline is not _FIRED:
            return False
        task = asyncio.current_task()
        return task is not None and task.uncancel() <= entry.cancelling

    def _fire(self, queue: _Queue) -> None:
        entries = queue.entries
        # The clock may be a hair before the deadline that the loop fired for.
        now = self._now() + 1e-6
        while entries and (entries[0].task is None or entries[0].deadline <= now):
            entries.popleft().expire()
        queue.is_armed = bool(entries)
        if entries:
            self._loop.call_at(entries[0].deadline, self._fire, queue)
