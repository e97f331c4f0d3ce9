"""Cutting an attempt off in time, for a tenth of what :func:`asyncio.timeout` costs.

Attempts share few distinct timeouts, and with the same timeout the first to start is
the first to end. So each distinct timeout has a queue in order of deadline (a dictionary
keeps the order of its keys), with one loop timer armed; an attempt that finishes leaves it.
Timeouts that are not worth a queue (what is left of a route's timeout, say) get a loop timer
of their own, and so do the few attempts that a queue cannot tell from others.
"""

from __future__ import annotations

import asyncio
import time
from asyncio import current_task
from typing import Any, Final, TypeAlias

__all__ = ["Entry", "Timers"]

_QUEUES: Final = 64

Task: TypeAlias = "asyncio.Task[Any]"
Entry: TypeAlias = tuple[Task, dict[Task, float]]
"""One attempt under a deadline: its task, and where that stands with it until it is cut off or stopped."""


class _Queue:
    """The attempts of one timeout, in the order of their deadlines; ``is_armed`` while a loop timer is set."""

    __slots__ = ("is_armed", "running")

    def __init__(self) -> None:
        self.running: dict[Task, float] = {}
        self.is_armed = False


class _Alone(dict[Task, float]):
    """An attempt with a loop timer of its own. ``cancelling`` is what had been asked of its task before."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.timer: asyncio.TimerHandle | None = None
        self.cancelling = task.cancelling()


class Timers:
    """The deadlines of one event loop; made while it runs."""

    __slots__ = ("_loop", "_now", "_queues")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        # asyncio's own loops ask the system by way of a method; others may have a time of their own.
        is_systems = type(self._loop).time is asyncio.BaseEventLoop.time
        self._now = time.monotonic if is_systems else self._loop.time
        self._queues: dict[float, _Queue] = {}

    def start(self, seconds: float) -> Entry:
        """Cut the current task off after ``seconds``, unless the entry is given to :meth:`stop` before."""
        task = current_task(self._loop)
        if task is None:
            raise RuntimeError("a timeout needs a running task")
        queue = self._queues.get(seconds) or self._open(seconds)
        if queue is None or task in queue.running or task.cancelling():
            return self._start_alone(task, seconds)
        running = queue.running
        running[task] = deadline = self._now() + seconds
        if not queue.is_armed:
            queue.is_armed = True
            self._loop.call_at(deadline, self._fire, queue)
        return task, running

    def _open(self, seconds: float) -> _Queue | None:
        """A queue for a timeout that had none; None where there are too many."""
        if len(self._queues) >= _QUEUES:
            return None
        queue = self._queues[seconds] = _Queue()
        return queue

    def _start_alone(self, task: Task, seconds: float) -> Entry:
        """For a timeout without a queue, a second one of the same task, or a task that is being cancelled already."""
        alone = _Alone(task)
        alone[task] = deadline = self._now() + seconds
        alone.timer = self._loop.call_at(deadline, _expire, task, alone)
        return task, alone

    @staticmethod
    def stop(entry: Entry) -> bool:
        """The attempt is over, however it ended; whether a cancellation of it was this deadline's alone.

        A deadline that fired takes its cancellation back in any case, as asyncio.timeout
        does: the task may have ended in another way before it got to it.
        """
        task, running = entry
        is_cut_off = running.pop(task, None) is None
        before = 0
        if type(running) is _Alone:
            before = running.cancelling
            if running.timer is not None:
                running.timer.cancel()
        return is_cut_off and task.uncancel() <= before

    def _fire(self, queue: _Queue) -> None:
        running, over = queue.running, []
        # The clock may be a hair before the deadline that the loop fired for.
        now = self._now() + 1e-6
        for task, deadline in running.items():
            if deadline > now:
                queue.is_armed = True
                self._loop.call_at(deadline, self._fire, queue)
                break
            over.append(task)
        else:
            queue.is_armed = False
        for task in over:
            _expire(task, running)


def _expire(task: Task, running: dict[Task, float]) -> None:
    del running[task]
    task.cancel()
