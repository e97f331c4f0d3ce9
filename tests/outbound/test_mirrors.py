"""Background threads of mirrored copies: bounded, never waited for, never failing anything."""

from __future__ import annotations

import threading

from meshlib._outbound.mirrors import ThreadMirrors
from tests.patience import PATIENCE, wait_until


def fail() -> None:
    raise LookupError("on purpose")


def test_jobs_are_done() -> None:
    """All of them, by a few threads."""
    done: list[int] = []
    threads: set[int | None] = set()

    def job(number: int) -> None:
        threads.add(threading.current_thread().ident)
        done.append(number)

    mirrors = ThreadMirrors()
    for number in range(50):
        mirrors.start(lambda number=number: job(number))  # type: ignore[misc]
    wait_until(lambda: len(done) == 50)
    assert len(threads) <= 4
    mirrors.close()


def test_a_full_queue_leaves_copies_out() -> None:
    """And counts them."""
    gate = threading.Event()
    mirrors = ThreadMirrors()
    for _ in range(200):
        mirrors.start(lambda: gate.wait(PATIENCE) and None)
    assert 200 - 128 - 4 <= mirrors.dropped <= 200 - 128
    gate.set()
    mirrors.close()


def test_a_job_that_fails_is_dropped() -> None:
    """The thread goes on."""
    done: list[int] = []
    mirrors = ThreadMirrors()
    mirrors.start(fail)
    mirrors.start(lambda: done.append(1))
    wait_until(lambda: done == [1] and mirrors.dropped == 1)
    mirrors.close()


def test_threads_are_daemons_and_end_when_closed() -> None:
    """Nobody waits for them at the exit."""
    seen: list[threading.Thread] = []
    mirrors = ThreadMirrors()
    mirrors.start(lambda: seen.append(threading.current_thread()))
    wait_until(lambda: bool(seen))
    assert seen[0].daemon
    mirrors.close()
    seen[0].join(PATIENCE)
    assert not seen[0].is_alive()


def test_nothing_starts_after_the_close() -> None:
    """It is left out."""
    mirrors = ThreadMirrors()
    mirrors.close()
    mirrors.start(lambda: None)
    assert mirrors.dropped == 1
