"""Events for those who listen on ``/events``: bounded on both sides.

The latest rare events (ejections, published and rejected configurations) are kept, so
that a page that opens, or a stream that is taken up again, shows what went before. What
comes with requests (retries, faults, exchanges …) is delivered only to who asks for it.
A listener that does not keep up loses the oldest, and is told how many.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from threading import Lock
from typing import Any, Final, NamedTuple

import msgspec

from meshlib.admin.messages import BadAskError
from meshlib.admin.redaction import redacted
from meshlib.events import (
    AttemptFinished,
    ConfigPublished,
    ConfigRejected,
    EndpointEjected,
    EndpointUnejected,
    Event,
    ExchangeFinished,
    FaultInjected,
    RequestServed,
    RetryScheduled,
)

__all__ = ["KEPT", "Feed", "Listener", "Record", "wanted_kinds"]

KEPT: Final[tuple[type[Event], ...]] = (EndpointEjected, EndpointUnejected, ConfigPublished, ConfigRejected)
"""The events that are delivered to everyone."""

_ON_DEMAND: Final[tuple[type[Event], ...]] = (
    AttemptFinished, ExchangeFinished, FaultInjected, RequestServed, RetryScheduled
)  # fmt: skip
_BY_NAME: Final[Mapping[str, type[Event]]] = {kind.__name__: kind for kind in (*KEPT, *_ON_DEMAND)}
_RECENT: Final = 200
_QUEUE: Final = 256
_MOST_LISTENERS: Final = 16
_FINDINGS: Final = 20


class Record(NamedTuple):
    """One event of one member. ``number`` counts the kept ones from 1; 0 for all others. ``time`` is Unix time."""

    number: int
    member: str
    time: float
    event: Event

    def message(self) -> bytes:
        """As a message of an event stream."""
        # The time is passed as a float, and the surrogates of undecodable header bytes become question marks.
        values: dict[str, Any] = {"member": self.member, "time": round(self.time, 3), **event_json(self.event)}
        data = json.dumps(redacted(values), separators=(",", ":")).encode("utf-8", "replace")
        number = f"id: {self.number}\n".encode() if self.number else b""
        return number + b"event: " + type(self.event).__name__.encode() + b"\ndata: " + data + b"\n\n"


def event_json(event: Event) -> dict[str, Any]:
    """The fields of an event; of a served path nothing after the question mark."""
    if isinstance(event, ConfigRejected):
        shown = [msgspec.to_builtins(finding) for finding in event.findings[:_FINDINGS]]
        return {"reason": event.reason[:2000], "findings": shown}
    values: dict[str, Any] = msgspec.to_builtins(event)
    if isinstance(event, RequestServed):
        values["path"] = re.split(r"[?#]", event.path, maxsplit=1)[0]
    return values


class Listener:
    """One open stream. ``wake`` is called, from any thread, when there is something new."""

    def __init__(self, wake: Callable[[], object]) -> None:
        self._wake = wake
        self._queue: deque[Record] = deque(maxlen=_QUEUE)
        self._is_woken = False
        self._lost = 0

    def put(self, record: Record) -> None:
        """Queue an event; the oldest is lost if the queue is full."""
        if len(self._queue) >= _QUEUE:
            self._lost += 1
        self._queue.append(record)
        if not self._is_woken:
            self._is_woken = True
            try:
                self._wake()
            except RuntimeError:  # the loop of the stream is closed
                self._queue.clear()

    def take(self) -> list[bytes]:
        """What has come since the last time, as messages of an event stream."""
        self._is_woken = False
        lost, self._lost = self._lost, 0
        found = [f'event: lost\ndata: {{"count":{lost}}}\n\n'.encode()] if lost else []
        for _ in range(_QUEUE):
            try:
                record = self._queue.popleft()
            except IndexError:
                break
            found.append(record.message())
        return found


class Feed:
    """The events of all members, with those who listen."""

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time
        self._recent: deque[Record] = deque(maxlen=_RECENT)
        self._listeners: dict[Listener, list[Callable[[], None]]] = {}
        self._observes: dict[str, Callable[..., Callable[[], None]]] = {}
        self._ends: list[Callable[[], None]] = []
        self._number = 0
        self._lock = Lock()

    def add(self, member: str, observe: Callable[..., Callable[[], None]]) -> None:
        """Deliver the events of one mesh, from now on, under the name of its member."""
        self._observes[member] = observe
        self._ends.append(observe(lambda event: self.keep(member, event), *KEPT))

    def open(self, wake: Callable[[], object], kinds: Iterable[type[Event]], last: int | None) -> Listener:
        """A stream of all kept events and of ``kinds``, from after number ``last`` on (None: with the recent ones)."""
        listener = Listener(wake)
        ends: list[Callable[[], None]] = []
        with self._lock:
            if len(self._listeners) >= _MOST_LISTENERS:
                raise BadAskError(f"{_MOST_LISTENERS} event streams are open already", 503)
            # A number from before a restart is higher than ours: begin anew.
            after = 0 if last is None or last > self._number else last
            for record in self._recent:
                if record.number > after:
                    listener.put(record)
            self._listeners[listener] = ends
        extra = [kind for kind in kinds if kind not in KEPT]
        if extra:
            for member, observe in self._observes.items():
                ends.append(observe(self._forward(listener, member), *extra))
        return listener

    def close(self, listener: Listener) -> None:
        """End a stream."""
        with self._lock:
            ends = self._listeners.pop(listener, [])
        for end in ends:
            end()

    def detach(self) -> None:
        """Listen to no mesh any more."""
        for end in self._ends:
            end()
        self._ends.clear()

    def reset_after_fork(self) -> None:
        """In a forked child: the streams are the parent's."""
        self._lock = Lock()
        for ends in self._listeners.values():
            for end in ends:
                end()
        self._listeners.clear()

    def _forward(self, listener: Listener, member: str) -> Callable[[Event], None]:
        return lambda event: listener.put(Record(0, member, self._time(), event))

    def keep(self, member: str, event: Event) -> None:
        """Deliver an event to everyone, and keep it for those who come later."""
        with self._lock:
            self._number += 1
            record = Record(self._number, member, self._time(), event)
            self._recent.append(record)
            for listener in self._listeners:
                listener.put(record)

    def __repr__(self) -> str:
        return f"<Feed events={self._number} listeners={len(self._listeners)}>"


def wanted_kinds(text: str) -> list[type[Event]]:
    """``RetryScheduled,FaultInjected``: the kinds by name. Raises BadAskError for an unknown one."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in _BY_NAME:
            raise BadAskError(f"there is no event {name[:60]!r}; known are {', '.join(sorted(_BY_NAME))}")
    return [_BY_NAME[name] for name in names]
