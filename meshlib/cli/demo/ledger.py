"""What happened: counted from the pages that visitors got and from the events of the meshes."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from meshlib.events import EndpointEjected, EndpointUnejected, Event, FaultInjected, RetryScheduled

__all__ = [
    "EVERYONE",
    "FORGED",
    "JASON",
    "NO_TOKEN",
    "PLAINTEXT",
    "VALID",
    "WRONG_ACCOUNT",
    "Call",
    "Ledger",
    "Note",
    "service_of",
]

JASON: Final = "jason"
"""The one visitor who says who he is, in the header ``end-user``."""
EVERYONE: Final = "everyone"
"""All other visitors."""
VALID: Final = "a valid token"
FORGED: Final = "a forged token"
NO_TOKEN: Final = "no token"  # noqa: S105 - a label
PLAINTEXT: Final = "plaintext"
WRONG_ACCOUNT: Final = "another account"
_FEED_LENGTH: Final = 200


@dataclass(frozen=True, slots=True)
class Note:
    """One line for the event feed; ``at`` in seconds since the start."""

    at: float
    text: str
    is_bad: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """One kind of call: the service asked, for whom, and the status its caller saw (0: no answer)."""

    service: str
    user: str
    status: int


class Ledger:
    """Counters of one run. All of it happens on one event loop, so there are no locks.

    ``versions`` counts by user and version which reviews answered. ``aborts`` and
    ``delays`` count injected faults by service and route, ``injected_errors`` the aborts
    that look like errors, ``retries`` by service, ``accounts`` the answers to those who
    ask for their account, by kind of token and status, ``strangers`` those to callers who
    should not come in, by kind and status. ``peers`` counts the requests that servers got by
    the certificate that the caller showed, its account and its number, empty without one;
    ``renewed`` the times when all got new ones. ``ejected`` are the endpoints that are
    out now, with the earliest time of their return; ``moved`` is set when one goes or comes.
    ``notes`` are the latest lines of the event feed, ``noted`` their number since the start.
    ``name_of`` turns ``address:port`` into the name of a server, for the feed.
    """

    def __init__(self, now: Callable[[], float], name_of: Callable[[str], str] = str) -> None:
        self.now = now
        self._name_of = name_of
        self.sent = 0
        self.calls: Counter[Call] = Counter()
        self.versions: Counter[tuple[str, str]] = Counter()
        self.aborts: Counter[tuple[str, str]] = Counter()
        self.delays: Counter[tuple[str, str]] = Counter()
        self.retries: Counter[str] = Counter()
        self.accounts: Counter[tuple[str, int]] = Counter()
        self.strangers: Counter[tuple[str, int]] = Counter()
        self.peers: Counter[tuple[str, str]] = Counter()
        self.renewed: list[float] = []
        self.injected_errors = 0
        self.ejected: dict[str, float] = {}
        self.ejections: list[str] = []
        self.unejections: list[str] = []
        self.moved = asyncio.Event()
        self.notes: deque[Note] = deque(maxlen=_FEED_LENGTH)
        self.noted = 0

    def count(
        self, service: str | None = None, user: str | None = None, matches: Callable[[int], bool] = lambda _: True
    ) -> int:
        """The calls to a service for a user with a matching status; None stands for all."""
        return sum(
            number
            for call, number in self.calls.items()
            if (service is None or call.service == service)
            and (user is None or call.user == user)
            and matches(call.status)
        )

    def reviewed(self, user: str) -> dict[str, int]:
        """How often each version of reviews answered a user, by version."""
        return {version: number for (who, version), number in sorted(self.versions.items()) if who == user}

    def note(self, text: str, *, is_bad: bool = False) -> None:
        """Add a line to the event feed."""
        self.notes.append(Note(self.now(), text, is_bad))
        self.noted += 1

    def record_page(self, user: str, status: int, page: Mapping[str, Any]) -> None:
        """Count one visitor's answer and what the page says of the calls behind it."""
        self.calls[Call("productpage", user, status)] += 1
        reviews = page.get("reviews", {})
        answers = {"details": page.get("details"), "reviews": reviews, "ratings": reviews.get("ratings")}
        for service, answer in answers.items():
            if answer:
                self.calls[Call(service, user, answer["status"])] += 1
        if "version" in reviews:
            self.versions[user, reviews["version"]] += 1

    def record_account(self, kind: str, status: int, answer: str) -> None:
        """Count the answer to a visitor who asks for the account; the first of each kind is told."""
        if not any(kind == known for known, _ in self.accounts):
            self.note(f"/account with {kind}: {status} {answer}", is_bad=status == 0)
        self.accounts[kind, status] += 1

    def record_stranger(self, kind: str, status: int, answer: str) -> None:
        """Count the answer to a caller who should not come in (0: the connection was closed); the first is told."""
        if not any(kind == known for known, _ in self.strangers):
            shown = f"{status} {answer}" if status else answer
            self.note(f"ratings called with {kind}: {shown}", is_bad=status == 200)
        self.strangers[kind, status] += 1

    def record_renewal(self) -> None:
        """All workloads have new certificates."""
        self.renewed.append(self.now())
        self.note("new certificates for all workloads: the next connections show them, none is dropped")

    def observe(self, event: Event) -> None:
        """Count an event of a mesh."""
        match event:
            case RetryScheduled(cluster=cluster):
                self.retries[service_of(cluster)] += 1
            case FaultInjected(host=host, route=route, kind=kind):
                (self.aborts if kind == "abort" else self.delays)[service_of(host), route] += 1
                self.injected_errors += event.status >= 400
            case EndpointEjected(endpoint=endpoint, seconds=seconds):
                self.ejected[endpoint] = self.now() + seconds
                self.ejections.append(endpoint)
                self.moved.set()
                self.note(f"{self._name_of(endpoint)} ejected ({event.reason})", is_bad=True)
            case EndpointUnejected(endpoint=endpoint):
                self.ejected.pop(endpoint, None)
                self.unejections.append(endpoint)
                self.moved.set()
                self.note(f"{self._name_of(endpoint)} is back in the balancer")
            case _:
                pass

    def __repr__(self) -> str:
        return f"<Ledger sent={self.sent} calls={self.calls.total()} ejected={len(self.ejected)}>"


def service_of(name: str) -> str:
    """The service behind a host or a cluster: ``outbound|9080|v1|reviews.default.svc…`` is ``reviews``."""
    return name.rpartition("|")[2].partition(":")[0].partition(".")[0]
