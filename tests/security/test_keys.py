"""The keys of issuers: read ahead, in the background, once for all, and never at another issuer's cost."""

from __future__ import annotations

import gc
import json
import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from meshlib._engine.jwt_keys import KeySet, parse_keys
from meshlib._inbound.key_fetch import KeyFetchError
from meshlib._inbound.key_store import EARLY, FIRST_RETRY, QUICK_RETRY, QUICK_TRIES, REFRESH, STALE, KeyRecord
from meshlib._inbound.keys import KeyManager
from meshlib._snapshot.authentication import Authentication, KeyOrigin, TokenRule
from tests.patience import PATIENCE, wait_until

KEY = ec.generate_private_key(ec.SECP256R1())
JWKS = json.dumps({"keys": [{**json.loads(jwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key())), "kid": "k"}]})
ORIGIN, OTHER = KeyOrigin(uri="http://a.test/keys", issuer="a"), KeyOrigin(uri="http://b.test/keys", issuer="b")


def rules(*origins: KeyOrigin) -> Authentication:
    return Authentication(rules=tuple(TokenRule(issuer=origin.issuer, keys=origin) for origin in origins))


class Issuers:
    """Answers readings of keys as told, and counts them. ``clock`` is the manager's."""

    def __init__(self) -> None:
        self.clock = 1000.0
        self.readings: list[str] = []
        self.down: set[str] = set()
        self.gates: dict[str, threading.Event] = {}
        self._changed = threading.Condition()

    def __call__(self, origin: KeyOrigin) -> KeySet:
        gate = self.gates.get(origin.issuer)
        with self._changed:
            self.readings.append(origin.issuer)
            self._changed.notify_all()
        if gate is not None:
            assert gate.wait(PATIENCE)
        if origin.issuer in self.down:
            raise KeyFetchError(f"{origin.issuer} is down")
        return parse_keys(JWKS)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Until a reading in the background has made something true."""
        with self._changed:
            assert self._changed.wait_for(condition, PATIENCE)

    def manager(self, *origins: KeyOrigin) -> KeyManager:
        made = KeyManager(fetch=self, now=lambda: self.clock)
        made.prepare(rules(*origins))
        return made


@pytest.fixture
def issuers() -> Issuers:
    return Issuers()


def settle(manager: KeyManager) -> None:
    """Until no reading is under way."""
    for reading in list(manager._running.values()):
        manager.wait(reading, PATIENCE)


def test_keys_are_read_before_anybody_asks(issuers: Issuers) -> None:
    """Once for each issuer, and from then on handed out without waiting."""
    manager = issuers.manager(ORIGIN, OTHER)
    settle(manager)
    assert manager.find(ORIGIN) is not None
    assert sorted(issuers.readings) == ["a", "b"]
    manager.prepare(rules(ORIGIN, OTHER))  # the same issuers in a new configuration keep their keys
    assert manager.find(ORIGIN) is not None
    assert sorted(issuers.readings) == ["a", "b"]
    manager.close()


def test_a_hundred_requests_share_one_reading(issuers: Issuers) -> None:
    """All that come before the keys wait for the same reading."""
    issuers.gates["a"] = threading.Event()
    manager = issuers.manager(ORIGIN)
    with ThreadPoolExecutor(20) as pool:
        readings = list(pool.map(lambda _: manager.hurry(ORIGIN), range(100)))
    assert len({id(reading) for reading in readings}) == 1
    issuers.gates["a"].set()
    settle(manager)
    assert issuers.readings == ["a"]
    manager.close()


def test_an_unknown_key_brings_one_reading_a_minute(issuers: Issuers) -> None:
    """Whoever makes up key ids cannot make us ask the issuer for each."""
    manager = issuers.manager(ORIGIN)
    settle(manager)
    first = manager.hurry(ORIGIN)
    assert first is not None
    manager.wait(first, PATIENCE)
    assert [manager.hurry(ORIGIN) for _ in range(200)] == [None] * 200
    assert issuers.readings == ["a", "a"]
    issuers.clock += EARLY
    again = manager.hurry(ORIGIN)
    assert again is not None
    manager.wait(again, PATIENCE)
    assert issuers.readings == ["a", "a", "a"]
    manager.close()


def test_keys_are_read_again_in_the_background(issuers: Issuers) -> None:
    """Every twenty minutes, while the old ones are handed out."""
    manager = issuers.manager(ORIGIN)
    settle(manager)
    before = manager.find(ORIGIN)
    issuers.gates["a"] = threading.Event()
    issuers.clock += REFRESH
    manager._wake.set()
    issuers.wait_for(lambda: len(issuers.readings) == 2)
    assert manager.find(ORIGIN) is before
    issuers.gates["a"].set()
    settle(manager)
    assert manager.find(ORIGIN) is not before
    manager.close()


def test_stale_keys_are_used_while_the_issuer_is_down_up_to_a_day(issuers: Issuers) -> None:
    """And then no longer: an issuer that nobody has heard of for that long may have withdrawn them."""
    manager = issuers.manager(ORIGIN)
    settle(manager)
    issuers.down.add("a")
    issuers.clock += STALE
    reading = manager.hurry(ORIGIN)
    assert reading is not None
    manager.wait(reading, PATIENCE)
    assert manager.find(ORIGIN) is not None
    assert manager.problems() == {"a": "a is down"}
    assert manager.figures() == [("meshlib_jwks_up", (("issuer", "a"),), 0.0)]
    issuers.clock += 1
    assert manager.find(ORIGIN) is None
    manager.close()


def test_failures_are_remembered(issuers: Issuers) -> None:
    """Seven quick tries, then a minute, doubling up to an hour; a success forgets them all."""
    record = KeyRecord()
    waits = []
    for _ in range(QUICK_TRIES + 8):
        record.fail("down", issuers.clock)
        waits.append(record.due_at - issuers.clock)
    assert waits[: QUICK_TRIES - 1] == [QUICK_RETRY] * (QUICK_TRIES - 1)
    assert waits[QUICK_TRIES - 1 :] == [FIRST_RETRY * 2**turn for turn in range(6)] + [3600.0] * 3
    record.succeed(parse_keys(JWKS), issuers.clock)
    assert (record.failures, record.problem, record.due_at - issuers.clock) == (0, "", REFRESH)
    record.fail("down", issuers.clock)
    assert record.due_at - issuers.clock == FIRST_RETRY


def test_an_issuer_that_hangs_holds_up_nobody_else(issuers: Issuers) -> None:
    """The keys of others are read, found, and read again meanwhile."""
    issuers.gates["a"] = threading.Event()
    manager = issuers.manager(ORIGIN, OTHER)
    other = manager._running.get(OTHER)
    if other is not None:
        manager.wait(other, PATIENCE)
    assert manager.find(OTHER) is not None
    assert manager.find(ORIGIN) is None
    early = manager.hurry(OTHER)
    assert early is not None
    manager.wait(early, PATIENCE)
    assert issuers.readings.count("b") == 2
    issuers.gates["a"].set()
    settle(manager)
    manager.close()


def test_a_broken_issuer_is_one_warning(issuers: Issuers, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever its answer makes of the reading, and however often."""
    calls = []

    def broken(_: KeyOrigin) -> KeySet:
        calls.append(1)
        raise ZeroDivisionError

    manager = KeyManager(fetch=broken, now=lambda: issuers.clock)
    manager.prepare(rules(ORIGIN))
    settle(manager)
    early = manager.hurry(ORIGIN)
    assert early is not None
    manager.wait(early, PATIENCE)
    assert len(calls) == 2
    assert manager.find(ORIGIN) is None
    assert caplog.text.count("cannot be read") == 1
    manager.close()


