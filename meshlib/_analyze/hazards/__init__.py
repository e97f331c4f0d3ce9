"""Hazards that Istio does not look for: what is right by the rules, and hurts in the field."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from meshlib._analyze.hazards.approximations import find_approximations
from meshlib._analyze.hazards.chains import find_chains
from meshlib._analyze.hazards.endpoints import find_idle_failovers, find_idle_outliers, find_lost_weights
from meshlib._analyze.hazards.faults import find_faults
from meshlib._analyze.hazards.policies import find_open_policies, find_optional_tokens
from meshlib._analyze.hazards.regexes import find_explosions
from meshlib._analyze.hazards.retries import find_retries
from meshlib._analyze.hazards.scene import HazardSettings, Scene
from meshlib._analyze.hazards.shadows import find_shadows
from meshlib._analyze.report import Reporter

__all__ = ["find_hazards"]

Search: TypeAlias = Callable[[Scene, HazardSettings, Reporter], None]

_SEARCHES: Final[tuple[Search, ...]] = (
    find_retries,
    find_chains,
    find_idle_failovers,
    find_idle_outliers,
    find_faults,
    find_open_policies,
    find_optional_tokens,
    find_explosions,
    find_lost_weights,
    find_approximations,
    find_shadows,
)


def find_hazards(scene: Scene, settings: HazardSettings, report: Reporter) -> None:
    """All hazards of a configuration."""
    for search in _SEARCHES:
        search(scene, settings, report)
