"""Where the requests of one kind are counted: at once, or put down and counted many at a time."""

from __future__ import annotations

from collections import Counter as Numbers
from typing import TYPE_CHECKING, NamedTuple

from meshlib.telemetry.counters import Counter, Histogram
from meshlib.telemetry.fields import length_of

if TYPE_CHECKING:
    from meshlib.telemetry.meter import Attributes, Instruments

__all__ = ["RequestTally", "Targets"]


class Targets(NamedTuple):
    """Where the requests of one key are counted; None: that metric is off. Bytes of heads are those of the first."""

    requests: Counter | None
    duration: Histogram | None
    request_bytes: Histogram | None
    response_bytes: Histogram | None
    request_head: int
    response_head: int
    attempts: Counter | None = None
    overflows: Counter | None = None
    attributes: Attributes = ()

    def count_one(self, milliseconds: float, request: int, response: int, instruments: Instruments | None) -> None:
        """Count one request, with the bytes of its body and of the response's (-1: not known)."""
        requests, duration, request_bytes, response_bytes, request_head, response_head, _, _, attributes = self
        if requests is not None:
            requests.value += 1
        if duration is not None:
            duration.add(milliseconds)
        if request_bytes is not None:
            request_bytes.add(request + request_head)
        if response_bytes is not None:
            response_bytes.add(max(response, 0) + response_head)
        if instruments is not None:
            instruments.record(attributes, milliseconds, request + request_head, max(response, 0) + response_head)


class RequestTally:
    """Requests of one kind, usual and without a body: put down by one list each, counted many at a time.

    What one of them costs while a request waits is a fifth of counting it.
    """

    __slots__ = ("_targets", "lengths", "seconds")

    def __init__(self, targets: Targets) -> None:
        self._targets = targets
        self.seconds: list[float] = []
        self.lengths: list[int | str] = []
        """What Content-Length says of the responses' bodies, or their bytes; put down after the seconds."""

    def count(self) -> None:
        """Under the lock of the shard; more may be put down meanwhile."""
        lengths, seconds, targets = self.lengths, self.seconds, self._targets
        count = len(lengths)
        if not count:
            return
        done, took = lengths[:count], seconds[:count]
        del lengths[:count], seconds[:count]
        if targets.requests is not None:
            targets.requests.value += count
        if targets.attempts is not None:
            targets.attempts.value += count
        if targets.duration is not None:
            targets.duration.add_all([one * 1000.0 for one in took])
        if targets.request_bytes is not None:
            targets.request_bytes.add(targets.request_head, count)
        if targets.response_bytes is not None:
            for length, times in Numbers(done).items():
                size = length if isinstance(length, int) else length_of(length) or 0
                targets.response_bytes.add(max(size, 0) + targets.response_head, times)
