"""What came of simulated requests, to be asserted on."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

from meshlib._explain import Explanation
from meshlib.events import EndpointEjected

if TYPE_CHECKING:
    from meshlib.testing.service import Service
    from meshlib.testing.timeline import Timeline

__all__ = ["Attempt", "Call", "Calls"]


class Attempt:
    """One send of a call. ``status`` 0: it got no response, ``failure`` says why; times in virtual seconds."""

    __slots__ = ("cluster", "duration", "endpoint", "failure", "started", "status", "subset")

    def __init__(self, cluster: str, subset: str, endpoint: str, started: float) -> None:
        self.cluster = cluster
        self.subset = subset
        self.endpoint = endpoint
        self.started = started
        self.status = 0
        self.failure = "cancelled"
        self.duration = 0.0

    def __repr__(self) -> str:
        return f"<Attempt {self.endpoint} {self.status or self.failure} {self.duration:.3f}s>"


class Call:
    """One request of the simulation and its answer.

    ``started`` and ``latency`` are virtual seconds, ``attempts`` what was sent (also to
    no avail), ``flags`` Envoy's response flags, ``route`` the rule that took it.
    """

    __slots__ = (
        "_given", "_service", "attempts", "body", "destination", "details", "flags", "headers", "latency", "method",
        "number", "route", "started", "status", "url",
    )  # fmt: skip

    def __init__(self, number: int, method: str, url: str, service: Service, given: Mapping[str, str]) -> None:
        self.number = number
        self.method = method
        self.url = url
        self._service = service
        self._given = given
        self.started = 0.0
        self.latency = 0.0
        self.status = 0
        self.headers: Mapping[str, str] = {}
        self.body = b""
        self.attempts: Sequence[Attempt] = ()
        self.flags: tuple[str, ...] = ()
        self.details = ""
        self.route = ""
        self.destination = ""

    @property
    def workload(self) -> str:
        """Who made it."""
        return self._service.name

    @property
    def endpoint(self) -> str:
        """``address:port`` of the last attempt; empty if there was none."""
        return self.attempts[-1].endpoint if self.attempts else ""

    @property
    def subset(self) -> str:
        """The subset of the last attempt."""
        return self.attempts[-1].subset if self.attempts else ""

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    def explain(self) -> Explanation:
        """Every rule that was tried for it, and why (not), by the configuration as it is now."""
        return self._service.explain(self.method, self.url, headers=self._given)

    def to_json(self) -> dict[str, Any]:
        """As plain data; equal in every run with the same seed."""
        return {
            "number": self.number, "workload": self.workload, "method": self.method, "url": self.url,
            "started": round(self.started, 9), "latency": round(self.latency, 9), "status": self.status,
            "flags": list(self.flags), "route": self.route, "destination": self.destination,
            "attempts": [[one.endpoint, one.status or one.failure, round(one.duration, 9)] for one in self.attempts],
        }  # fmt: skip

    def __repr__(self) -> str:
        via = f" via {self.endpoint}" if self.endpoint else ""
        return f"<Call {self.method} {self.url} → {self.status}{via} attempts={len(self.attempts)} {self.latency:.3f}s>"


class Calls(Sequence[Call]):
    """The calls of one ``send``, in the order in which they were started."""

    def __init__(self, made: list[Call | None], timeline: Timeline, workload: str) -> None:
        self._made = made
        self._workload = workload
        self._span = slice(len(timeline.ejections), None)
        self.timeline = timeline

    def freeze(self) -> None:
        """All are made: what is ejected from now on is not theirs."""
        self._span = slice(self._span.start, len(self.timeline.ejections))

    @property
    def _calls(self) -> list[Call]:
        """Those that were answered."""
        return [call for call in self._made if call is not None]

    @overload
    def __getitem__(self, index: int) -> Call: ...
    @overload
    def __getitem__(self, index: slice) -> list[Call]: ...
    def __getitem__(self, index: int | slice) -> Call | list[Call]:
        return self._calls[index]

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[Call]:
        return iter(self._calls)

    def _tally(self, values: Iterable[Any]) -> dict[Any, int]:
        return dict(sorted(Counter(values).items()))

    @property
    def statuses(self) -> dict[Any, int]:
        """How many calls got which status."""
        return self._tally(call.status for call in self._calls)

    @property
    def subsets(self) -> dict[Any, int]:
        """How many calls were answered by which subset (empty: none)."""
        return self._tally(call.subset for call in self._calls)

    @property
    def endpoints(self) -> dict[Any, int]:
        """How many attempts went to which endpoint."""
        return self._tally(one.endpoint for call in self._calls for one in call.attempts)

    @property
    def routes(self) -> dict[Any, int]:
        """How many calls took which route."""
        return self._tally(call.route for call in self._calls)

    @property
    def flags(self) -> dict[Any, int]:
        """How many calls have which of Envoy's response flags."""
        return self._tally(flag for call in self._calls for flag in call.flags)

    @property
    def attempts(self) -> int:
        """Sends of all calls together."""
        return sum(len(call.attempts) for call in self._calls)

    @property
    def retries(self) -> int:
        """Attempts beyond the first of each call."""
        return sum(max(len(call.attempts) - 1, 0) for call in self._calls)

    @property
    def ejected(self) -> list[str]:
        """Endpoints that outlier detection took out meanwhile, in order, each once."""
        ejections = self.timeline.ejections[self._span]
        return list(
            dict.fromkeys(
                entry.event.endpoint
                for entry in ejections
                if entry.workload == self._workload and isinstance(entry.event, EndpointEjected)
            )
        )

    @property
    def latencies(self) -> list[float]:
        """Seconds of each call."""
        return [call.latency for call in self._calls]

    def percentile(self, percent: float) -> float:
        """The latency in seconds that so many percent of the calls do not exceed (nearest rank)."""
        ordered = sorted(self.latencies)
        if not ordered:
            raise ValueError("there are no calls")
        return ordered[min(max(math.ceil(percent / 100 * len(ordered)), 1), len(ordered)) - 1]

    def share(self, subset: str) -> float:
        """The share 0–1 of the calls that a subset answered."""
        return self.subsets.get(subset, 0) / len(self) if len(self) else 0.0

    def where(self, chosen: Callable[[Call], bool]) -> Calls:
        """Those of the calls for which the function says so."""
        some = Calls([call for call in self._calls if chosen(call)], self.timeline, self._workload)
        some._span = self._span
        return some

    def check(
        self,
        *,
        statuses: Mapping[int, int] | None = None,
        ejected: Sequence[str] | None = None,
        most_attempts: int | None = None,
        p99_below: float | None = None,
    ) -> None:
        """Raise AssertionError, with the timeline, unless all that is given holds; needs no pytest."""
        wrong = []
        if statuses is not None and self.statuses != dict(statuses):
            wrong.append(f"statuses are {self.statuses}, not {dict(statuses)}")
        if ejected is not None and self.ejected != list(ejected):
            wrong.append(f"ejected were {self.ejected}, not {list(ejected)}")
        if most_attempts is not None and self.attempts > most_attempts:
            wrong.append(f"{self.attempts} attempts were made, more than {most_attempts}")
        if p99_below is not None and self.percentile(99) >= p99_below:
            wrong.append(f"the 99th percentile is {self.percentile(99):.3f} s, not below {p99_below:g} s")
        if wrong:
            raise AssertionError("\n".join([*wrong, "", "timeline:", str(self.timeline)]))

    def to_json(self) -> list[dict[str, Any]]:
        """As plain data; equal in every run with the same seed."""
        return [call.to_json() for call in self._calls]

    def __repr__(self) -> str:
        return f"<Calls {len(self._calls)} statuses={self.statuses} attempts={self.attempts}>"
