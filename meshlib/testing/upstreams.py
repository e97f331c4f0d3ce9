"""Upstreams that follow a script: what they answer, how they fail, how long they take, how much they can do at once.

The narrowest rule wins (endpoint, then subset, then host), among equals the newest; a rule
that is spent, not due or not drawn leaves the request to the next. Without any rule an
upstream answers 200 after a millisecond.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias, Unpack

from meshlib._compile.hosts import is_address
from meshlib._http import Failure
from meshlib.errors import MeshError
from meshlib.testing.latency import Latency, checked_latency
from meshlib.testing.messages import (
    FAILURES,
    Body,
    Break,
    Handler,
    Reaction,
    UpstreamRequest,
    Way,
    answer_of,
    content_of,
)
from meshlib.testing.rules import Rule, When, check_when
from meshlib.testing.transport import Answer

if TYPE_CHECKING:
    from meshlib.testing.apps import App
    from meshlib.testing.clock import VirtualClock
    from meshlib.testing.service import Service

__all__ = ["DEFAULT_LATENCY", "Capacity", "Plan", "Scripts", "Site", "Upstream"]

DEFAULT_LATENCY: Final = 0.001
_NAMED: Final = 10  # that an error names
Capacity: TypeAlias = tuple[int, float, Answer | Break]
"""Requests at once, requests that wait, and what further ones get."""


@dataclass(slots=True, eq=False)
class _Setting:
    """A latency or a capacity of a part of an upstream."""

    host: str
    subset: str | None
    endpoint: str | None
    value: Any


class Scripts:
    """All rules of a simulation. ``version`` counts changes, so that what was looked up can be kept."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []
        self.latencies: list[_Setting] = []
        self.capacities: list[_Setting] = []
        self.sites: dict[str, Site] = {}
        self.version = 0

    def add(self, rule: Rule) -> None:
        """The newest comes first."""
        self.rules.insert(0, rule)
        self.version += 1

    def drop(self, upstream: Upstream) -> None:
        """Forget what was said about this part of an upstream and about its parts."""
        self.rules = [one for one in self.rules if not upstream.covers(one.host, one.subset, one.endpoint)]
        for settings in (self.latencies, self.capacities):
            settings[:] = [one for one in settings if not upstream.covers(one.host, one.subset, one.endpoint)]
        self.version += 1


