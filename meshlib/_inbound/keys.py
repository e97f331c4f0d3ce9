"""The keys of all issuers of a process: read in the background, one reading for all who wait.

No request waits for an issuer but its own, and that only before the first keys have
come, or when a token names a key that is not known yet.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from typing import Final

from meshlib._engine.jwt_keys import KeySet, KeySetError, parse_keys
from meshlib._inbound.key_fetch import KeyFetchError, fetch_keys, shown_place
from meshlib._inbound.key_store import STALE, KeyRecord
from meshlib._snapshot.authentication import Authentication, KeyOrigin

__all__ = ["KeyManager"]

_log = logging.getLogger("meshlib.security")

_LONGEST_SLEEP: Final = 60.0


class KeyManager:
    """Hands out keys at once (:meth:`find`), and reads them when they are due.

    ``fetch`` reads the keys of an origin, blocking; ``now`` is a monotonic clock. The
    threads are daemons, end with :meth:`close`, and are started again in a forked child.
    """

    def __init__(
        self, *, fetch: Callable[[KeyOrigin], KeySet] = fetch_keys, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._now = now
        self._inline: dict[str, KeySet | None] = {}
        self._records: dict[KeyOrigin, KeyRecord] = {}
        self._running: dict[KeyOrigin, Future[None]] = {}
        self.prepared: Authentication | None = None
        """The rules whose keys are read."""
        self.version = 0
        """Another one as soon as any keys are others."""
        self.stale_at: float | None = None
        """When the first of the keys are too old to be trusted; None: they are written in the rules."""
        self._reset_threads()
        if hasattr(os, "register_at_fork"):
            reference: weakref.ref[KeyManager] = weakref.ref(self)
            os.register_at_fork(after_in_child=lambda: _after_fork(reference))

    def _reset_threads(self) -> None:
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._is_closed = False
        self._thread: threading.Thread | None = None

    # -- for requests -----------------------------------------------------------------------------

    def find(self, origin: KeyOrigin) -> KeySet | None:
        """The keys of an origin that are known now; None if there are none. Never waits."""
        if origin.inline:
            return self._inline.get(origin.inline)
        record = self._records.get(origin)
        return record.usable(self._now()) if record is not None else None

    def hurry(self, origin: KeyOrigin) -> Future[None] | None:
        """Have the keys read now, because they are missing; what can be waited for.

        None where that would not help: the keys stand in the rule, or were read a moment ago.
        """
        if origin.inline:
            return None
        with self._lock:
            running = self._running.get(origin)
            record = self._records.get(origin)
            if running is not None or record is None:
                return running
            if not record.hurry(self._now()):
                return None
            return self._start_locked(origin, record)

    def wait(self, reading: Future[None], timeout: float) -> None:
        """Wait until a reading has ended, whatever came of it."""
        wait_for([reading], timeout)

    async def wait_async(self, reading: Future[None], *, seconds: float) -> None:
        """As :meth:`wait`, for an event loop."""
        await asyncio.wait([asyncio.wrap_future(reading)], timeout=seconds)

    def are_stale(self) -> bool:
        """Whether the keys of some issuer may be too old by now."""
        return self.stale_at is not None and self._now() > self.stale_at

    def problems(self) -> dict[str, str]:
        """Why the keys of an issuer could not be read last, by issuer; only those that could not."""
        return {_named(origin): one.problem for origin, one in self._records.items() if one.problem}

    def figures(self) -> list[tuple[str, tuple[tuple[str, str], ...], float]]:
        """For the metrics: whether the keys of each issuer could be read last."""
        records = list(self._records.items())
        return [("meshlib_jwks_up", (("issuer", _named(origin)),), float(not one.problem)) for origin, one in records]

    # -- in the background --------------------------------------------------------------------------

    def prepare(self, authentication: Authentication | None) -> None:
        """Begin to read the keys of all rules; those of rules that are gone are forgotten."""
        if authentication is self.prepared:
            return
        origins = {rule.keys for rule in authentication.rules} if authentication is not None else set()
        inline = {origin.inline: _parsed(origin) for origin in origins if origin.inline}
        with self._lock:
            self.prepared, self._inline = authentication, inline
            fetched = {origin for origin in origins if not origin.inline}
            self._records = {origin: self._records.get(origin) or KeyRecord() for origin in fetched}
            self._count_locked()
            self._start_due_locked()
            if self._records and self._thread is None and not self._is_closed:
                arguments = (weakref.ref(self), self._wake)
                self._thread = threading.Thread(target=_run, args=arguments, name="meshlib-keys", daemon=True)
                self._thread.start()
        self._wake.set()

    def close(self) -> None:
        """End the background reading; what is known stays."""
        self._is_closed = True
        self._wake.set()

    def _turn(self) -> float:
        """Begin what is due; how long nothing else will be, in seconds."""
        with self._lock:
            self._start_due_locked()
            now = self._now()
            due = min((record.due_at for record in self._waiting_locked()), default=now + _LONGEST_SLEEP)
        return min(max(due - now, 0.01), _LONGEST_SLEEP)

    def _waiting_locked(self) -> Iterable[KeyRecord]:
        return (record for origin, record in self._records.items() if origin not in self._running)

    def _start_due_locked(self) -> None:
        now = self._now()
        for origin, record in self._records.items():
            if origin not in self._running and record.due_at <= now:
                self._start_locked(origin, record)

    def _start_locked(self, origin: KeyOrigin, record: KeyRecord) -> Future[None]:
        """One thread for one reading: an issuer that hangs holds up nobody else."""
        reading: Future[None] = Future()
        self._running[origin] = reading
        arguments = (origin, record, reading)
        try:
            threading.Thread(target=self._read, args=arguments, name="meshlib-keys-read", daemon=True).start()
        except RuntimeError as error:  # there are as many threads as there may be
            del self._running[origin]
            record.fail(str(error), self._now())
            reading.set_result(None)
        return reading

    def _read(self, origin: KeyOrigin, record: KeyRecord, reading: Future[None]) -> None:
        keys: KeySet | None = None
        problem = ""
        try:
            keys = self._fetch(origin)
        except (KeyFetchError, KeySetError) as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 - a broken issuer must not end the reading of others
            problem = repr(error)
        with self._lock:
            record = self._records.get(origin, record)  # the rules may have gone, and come again, meanwhile
            if keys is not None:
                record.succeed(keys, self._now())
                self._count_locked()
            else:
                if not record.problem:
                    _log.warning("the keys of issuer %r cannot be read: %s", origin.issuer, problem)
                record.fail(problem, self._now())
            self._running.pop(origin, None)
        reading.set_result(None)
        self._wake.set()

    def _count_locked(self) -> None:
        ends = [record.read_at + STALE for record in self._records.values() if record.keys is not None]
        self.stale_at = min(ends, default=None)
        self.version += 1

    def __repr__(self) -> str:
        known = sum(record.keys is not None for record in self._records.values())
        return f"<KeyManager issuers={len(self._records)} known={known}>"


def _run(reference: weakref.ref[KeyManager], wake: threading.Event) -> None:
    """Read what is due until the manager is closed, or nobody has it any more."""
    while True:
        manager = reference()
        if manager is None or manager._is_closed:
            return
        pause = manager._turn()
        del manager  # a thread that waits keeps nothing alive
        wake.wait(pause)
        wake.clear()


def _named(origin: KeyOrigin) -> str:
    """An issuer as it is shown."""
    return origin.issuer or shown_place(origin.uri)


def _parsed(origin: KeyOrigin) -> KeySet | None:
    try:
        return parse_keys(origin.inline)
    except KeySetError as error:
        _log.warning("the keys written for issuer %r are not usable: %s", origin.issuer, error)
        return None


def _after_fork(reference: weakref.ref[KeyManager]) -> None:
    manager = reference()
    if manager is None:
        return
    authentication, manager.prepared = manager.prepared, None
    manager._running = {}
    manager._reset_threads()
    manager.prepare(authentication)
