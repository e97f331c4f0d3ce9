"""Two attempts at the same time in threads: what the driver does with the one that lost."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from meshlib._engine.commands import Race, Send
from meshlib._hedging import race
from meshlib._http import Failure, FailureKind, Headers, Outcome, Response
from tests.mesh_builders import make_cluster
from tests.patience import PATIENCE

CLUSTER = make_cluster(1, 2)


class Attempts:
    """A transport whose attempts, by number, wait until they are let go on, then answer or raise."""

    def __init__(self, *answers: Outcome | BaseException) -> None:
        self.answers = answers
        self.go = [threading.Event() for _ in answers]
        self.begun = [threading.Event() for _ in answers]
        self.over = [threading.Event() for _ in answers]
        self.discarded: list[int] = []
        self.aborted: list[int] = []
        self.adopted: int | None = None
        self.made = 0

    def beside(self, headers: Headers) -> One:
        self.made += 1
        return One(self, self.made - 1)

    def send(self, send: Send) -> Outcome:
        raise AssertionError(send)

    def discard(self, response: Response) -> None:
        raise AssertionError(response)

    def adopt(self, winner: object) -> None:
        assert isinstance(winner, One)
        self.adopted = winner.number

    def abort(self) -> None:
        raise AssertionError


class One(Attempts):
    def __init__(self, of: Attempts, number: int) -> None:
        self.of = of
        self.number = number

    def send(self, send: Send) -> Outcome:
        of, number = self.of, self.number
        of.begun[number].set()
        assert of.go[number].wait(PATIENCE)
        answer = of.answers[number]
        if isinstance(answer, BaseException):
            of.over[number].set()
            raise answer
        return answer

    def discard(self, response: Response) -> None:
        self.of.discarded.append(self.number)
        self.of.over[self.number].set()

    def abort(self) -> None:
        self.of.aborted.append(self.number)


def run(attempts: Attempts, *, enter: Callable[[], Send | None] | None = None) -> tuple[Outcome, Race]:
    made = Race(
        Send(CLUSTER, CLUSTER.endpoints[0]),
        0.0,
        Headers(),
        enter or (lambda: Send(CLUSTER, CLUSTER.endpoints[1], 2)),
        lambda _, outcome: isinstance(outcome, Response) and outcome.status < 500,
    )
    return race(made, attempts), made


def answer(status: int) -> Response:
    return Response(status, Headers())


def test_the_winner_is_returned_while_the_other_still_waits() -> None:
    """It is aborted, and what it gets nevertheless is dropped where it came."""
    attempts = Attempts(answer(200), answer(201))
    attempts.go[1].set()
    outcome, made = run(attempts)
    assert isinstance(outcome, Response)
    assert (outcome.status, made.winner, attempts.adopted, attempts.aborted) == (201, 1, 1, [0])
    attempts.go[0].set()
    assert attempts.over[0].wait(PATIENCE)
    assert attempts.discarded == [0]


def test_a_bad_answer_is_dropped_when_the_other_is_good() -> None:
    """In the thread of the caller: it was there already."""
    attempts = Attempts(answer(200), answer(503))
    attempts.go[1].set()
    enter = threading.Event()

    def let_first_go() -> None:
        assert enter.wait(PATIENCE)
        assert attempts.begun[1].wait(PATIENCE)
        attempts.go[0].set()

    helper = threading.Thread(target=let_first_go)
    helper.start()

    def entered() -> Send:
        enter.set()
        return Send(CLUSTER, CLUSTER.endpoints[1], 2)

    outcome, made = run(attempts, enter=entered)
    helper.join()
    assert isinstance(outcome, Response)
    assert (outcome.status, made.winner) == (200, 0)
    assert attempts.over[1].wait(PATIENCE) or attempts.aborted == [1]
    assert set(attempts.discarded) <= {1}


def test_if_neither_is_good_the_second_tells() -> None:
    """The first is dropped."""
    attempts = Attempts(answer(500), answer(503))
    for one in attempts.go:
        one.set()
    seen = []
    made = Race(
        Send(CLUSTER, CLUSTER.endpoints[0]),
        0.0,
        Headers(),
        lambda: Send(CLUSTER, CLUSTER.endpoints[1], 2),
        lambda number, _: bool(seen.append(number)),  # type: ignore[func-returns-value]
    )
    outcome = race(made, attempts)
    assert isinstance(outcome, Response)
    assert (outcome.status, made.winner) == ((503, 1) if len(seen) == 2 else (500, 0))
    assert attempts.adopted == made.winner


def test_what_the_first_raises_is_raised() -> None:
    """The caller's own timeout, say; the second is given up."""
    attempts = Attempts(ValueError("mine"), answer(200))
    enter = threading.Event()

    def entered() -> Send:
        enter.set()
        return Send(CLUSTER, CLUSTER.endpoints[1], 2)

    def let_first_go() -> None:
        assert attempts.begun[1].wait(PATIENCE)
        attempts.go[0].set()

    helper = threading.Thread(target=let_first_go)
    helper.start()
    with pytest.raises(ValueError, match="mine"):
        run(attempts, enter=entered)
    helper.join()
    assert attempts.aborted == [1]
    attempts.go[1].set()


def test_what_the_second_raises_is_a_reset() -> None:
    """And the first is waited for."""
    attempts = Attempts(answer(503), ValueError("its"))
    attempts.go[1].set()

    def let_first_go() -> None:
        assert attempts.over[1].wait(PATIENCE)
        attempts.go[0].set()

    helper = threading.Thread(target=let_first_go)
    helper.start()
    outcome, made = run(attempts)
    helper.join()
    assert isinstance(outcome, Failure)
    assert (outcome.kind, made.winner) == (FailureKind.LOCAL_RESET, 1)
    assert attempts.discarded == [0]


def test_there_may_be_no_second() -> None:
    """Then the first is all there is."""
    attempts = Attempts(answer(503))

    def none() -> None:
        attempts.go[0].set()

    outcome, made = run(attempts, enter=none)
    assert isinstance(outcome, Response)
    assert (outcome.status, made.winner, attempts.adopted) == (503, 0, 0)


def test_threads_are_used_again() -> None:
    """Each attempt has one of its own; the next finds it."""
    before = set(threading.enumerate())
    for _ in range(20):
        attempts = Attempts(answer(200))
        attempts.go[0].set()
        run(attempts, enter=lambda: None)
    started = [one for one in threading.enumerate() if one not in before and one.name == "meshlib-hedged"]
    assert len(started) <= 2


def test_a_dropped_attempt_is_aborted_before_it_begins() -> None:
    """Nobody can tell when its thread gets its turn."""
    from meshlib._outbound.attempt import Attempt, Droppable
    from meshlib._snapshot.clusters import ConnectionPool

    holder = Droppable()
    holder.abort()
    attempt = holder.attempt = Attempt(None, ConnectionPool(), None)
    with pytest.raises(TimeoutError):
        attempt.bound(None)
