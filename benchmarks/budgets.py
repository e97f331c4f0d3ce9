"""The budgets that meshlib has set itself, and how a measured figure stands against them.

A budget is a promise to look at, not a test: timed tests fail on busy machines and teach people to ignore them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from benchmarks.harness import table

__all__ = ["BUDGETS", "Budget", "Figure", "budget_table"]

TIMES: Final = ("µs", "ms", "s")


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value with its interval and noise, where known."""

    value: float | None
    unit: str
    low: float | None = None
    high: float | None = None
    noise: float | None = None

    def __str__(self) -> str:
        if self.value is None:
            return "–"
        interval = "" if self.low is None or self.high is None else f" ({self.low:.3g}–{self.high:.3g})"
        return f"{self.value:.3g} {self.unit}{interval}"


@dataclass(frozen=True, slots=True)
class Budget:
    """What a figure may be: ``at_most`` or ``at_least``. ``figure`` names it; empty: no benchmark measures it yet."""

    what: str
    figure: str = ""
    at_most: float | None = None
    at_least: float | None = None
    unit: str = "×"

    def holds(self, value: float) -> bool:
        """Whether the value is within the budget."""
        if self.at_most is not None and value > self.at_most:
            return False
        return self.at_least is None or value >= self.at_least

    def __str__(self) -> str:
        sign, bound = ("≤", self.at_most) if self.at_most is not None else ("≥", self.at_least)
        return f"{sign} {bound:g} {self.unit}"


BUDGETS: Final = (
    Budget("governed aiohttp GET over bare: added", "governed call added", at_most=9, unit="µs"),
    Budget("the same, each call another path", "governed call added, many paths", at_most=9, unit="µs"),
    Budget("the hand-made stack ÷ ours: added", "hand-made ÷ governed", at_least=8),
    Budget("hosts 10 → 100,000: decision", "decision by hosts", at_most=1.5),
    Budget("exact routes 1 → 10,000: decision", "decision by exact routes", at_most=1.5),
    Budget("prefix routes 1 → 10,000: decision", "decision by prefix routes", at_most=1.5),
    Budget("endpoints 10 → 100,000: pick", "pick by endpoints", at_most=2),
    Budget("load 10,000 VirtualServices ÷ bare parse", "load ÷ parse", at_most=1.3),
    Budget("load 10,000 VirtualServices", "load", at_most=3, unit="s"),
    Budget("kept for each VirtualService", "kept for each VirtualService", at_most=2, unit="kB"),
    Budget("resources 1,000 → 10,000: one analysis", "analyze by resources", at_most=12),
    Budget("10,000 simulated calls", "10,000 simulated calls", at_most=1, unit="s"),
    Budget("import meshlib: added to a bare start", "import meshlib", at_most=60, unit="ms"),
    Budget("loopback, 32 in flight: kept share of bare throughput", "loopback, kept share", at_least=90, unit="%"),
    Budget("hop through nginx ÷ ours: latency", "hop through nginx ÷ ours: latency", at_least=5),
    Budget("hop through nginx ÷ ours: CPU", "hop through nginx ÷ ours: CPU", at_least=4),
    Budget("hop through haproxy ÷ ours: latency", "hop through haproxy ÷ ours: latency", at_least=5),
    Budget("hop through haproxy ÷ ours: CPU", "hop through haproxy ÷ ours: CPU", at_least=4),
    Budget("hop through Envoy ÷ ours: latency", "hop through envoy ÷ ours: latency", at_least=20),
    Budget("hop through Envoy ÷ ours: CPU", "hop through envoy ÷ ours: CPU", at_least=10),
    Budget("httpx async, 32 in flight ÷ bare: throughput", "bare httpx ÷ governed, 32 in flight", at_least=1.4),
    Budget("httpx sync: added CPU", "governed httpx added", at_most=5, unit="%"),
    Budget("requests: added CPU", "governed requests added", at_most=5, unit="%"),
    Budget("@mesh.call on a no-op: async", "decorated call, async: added", at_most=4, unit="µs"),
    Budget("@mesh.call on a no-op: sync", "decorated call, plain: added", at_most=3, unit="µs"),
    Budget("refusal by an open breaker", "refusal by an open breaker: beyond the raise", at_most=2, unit="µs"),
    Budget("refusal by an overflow", "refusal by an overflow: beyond the raise", at_most=2, unit="µs"),
    Budget("ASGI: cached JWT, 20 rules, metrics: added", "ASGI middleware: added", at_most=6, unit="µs"),
    Budget("ASGI: uncached RS256 ÷ PyJWT alone", "ASGI, new token ÷ PyJWT", at_most=1.15),
    Budget("unsampled trace adds", "unsampled trace: added", at_most=2, unit="µs"),
    Budget("sampled trace with SDK, total", "sampled trace: added", at_most=40, unit="µs"),
    Budget("reload after one changed of 10,000", "reload after one change", at_most=30, unit="ms"),
    Budget("request stall during a reload: p99", "stall during a reload: p99", at_most=1, unit="ms"),
    Budget("request stall during a reload: worst", "stall during a reload: worst", at_most=12, unit="ms"),
)
"""All of them, the measured ones first."""


def budget_table(figures: Mapping[str, Figure], slowness: float) -> str:
    """The budgets with the figures beside them. Times stand twice: as measured, and at the speed of the reference."""
    heads = ("what", "budget", "measured", "noise", "at reference speed", "within")
    return table([_row(budget, figures.get(budget.figure), slowness) for budget in BUDGETS], heads)


def _row(budget: Budget, figure: Figure | None, slowness: float) -> list[str]:
    if figure is None or figure.value is None:
        return [budget.what, str(budget), "–", "", "", "not measured yet" if not budget.figure else "not run"]
    noise = "" if figure.noise is None else f"±{figure.noise:.2g}"
    if budget.unit not in TIMES:
        return [budget.what, str(budget), str(figure), noise, "", "yes" if budget.holds(figure.value) else "NO"]
    scaled = figure.value / slowness
    within = "yes" if budget.holds(figure.value) else "at reference speed" if budget.holds(scaled) else "NO"
    return [budget.what, str(budget), str(figure), noise, f"{scaled:.3g} {figure.unit}", within]