class Upstream:
    """A host of the simulation, or one of its subsets or endpoints. Every method returns the upstream itself.

    What rules have in common: ``times`` requests at most (default: all), not before
    ``after`` seconds from now, for at most ``lasting`` seconds, each with ``probability``
    0–1; ``latency`` in seconds or as a distribution.
    """

    def __init__(
        self, scripts: Scripts, clock: VirtualClock, host: str, subset: str | None = None, endpoint: str | None = None
    ) -> None:
        self._scripts = scripts
        self._clock = clock
        self.host = host
        self._subset = subset
        self._endpoint = endpoint

    def subset(self, name: str) -> Upstream:
        """Only the endpoints of a subset of its DestinationRule. Raises MeshError if it has none."""
        known = {subset for site in self._sites() for host, subset in site.subsets if host == self.host}
        self._check(f"subset {name!r}", name, known)
        return Upstream(self._scripts, self._clock, self.host, name, self._endpoint)

    def endpoint(self, key: str) -> Upstream:
        """Only one endpoint, by its ``address:port``. Raises MeshError if the host has others, but not this one."""
        self._check(f"endpoint {key!r}", key, {site.key for site in self._sites()})
        return Upstream(self._scripts, self._clock, self.host, self._subset, key)

    def _sites(self) -> list[Site]:
        return [site for site in self._scripts.sites.values() if self.host in site.hosts]

    def _check(self, what: str, name: str, known: set[str]) -> None:
        """A slip in a name must not make a test pass. Of hosts without endpoints, or with names for them, who knows."""
        sites = self._sites()
        if name not in known and sites and all(is_address(site.address) for site in sites):
            there = (
                f"it has {', '.join(sorted(known)[:_NAMED])}{', …' if len(known) > _NAMED else ''}"
                if known
                else "it has none"
            )
            raise MeshError(f"{self.host} has no {what}; {there}; sim.deploy(…) adds endpoints")

    def covers(self, host: str, subset: str | None, endpoint: str | None) -> bool:
        """Whether the part is within this one."""
        return (
            host == self.host
            and (self._subset is None or subset == self._subset)
            and (self._endpoint is None or endpoint == self._endpoint)
        )

    def respond(
        self,
        status: int = 200,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body = b"",
        **when: Unpack[When],
    ) -> Self:
        """Answer with a status; a ``body`` that is neither bytes nor text is sent as JSON."""
        if status not in range(100, 600):
            raise ValueError(f"{status!r} is no status of an answer; use 100 to 599, and body= for what it says")
        content, kind = content_of(body)
        fields = {name.lower(): value for name, value in (headers or {}).items()}
        if kind:
            fields.setdefault("content-type", kind)
        return self._add(Answer(status=status, headers=tuple(fields.items()), body=content), when)

    def fail(self, way: Way = "connect", **when: Unpack[When]) -> Self:
        """Fail without an answer. Raises ValueError for a way that does not exist."""
        if way not in FAILURES:
            raise ValueError(f"an upstream cannot fail by {way!r}; it can by {', '.join(FAILURES)}")
        return self._add(Break(way), when)

    def sequence(self, *reactions: Reaction, **when: Unpack[When]) -> Self:
        """One reaction after another, each once; then the rules before this one go on."""
        for reaction in reversed(reactions):
            self._add(answer_of(reaction), {**when, "times": 1})
        return self

    def handle(self, handler: Handler, **when: Unpack[When]) -> Self:
        """Call a function, synchronous or not, with each :class:`UpstreamRequest`."""
        return self._add(handler, when)

    def calls(self, *urls: str, method: str = "GET", required: bool = True, **when: Unpack[When]) -> Self:
        """Call other services before it answers 200, as its own workload sees the configuration.

        With ``required`` an answer of 500 or more makes its own a 502.
        """

        async def handler(request: UpstreamRequest) -> Reaction:
            carried = {name: value for name, value in request.headers.items() if name.lower() == "end-user"}
            statuses = {url: (await request.service.call(method, url, headers=carried)).status for url in urls}
            failed = required and any(status >= 500 for status in statuses.values())
            return answer_of({"called": statuses}) if not failed else Answer(status=502)

        return self.handle(handler, **when)

    def latency(self, latency: Latency) -> Self:
        """How long answers take, unless a rule says so itself."""
        setting = _Setting(self.host, self._subset, self._endpoint, checked_latency(latency))
        self._scripts.latencies.insert(0, setting)
        self._scripts.version += 1
        return self

    def capacity(self, concurrent: int, *, queue: int | None = None, overflow: Reaction = 503) -> Self:
        """Each endpoint works on so many requests at once; further ones wait, above ``queue`` they get ``overflow``."""
        if concurrent < 1:
            raise ValueError(f"a capacity of {concurrent} requests answers none; use fail() or respond(503) for that")
        setting = (concurrent, math.inf if queue is None else queue, answer_of(overflow))
        self._scripts.capacities.insert(0, _Setting(self.host, self._subset, self._endpoint, setting))
        self._scripts.version += 1
        return self

    def recover(self) -> Self:
        """Forget everything said about it: it answers 200 again."""
        self._scripts.drop(self)
        return self

    @property
    def received(self) -> int:
        """How many requests have arrived, copies of mirrored ones included."""
        return sum(site.received[self.host] for site in self._scripts.sites.values() if self._has(site))

    def _has(self, site: Site) -> bool:
        in_subset = self._subset is None or (self.host, self._subset) in site.subsets
        return in_subset and self._endpoint in (None, site.key)

    def _add(self, reaction: Answer | Break | Handler, when: When) -> Self:
        check_when(when)
        start = self._clock.monotonic() + when.get("after", 0.0)
        rule = Rule(
            host=self.host, subset=self._subset, endpoint=self._endpoint, reaction=reaction, left=when.get("times"),
            start=start, end=start + when.get("lasting", math.inf), probability=when.get("probability", 1.0),
            latency=when.get("latency"),
        )  # fmt: skip
        self._scripts.add(rule)
        return self

    def __repr__(self) -> str:
        return f"<Upstream {self.host}{f' subset {self._subset}' if self._subset else ''} {self._endpoint or ''}>"


