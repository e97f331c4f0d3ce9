"""The thread that looks names up again before their answers end."""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable
from typing import Final, Protocol

from meshlib._clock import Clock
from meshlib._names.lookup import Answer, Lookup, best_lookup
from meshlib._names.records import Names, names_in
from meshlib._snapshot.snapshot import Snapshot

__all__ = ["Resolver"]

_log = logging.getLogger("meshlib")

UNTOLD: Final = 30.0
"""Seconds after which a name is looked up again whose time to live is not known."""
SHORTEST: Final = 1.0
"""A shorter time to live counts as this one."""
AT_ONCE: Final = 16
"""Look-ups on their way; those of a name server that hangs are among them."""


class Publisher(Protocol):
    """What puts snapshots in force."""

    clock: Clock
    compiled: Snapshot

    def resolve_by(self, resolved: Callable[[Snapshot], Snapshot]) -> None:
        """Put in force, now and at each publish, what the function makes of the snapshot as compiled."""
        ...


class Resolver:
    """Keeps the endpoints of DNS clusters up to date, once started.

    Names are looked up each on its own, so that a name server that hangs holds up its
    names only. After a failure the last good answer stays; a name that is gone has no
    endpoint any more, as in Envoy. After both the next try comes after the mesh's
    ``dnsRefreshRate``.
    """

    def __init__(self, publisher: Publisher, lookup: Lookup | None = None) -> None:
        self._publisher = publisher
        self._lookup = lookup
        self._names = Names()
        self._due: dict[str, float] = {}
        self._failing: set[str] = set()
        self.is_closed = False
        self.reset_after_fork()

    def reset_after_fork(self) -> None:
        """In a forked child there is no thread; what is known stays."""
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._asked: set[str] = set()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, if the configuration in force asks for names at all."""
        with self._lock:
            if self._thread is None and not self.is_closed and self.names():
                wake = self._wake
                arguments = (weakref.ref(self, lambda _: wake.set()), wake)
                self._thread = threading.Thread(target=_run, args=arguments, name="meshlib-names", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """End the thread; the addresses that are known stay in force."""
        self.is_closed = True
        self._wake.set()

    def names(self) -> frozenset[str]:
        """The names that the configuration in force asks for."""
        return names_in(self._publisher.compiled)

    # -- in the threads --------------------------------------------------------------------------------

    def step(self) -> float:
        """Begin the look-ups that are due; gives the seconds until the next one is."""
        names = self.names()
        now = self._publisher.clock.monotonic()
        with self._lock:
            self._names.forget_all_but(names)
            self._due = {name: self._due.get(name, now) for name in names}
            due = [name for name, at in self._due.items() if at <= now and name not in self._asked]
            due = due[: AT_ONCE - len(self._asked)]
            self._asked.update(due)
            waiting = [at for name, at in self._due.items() if name not in self._asked]
        for name in due:
            self._begin(name)
        # A look-up that ends wakes the thread; so does a publish, after UNTOLD at the latest.
        return max(min(waiting, default=now + UNTOLD) - now, 0.01) if due or waiting else UNTOLD

    def _begin(self, name: str) -> None:
        """One thread for one name."""
        threading.Thread(target=self._look_up, args=(name,), name=f"meshlib-names {name}", daemon=True).start()

    def _look_up(self, name: str) -> None:
        answer = self._answer(name)
        wait = self._publisher.compiled.dns_refresh_rate
        with self._lock:
            is_news = answer is not None and self._names.learn(name, answer)
            if answer is not None and answer.addresses:
                wait = UNTOLD if answer.ttl is None else max(answer.ttl, SHORTEST)
            self._asked.discard(name)
            self._due[name] = self._publisher.clock.monotonic() + wait
        if is_news:
            self._publisher.resolve_by(self._names.resolved)
        self._wake.set()

    def _answer(self, name: str) -> Answer | None:
        if self._lookup is None:
            self._lookup = best_lookup()
        try:
            answer = self._lookup(name)
        except OSError as error:
            self._warn(name, "%s cannot be resolved (%s); what is known of it stays in force", name, error)
            return None
        if answer is not None and not answer.addresses:
            self._warn(name, "the name servers know no %s; it has no endpoint any more", name)
        else:
            self._failing.discard(name)
        return answer

    def _warn(self, name: str, message: str, *facts: object) -> None:
        """Once, until it is found again."""
        if name not in self._failing:
            self._failing.add(name)
            _log.warning(message, *facts)


def _run(reference: weakref.ref[Resolver], wake: threading.Event) -> None:
    """Until the resolver is closed, or nobody has it any more."""
    while (resolver := reference()) is not None and not resolver.is_closed:
        wake.clear()
        wait = resolver.step()
        del resolver
        wake.wait(wait)
