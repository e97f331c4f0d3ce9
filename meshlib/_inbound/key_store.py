"""When the keys of an issuer are read, kept and given up: bookkeeping without I/O.

The numbers are those of Istio's control plane (pilot/pkg/model/jwks_resolver.go): keys
are read again every 20 minutes; a failure is tried again after a minute, doubling up to
an hour; before the first success, seven quick tries a second apart. While an issuer is
down its last keys stay in use, here for at most a day. A token with a key that is not
known may bring the next reading forward, once a minute.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from meshlib._engine.jwt_keys import KeySet

__all__ = ["KeyRecord"]

REFRESH: Final = 20 * 60.0
FIRST_RETRY: Final = 60.0
LONGEST_RETRY: Final = 3600.0
QUICK_TRIES: Final = 7
QUICK_RETRY: Final = 1.0
STALE: Final = 24 * 3600.0
EARLY: Final = 60.0


@dataclass(slots=True)
class KeyRecord:
    """The keys of one origin, and when to read them again. Times are those of a monotonic clock."""

    keys: KeySet | None = None
    read_at: float = 0.0
    due_at: float = 0.0
    failures: int = 0
    last_early: float = float("-inf")
    problem: str = ""

    def usable(self, now: float) -> KeySet | None:
        """The keys, unless they are too old to be trusted."""
        return self.keys if self.keys is not None and now - self.read_at <= STALE else None

    def succeed(self, keys: KeySet, now: float) -> None:
        """Take new keys into use."""
        self.keys, self.read_at, self.due_at = keys, now, now + REFRESH
        self.failures, self.problem = 0, ""

    def fail(self, problem: str, now: float) -> None:
        """Keep what there is, and try again later."""
        self.failures += 1
        self.problem = problem
        if self.keys is None and self.failures < QUICK_TRIES:
            self.due_at = now + QUICK_RETRY
            return
        slow = self.failures - (QUICK_TRIES if self.keys is None else 1)
        self.due_at = now + min(FIRST_RETRY * 2 ** min(slow, 10), LONGEST_RETRY)

    def hurry(self, now: float) -> bool:
        """Ask for an early reading; false if the last one was less than a minute ago."""
        if now - self.last_early < EARLY:
            return False
        self.last_early, self.due_at = now, now
        return True
