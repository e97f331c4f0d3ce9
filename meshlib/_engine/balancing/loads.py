"""How much of the traffic each failover tier and each locality gets (semantics 4.6, 4.7, 4.9).

Rules, after Envoy's ``load_balancer_impl.cc``, in whole percent:

* The health of a tier is 140 % of its share of available endpoints, at most 100:
  it may lose almost a third of them before any traffic goes elsewhere.
* From tier 0 on, each takes ``health × 100 / min(100, Σ health)`` of what is left; a
  rest of rounding goes to the first tier that is available at all.
* A tier is in panic if the health of all together is below 100 and its own share of
  available endpoints is below the threshold (0: never). Then all its endpoints are
  used. If every tier is in panic, the traffic is spread by their sizes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["TierSize", "avoid_tiers", "effective_weight", "panics", "spread"]

OVERPROVISION: Final = 140


@dataclass(frozen=True, slots=True)
class TierSize:
    """Endpoints of a tier: those that are available (healthy and not ejected), and all."""

    available: int
    total: int

    @property
    def health(self) -> int:
        """0–100, with Envoy's overprovisioning factor."""
        return min(100, OVERPROVISION * self.available // self.total) if self.total else 0


def spread(tiers: Sequence[TierSize], panic_threshold: float = 0.0) -> list[int]:
    """The percentage of the traffic of each tier; all 0 if no endpoint may be used."""
    if all(panics(tiers, panic_threshold)) and any(tier.total for tier in tiers):
        return _by_size(tiers)
    return _by_health([tier.health for tier in tiers])


def panics(tiers: Sequence[TierSize], threshold: float) -> list[bool]:
    """Which tiers use all their endpoints, available or not."""
    if sum(tier.health for tier in tiers) >= 100:
        return [False] * len(tiers)
    return [(100.0 * tier.available / tier.total if tier.total else 0.0) < threshold for tier in tiers]


def avoid_tiers(tiers: Sequence[TierSize], tried: Collection[int]) -> list[int] | None:
    """The loads with the tiers in ``tried`` left out; None if nothing is available without them."""
    health = [0 if index in tried else tier.health for index, tier in enumerate(tiers)]
    return _by_health(health) if any(health) else None


def effective_weight(weight: int, available: int, total: int) -> float:
    """What a locality weighs against those beside it: its weight, lowered by what is not available."""
    return weight * min(1.0, OVERPROVISION / 100.0 * available / total) if total else 0.0


def _by_health(health: Sequence[int]) -> list[int]:
    whole = min(100, sum(health))
    if not whole:
        return [0] * len(health)
    left, loads = 100, []
    for one in health:
        load = min(left, one * 100 // whole)
        loads.append(load)
        left -= load
    loads[next(index for index, one in enumerate(health) if one)] += left
    return loads


def _by_size(tiers: Sequence[TierSize]) -> list[int]:
    whole = sum(tier.total for tier in tiers)
    loads = [100 * tier.total // whole for tier in tiers]
    loads[next(index for index, tier in enumerate(tiers) if tier.total)] += 100 - sum(loads)
    return loads
