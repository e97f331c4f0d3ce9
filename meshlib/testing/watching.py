"""Who wants to know of every simulation that is made: the pytest plugin, for its reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from meshlib.testing.simulation import Simulation

__all__ = ["announce", "watchers"]

watchers: Final[list[Callable[[Simulation], None]]] = []
"""Called with each simulation when it is made."""


def announce(simulation: Simulation) -> None:
    """A simulation was made."""
    for watcher in watchers:
        watcher(simulation)
