"""How often policies in dry run would have allowed or denied: the counters that ``istio.io/dry-run`` is for."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Final
from weakref import WeakKeyDictionary

from meshlib._engine.decisions import DryRun
from meshlib._runtime import Runtime

__all__ = ["DryRunCounts", "dry_run_counts"]

_METRIC: Final = "meshlib_authorization_dry_runs_total"


class DryRunCounts:
    """Counts by action, result and the policy that matched, as Envoy's shadow counters do by action and result."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[DryRun, int] = {}

    def count(self, results: Iterable[DryRun]) -> None:
        """Count what policies in dry run would have said of a request."""
        with self._lock:
            for result in results:
                self._counts[result] = self._counts.get(result, 0) + 1

    def figures(self) -> list[tuple[str, tuple[tuple[str, str], ...], float]]:
        """For the metrics."""
        with self._lock:
            counts = list(self._counts.items())
        return [
            (
                _METRIC,
                (
                    ("action", result.action),
                    ("result", "denied" if result.is_denied else "allowed"),
                    ("policy", result.policy),
                ),
                float(count),
            )
            for result, count in counts
        ]

    def __repr__(self) -> str:
        return f"<DryRunCounts series={len(self._counts)}>"


_counts: WeakKeyDictionary[Runtime, DryRunCounts] = WeakKeyDictionary()


def dry_run_counts(runtime: Runtime) -> DryRunCounts:
    """The counts of a runtime, however many servers it has."""
    found = _counts.get(runtime)
    if found is None:
        found = _counts[runtime] = DryRunCounts()
        runtime.views.append(found.figures)
    return found
