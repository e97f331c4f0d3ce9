"""Whether counted picks fit expected shares."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["chi_square", "fits"]

# Upper 0.1 % points of the chi-square distribution by degrees of freedom (1 …).
_CRITICAL = [
    10.83, 13.82, 16.27, 18.47, 20.52, 22.46, 24.32, 26.12, 27.88, 29.59,
    31.26, 32.91, 34.53, 36.12, 37.70, 39.25, 40.79, 42.31, 43.82, 45.31,
]  # fmt: skip


def chi_square(counts: Sequence[int], shares: Sequence[float]) -> float:
    """Pearson's statistic of ``counts`` against ``shares`` (of any sum)."""
    total, whole = sum(counts), sum(shares)
    wanted = [total * share / whole for share in shares]
    return sum((got - want) ** 2 / want for got, want in zip(counts, wanted, strict=True))


def fits(counts: Sequence[int], shares: Sequence[float]) -> bool:
    """Whether chance explains the difference at the 0.1 % level."""
    return chi_square(counts, shares) < _CRITICAL[len(counts) - 2]
