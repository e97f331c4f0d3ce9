"""A second attempt beside a slow first one, within one exchange (ClientPolicy ``hedging``).

Rules:

* Only the first attempt of an exchange gets one, once its time and its budget have come
  (:mod:`meshlib._engine.hedges`). It never waits in a queue: without room it is left out.
* The first good answer wins: a status below 500 that the route does not retry. The other
  attempt is given up and counts as a local reset; its endpoint is not judged for it.
* If neither is good, the second was a retry: its outcome counts, and the route's retries
  go on after it.
"""

from __future__ import annotations

from collections.abc import Generator
from copy import copy
from typing import Final

from msgspec.structs import replace

from meshlib._engine.attempts import Attempts
from meshlib._engine.commands import Command, Race, Reply, Send, Steps
from meshlib._engine.hedges import Hedges, may_be_hedged
from meshlib._engine.limits import retry_limit
from meshlib._engine.mirrors import draw_copies
from meshlib._http import Failure, FailureKind, Headers, Outcome, Response
from meshlib._snapshot.routes import RetryPolicy
from meshlib.events import RetryScheduled

__all__ = ["Racing"]

_ELSEWHERE: Final = RetryPolicy(attempts=0, conditions=frozenset())
# What belongs to an attempt, and changes hands if the second one wins.
_OWN: Final = (
    "_cut_by_route", "_is_counted", "_is_counted_retry", "_ticket", "attempt_started", "attempts", "endpoint",
)  # fmt: skip


class Racing(Attempts):
    """Attempts of which the first may get a second one beside it."""

    @property
    def hedges(self) -> Hedges | None:
        """Those of the policy of the host; None where there are none."""
        return self.caller.hedges if self.caller is not None else None

    def forward_hedged(self, hedges: Hedges) -> Steps:
        """Attempt after attempt, the first one hedged."""
        if self.action.mirrors:
            yield from draw_copies(
                self.action.mirrors, self.published, self.request, self.headers, self._path, self._authority
            )
            self.action = replace(self.action, mirrors=())
        reply = yield from self.hedged_attempt(hedges)
        return (yield from self._forward()) if reply is None else reply

    def hedged_attempt(self, hedges: Hedges) -> Generator[Command, Outcome | None, Reply | None]:
        """The first attempt, and another if it is slow; None if a retry is to follow, after its back-off."""
        refusal = self._start_attempt()
        if refusal is None and self._ticket is not None:
            refusal = yield from self._wait_for_connection(self._ticket)
        if refusal is not None:
            return refusal
        send, clock = self._send(), self.published.clock
        delay = hedges.delay() if may_be_hedged(self.request) else None
        began = clock.monotonic()
        if delay is None:
            outcome = yield send
            assert outcome is not None
            reply = self._end_attempt(outcome)
        else:
            outcome, reply = yield from _Beside(self, hedges).run(send, delay)
        if isinstance(outcome, Response):
            hedges.record(clock.monotonic() - began)
        return (yield from self.back_off(outcome)) if reply is None else reply

    def split(self, headers: Headers, *, elsewhere: bool) -> Racing | None:
        """The second attempt, counted in; None where a limit or an empty cluster forbids it."""
        live = self.live
        assert live is not None
        second = copy(self)
        second.headers, second.recorder, second._flags = headers, None, ()
        second._is_counted = second._is_counted_retry = False
        second._ticket = None
        second._tried = (self.endpoint,) if elsewhere and self.endpoint is not None else ()
        retry = replace(self.action.retry or _ELSEWHERE, avoid_previous_hosts=True)
        second.action = replace(self.action, retry=retry)
        with live.state.lock:
            if live.state.retries >= retry_limit(live):
                return None
            live.state.retries += 1
        second._is_counted_retry = True
        if second._start_attempt() is not None or second._ticket is not None:
            second.give_up()
            return None
        return second

    def command(self) -> Send:
        """What the driver sends for it."""
        return self._send()

    def lose(self, outcome: Outcome | None) -> None:
        """The attempt is not the answer; None: it was given up while it was on its way."""
        if self.trace is not None or self.published.observers:
            self._tell(Failure(FailureKind.LOCAL_RESET, sent=True) if outcome is None else outcome)
        if outcome is not None and self.live is not None and self.endpoint is not None:
            self._judge(self.live, self.endpoint, outcome)
        self.give_up()

    def give_up(self) -> None:
        """Every counter of the attempt back."""
        self._give_up()

    def change_places(self, other: Racing) -> None:
        """Take over the attempt of ``other``, and leave it one's own."""
        for name in _OWN:
            mine = getattr(self, name)
            setattr(self, name, getattr(other, name))
            setattr(other, name, mine)

    def conclude(self, outcome: Outcome) -> Reply | None:
        """The reply that an attempt gives; None: it is to be retried."""
        return self._end_attempt(outcome)

    def is_answer(self, outcome: Outcome) -> bool:
        """Whether no other attempt need be waited for."""
        if not isinstance(outcome, Response) or outcome.status >= 500:
            return False
        retry = self.action.retry
        return retry is None or self._retry_why(retry, outcome) is None


class _Beside:
    """The two attempts of a race."""

    def __init__(self, exchange: Racing, hedges: Hedges) -> None:
        self._exchange = exchange
        self._hedges = hedges
        self._second: Racing | None = None
        self._headers = Headers()
        self._is_first_lost = False
        self._of_second: Outcome | None = None

    def run(self, send: Send, delay: float) -> Generator[Command, Outcome | None, tuple[Outcome, Reply | None]]:
        """The outcome that counts, and the reply that it gives; None: it is to be retried."""
        self._headers = Headers(self._exchange.headers)
        race = Race(send, delay, self._headers, self._enter, self._ended)
        try:
            outcome = yield race
        except BaseException:
            if self._second is not None:
                self._second.give_up()
            raise
        assert outcome is not None
        return outcome, self._finish(race.winner, outcome)

    def _enter(self) -> Send | None:
        """The second attempt; None: there is none."""
        if not self._hedges.take():
            return None
        second = self._exchange.split(self._headers, elsewhere=self._hedges.rules.elsewhere)
        if second is None:
            return None
        self._second, published = second, self._exchange.published
        self._hedges.send()
        send = second.command()
        if RetryScheduled in published.observers:
            waited = published.clock.monotonic() - self._exchange.attempt_started
            name = send.cluster.name
            published.notify(RetryScheduled(cluster=name, attempt=send.attempt, backoff=waited, reason="hedge"))
        return send

    def _ended(self, number: int, outcome: Outcome) -> bool:
        exchange = self._exchange
        if exchange.is_answer(outcome):
            return True
        if number:
            self._of_second = outcome
        elif self._second is not None:
            self._is_first_lost = True
            exchange.lose(outcome)
        return False

    def _finish(self, winner: int, outcome: Outcome) -> Reply | None:
        """Count both attempts out, the loser first."""
        exchange, second = self._exchange, self._second
        if second is None:
            return exchange.conclude(outcome)
        last = second.attempts
        if winner:
            if exchange.is_answer(outcome):
                self._hedges.win()
            exchange.change_places(second)
            if not self._is_first_lost:
                second.lose(None)
        else:
            second.lose(self._of_second)
        reply = exchange.conclude(outcome)
        exchange.attempts = last
        return reply
