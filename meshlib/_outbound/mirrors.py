"""Mirrored copies of synchronous clients: sent by a few daemon threads, bounded, their replies dropped."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

__all__ = ["LONGEST_REPLY", "ThreadMirrors"]

LONGEST_REPLY: Final = 2**24
"""Bytes of an answer that are read, and dropped, so that the mirror can finish it: a longer one is broken off."""

_MOST: Final = 128
_THREADS: Final = 4
_IDLE_SECONDS: Final = 5.0


class ThreadMirrors:
    """Runs jobs in the background; above a limit further ones are left out. Nobody waits for them, not even the exit.

    A thread that finds nothing to do for a while ends. A forked child starts without any.
    """

    def __init__(self) -> None:
        self._wake = threading.Condition()
        self._jobs: deque[Callable[[], None]] = deque()
        self._threads = self._idle = 0
        self._process = os.getpid()
        self._is_closed = False
        self.dropped = 0

    def start(self, job: Callable[[], None]) -> None:
        """Run ``job`` soon; what it raises is dropped."""
        if self._process != os.getpid():
            self.__init__()  # type: ignore[misc]
        with self._wake:
            if self._is_closed or len(self._jobs) >= _MOST:
                self.dropped += 1
                return
            self._jobs.append(job)
            if self._idle >= len(self._jobs) or self._threads >= _THREADS:
                self._wake.notify()
                return
            self._threads += 1
        threading.Thread(target=self._run, name="meshlib-mirror", daemon=True).start()

    def close(self) -> None:
        """Leave out what has not begun."""
        with self._wake:
            self._is_closed = True
            self._jobs.clear()
            self._wake.notify_all()

    def _next(self) -> Callable[[], None] | None:
        with self._wake:
            if not self._jobs and not self._is_closed:
                self._idle += 1
                self._wake.wait(_IDLE_SECONDS)
                self._idle -= 1
            if self._jobs:
                return self._jobs.popleft()
            self._threads -= 1
            return None

    def _run(self) -> None:
        while (job := self._next()) is not None:
            try:
                job()
            except Exception:  # noqa: BLE001 - a copy never fails anything
                self.dropped += 1