class Plan:
    """What is to become of one request: its rule (None: 200), how long it takes, what room there is."""

    __slots__ = ("capacity", "latency", "rule")

    def __init__(self, rule: Rule | None, latency: float, capacity: Capacity | None) -> None:
        self.rule = rule
        self.latency = latency
        self.capacity = capacity

    @property
    def failure(self) -> Failure:
        """The connection that was not made, where it :attr:`breaks_connection`."""
        assert self.rule is not None
        assert isinstance(self.rule.reaction, Break)
        return self.rule.reaction.failure()

    @property
    def way(self) -> Way:
        """How it fails, if it does."""
        reaction = self.rule.reaction if self.rule is not None else None
        return reaction.way if isinstance(reaction, Break) else "hang"

    @property
    def breaks_connection(self) -> bool:
        """Whether there is not even a connection."""
        return self.rule is not None and self.way in ("connect", "tls", "unreachable")


@dataclass(slots=True)
class _Known:
    """What applies to the requests for one host at one endpoint, as of a version of the scripts."""

    version: int
    rules: tuple[Rule, ...]
    latency: Latency
    capacity: Capacity | None


@dataclass(slots=True, eq=False)
class Site:
    """One address where requests arrive: an endpoint, or a host outside of the mesh."""

    key: str
    address: str
    port: int
    chance: random.Random
    labels: Mapping[str, str] = field(default_factory=dict)
    identity: str = ""
    host: str = ""
    subsets: set[tuple[str, str]] = field(default_factory=set)
    working: int = 0
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)
    received: Counter[str] = field(default_factory=Counter)
    app: App | None = None
    serving: Callable[[], Service] = field(init=False)
    """The workload that answers there; made when somebody asks."""
    hosts: set[str] = field(default_factory=set)
    """Those of which it is an endpoint by the configuration in force; ``host`` is the first that it ever was of."""
    _known: dict[str, _Known] = field(default_factory=dict)

    def known(self, scripts: Scripts, host: str) -> _Known:
        """What applies to requests for ``host``; looked up again when a script changed."""
        known = self._known.get(host)
        if known is None or known.version != scripts.version:
            rules = sorted((one for one in scripts.rules if one.concerns(self, host)), key=lambda one: -one.level)
            known = self._known[host] = _Known(
                scripts.version,
                tuple(rules),
                self._narrowest(scripts.latencies, host, DEFAULT_LATENCY),
                self._narrowest(scripts.capacities, host, None),
            )
        return known

    def _narrowest(self, settings: Sequence[_Setting], host: str, default: Any) -> Any:
        found = [
            (one.endpoint is not None, one.subset is not None, -number, one.value)
            for number, one in enumerate(settings)
            if one.host == host
            and one.endpoint in (None, self.key)
            and (one.subset is None or (host, one.subset) in self.subsets)
        ]
        return max(found, key=lambda one: one[:3])[3] if found else default

    def find_rule(self, known: _Known, now: float) -> Rule | None:
        """The rule that takes a request; None: it is answered 200."""
        for rule in known.rules:
            if rule.takes(now, self.chance):
                return rule
        return None if self.hosts or self.app is not None or not _is_of_mesh(self.address) else self._nobody()

    def _nobody(self) -> Rule:
        """A name that only the mesh could know, and nobody has it: an omission in a test must not look like success."""
        why = f"no service {self.key} in the simulation, see sim.deploy()"
        return Rule(host=self.host, subset=None, endpoint=None, reaction=Break("connect", why))

    def draw(self, latency: Latency) -> float:
        """One duration."""
        return latency if isinstance(latency, float | int) else max(latency(self.chance), 0.0)

    async def enter(self, concurrent: int, queue: float) -> bool:
        """Wait for a place; False if too many wait already. :meth:`leave` gives it back."""
        if self.working < concurrent:
            self.working += 1
            return True
        if len(self.waiting) >= queue:
            return False
        turn = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()
            else:
                self.waiting.remove(turn)
            raise
        return True

    def leave(self) -> None:
        """The place is free; the next in the queue gets it."""
        while self.waiting:
            turn = self.waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.working -= 1


def _is_of_mesh(address: str) -> bool:
    """Whether it is a name without a dot, or a cluster's; neither an address nor a name of the internet."""
    return address.endswith((".svc", ".svc.cluster.local")) or not ("." in address or ":" in address)