def test_an_issuer_without_a_name_is_shown_by_its_place(issuers: Issuers) -> None:
    """What is secret in that is not."""
    manager = issuers.manager(KeyOrigin(uri="https://me:secret@keys.test/jwks?key=secret"))
    settle(manager)
    ((_, labels, _),) = manager.figures()
    assert labels == (("issuer", "https://keys.test/jwks"),)
    manager.close()


def test_without_a_thread_keys_are_tried_again_later(issuers: Issuers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process may have as many as it can."""
    manager = issuers.manager(ORIGIN)
    settle(manager)

    def full(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", full)
        reading = manager.hurry(ORIGIN)
    assert reading is not None
    assert reading.done()
    assert "can't start new thread" in manager.problems().values()
    assert manager.find(ORIGIN) is not None
    issuers.clock += EARLY
    later = manager.hurry(ORIGIN)
    assert later is not None
    manager.wait(later, PATIENCE)
    assert manager.problems() == {}
    manager.close()


def test_issuers_that_are_gone_are_forgotten(issuers: Issuers) -> None:
    """Their keys verify nothing any more."""
    manager = issuers.manager(ORIGIN, OTHER)
    settle(manager)
    manager.prepare(rules(OTHER))
    assert manager.find(ORIGIN) is None
    assert manager.find(OTHER) is not None
    assert manager.hurry(ORIGIN) is None
    manager.close()


def test_rules_that_come_again_get_what_is_being_read(issuers: Issuers) -> None:
    """A reload back and forth, while the issuer answers slowly: the request that waits for it finds the keys."""
    issuers.gates["a"] = threading.Event()
    manager = issuers.manager(ORIGIN)
    issuers.wait_for(lambda: issuers.readings == ["a"])
    manager.prepare(rules(OTHER))
    manager.prepare(rules(ORIGIN))
    reading = manager.hurry(ORIGIN)
    issuers.gates["a"].set()
    assert reading is not None
    manager.wait(reading, PATIENCE)
    assert manager.find(ORIGIN) is not None
    manager.close()


def test_keys_in_a_rule_need_no_reading(issuers: Issuers) -> None:
    """And those that are no keys are none."""
    inline, broken = KeyOrigin(inline=JWKS, issuer="a"), KeyOrigin(inline="{", issuer="b")
    manager = issuers.manager(inline, broken)
    assert manager.find(inline) is not None
    assert manager.find(broken) is None
    assert manager.hurry(inline) is None
    assert issuers.readings == []
    manager.close()


def test_closing_ends_the_thread_and_keeps_the_keys(issuers: Issuers) -> None:
    """Requests that still run are answered."""
    manager = issuers.manager(ORIGIN)
    settle(manager)
    thread = manager._thread
    assert thread is not None
    manager.close()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert manager.find(ORIGIN) is not None


def test_a_manager_that_nobody_has_ends_by_itself(issuers: Issuers) -> None:
    """A mesh that is dropped leaves no thread behind that keeps it alive."""
    manager = issuers.manager(ORIGIN)
    settle(manager)
    thread, wake, gone = manager._thread, manager._wake, weakref.ref(manager)
    del manager

    def is_gone() -> bool:
        gc.collect()
        wake.set()
        return gone() is None

    wait_until(is_gone)
    assert thread is not None
    wake.set()
    thread.join(PATIENCE)
    assert not thread.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_reads_by_itself(issuers: Issuers) -> None:
    """It has the keys at once, and a thread of its own that reads them again."""
    manager = issuers.manager(ORIGIN)
    settle(manager)
    end, start = os.pipe()
    child = os.fork()
    if child == 0:
        result = b"failed"
        try:
            issuers.clock += REFRESH  # due here only: the parent's thread may still be about to look
            known = manager.find(ORIGIN) is not None
            manager._turn()
            settle(manager)
            thread = manager._thread
            if known and thread is not None and thread.is_alive() and issuers.readings == ["a", "a"]:
                result = b"read"
        finally:
            os.write(start, result)
            os._exit(0)
    os.close(start)
    with os.fdopen(end, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    manager.close()
    assert answer == b"read"
