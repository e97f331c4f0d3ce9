"""What happened in a simulation, in order: kept bounded, shown in as few lines as tell it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from meshlib.events import (
    AttemptFinished,
    ConfigPublished,
    ConfigRejected,
    EndpointEjected,
    EndpointUnejected,
    Event,
    ExchangeFinished,
    FaultInjected,
    Observer,
    RequestServed,
    RetryScheduled,
)

__all__ = ["Entry", "Timeline"]

_MOST: Final = 200_000
_SHOWN: Final = 60


class Entry(NamedTuple):
    """One event: when on the virtual clock, in which workload, what."""

    time: float
    workload: str
    event: Event

    def __str__(self) -> str:
        return f"{self.time:10.3f}  {self.workload:<12}  {text_of(self.event) or type(self.event).__name__}"


class Timeline:
    """The events of a simulation. ``str()`` shows at most sixty lines, equal ones in a row as one."""

    def __init__(self) -> None:
        self._entries: deque[tuple[float, str, Event]] = deque(maxlen=_MOST)
        self.ejections: list[Entry] = []
        self._is_paused = False

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Within, nothing is noted: the stage is being set."""
        self._is_paused = True
        try:
            yield
        finally:
            self._is_paused = False

    def listener(self, workload: str, now: Callable[[], float]) -> Observer:
        """What takes note of the events of a workload."""
        add = self._entries.append

        def note(event: Event) -> None:
            if self._is_paused:
                return
            add((now(), workload, event))
            if type(event) is EndpointEjected:
                self.ejections.append(Entry(now(), workload, event))

        return note

    def __iter__(self) -> Iterator[Entry]:
        return map(Entry._make, self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def lines(self) -> list[str]:
        """Everything worth a line: what went on as it should is one line, however often."""
        lines: list[str] = []
        pending: tuple[str, str] | None = None
        start = end = 0.0
        count = 0
        for time, workload, event in self._entries:
            text = text_of(event)
            if not text:
                continue
            if (workload, text) == pending:
                end, count = time, count + 1
                continue
            if pending is not None:
                lines.append(_line(start, end, count, *pending))
            pending, start, end, count = (workload, text), time, time, 1
        if pending is not None:
            lines.append(_line(start, end, count, *pending))
        return lines

    def __str__(self) -> str:
        lines = self.lines()
        if len(lines) > _SHOWN:
            half = _SHOWN // 2
            lines = [*lines[:half], f"            … {len(lines) - 2 * half} lines …", *lines[-half:]]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<Timeline events={len(self._entries)} ejections={len(self.ejections)}>"


def _line(start: float, end: float, count: int, workload: str, text: str) -> str:
    times = f"  × {count}, until {end:.3f}" if count > 1 else ""
    return f"{start:10.3f}  {workload:<12}  {text}{times}"


def text_of(event: Event) -> str:
    """The event in words; empty if another event tells the same."""
    match event:
        case ExchangeFinished():
            return _exchange(event)
        case AttemptFinished():
            # What was good is told by the end of its exchange.
            what = event.failure or (str(event.status) if event.status >= 500 else "")
            return f"  attempt {event.attempt} at {event.endpoint or event.cluster}: {what}" if what else ""
        case RetryScheduled():
            return f"  attempt {event.attempt} after {event.backoff * 1000:.1f} ms ({event.reason})"
        case FaultInjected(kind="delay"):
            return f"  fault at {event.host}: {event.seconds:g} s of delay"
        case FaultInjected():
            return f"  fault at {event.host}: {event.status}"
        case EndpointEjected():
            return f"  ejected {event.endpoint} of {event.cluster} for {event.seconds:g} s ({event.reason})"
        case EndpointUnejected():
            return f"  back: {event.endpoint} of {event.cluster}"
        case _:
            return _rarer(event)


def _exchange(event: ExchangeFinished) -> str:
    text = f"{event.method} {event.host} → {event.status or 'nothing, cancelled'}"
    if event.attempts > 1:
        text += f" after {event.attempts} attempts"
    if event.flags:
        text += f" [{','.join(event.flags)}]"
    return text


def _rarer(event: Event) -> str:
    match event:
        case RequestServed(decision="deny"):
            who = event.principal or "a caller without identity"
            return f"refused {event.method} {event.path} of {who}: {event.status}, {event.reason}"
        case ConfigPublished():
            return f"configuration {event.version}: {event.resources} resources, {event.warnings} warnings"
        case ConfigRejected():
            return f"configuration refused: {event.reason.splitlines()[0] if event.reason else ''}"
        case _:
            return ""
