"""One line of the script of an upstream: what it is about, when it applies, what becomes of the request."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from meshlib.testing.latency import Latency, checked_latency
from meshlib.testing.messages import Break, Handler
from meshlib.testing.transport import Answer

if TYPE_CHECKING:
    from meshlib.testing.upstreams import Site

__all__ = ["Rule", "When", "check_when"]


class When(TypedDict, total=False):
    """What all rules have in common: how often, when, by which chance, and how long the upstream takes."""

    times: int
    after: float
    lasting: float
    probability: float
    latency: Latency


def check_when(when: When) -> None:
    """Raise TypeError or ValueError for what no rule has: a slip must not make a test pass."""
    if unknown := when.keys() - When.__annotations__.keys():
        raise TypeError(f"a rule has no argument {min(unknown)!r}; it has {', '.join(When.__annotations__)}")
    if not 0.0 <= (probability := when.get("probability", 1.0)) <= 1.0:
        raise ValueError(f"probability is {probability!r}, it is to be from 0 to 1")
    if "latency" in when:
        checked_latency(when["latency"])


@dataclass(slots=True, kw_only=True, eq=False)
class Rule:
    """One line of a script. ``left`` None: as often as asked; instants on the virtual clock."""

    host: str
    subset: str | None
    endpoint: str | None
    reaction: Answer | Break | Handler
    left: int | None = None
    start: float = 0.0
    end: float = math.inf
    probability: float = 1.0
    latency: Latency | None = None

    @property
    def level(self) -> int:
        """How narrow it is."""
        return 2 if self.endpoint is not None else 1 if self.subset is not None else 0

    def concerns(self, site: Site, host: str) -> bool:
        """Whether it is about requests for ``host`` that arrive there."""
        if self.host != host or (self.endpoint is not None and self.endpoint != site.key):
            return False
        return self.subset is None or (host, self.subset) in site.subsets

    def takes(self, now: float, chance: random.Random) -> bool:
        """Whether it answers this request; takes one of its times if so."""
        if self.left == 0 or not self.start <= now < self.end:
            return False
        if self.probability < 1.0 and chance.random() >= self.probability:
            return False
        if self.left is not None:
            self.left -= 1
        return True
