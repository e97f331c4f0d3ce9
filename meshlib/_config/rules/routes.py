"""What HTTP, TLS and TCP routes have in common: destinations and their weights."""

from __future__ import annotations

from collections.abc import Iterable

from meshlib._config.check import Path
from meshlib._config.rules.names import domain_problem, is_label
from meshlib._config.rules.report import Report
from meshlib.model.destination import Destination

__all__ = ["check_destination", "check_subset_name", "check_weights"]


def check_destination(destination: Destination | None, path: Path, report: Report) -> None:
    """A destination: a host other than ``*``, perhaps a subset and a port."""
    if destination is None:
        return
    host = destination.host
    if host == "*":
        report.add("MESH070", (*path, "host"), "invalid destination host *", "name one host")
    else:
        report.check("MESH070", (*path, "host"), domain_problem(host))
    if destination.subset:
        check_subset_name(destination.subset, (*path, "subset"), report)


def check_subset_name(name: str, path: Path, report: Report) -> None:
    """The name of a subset is a DNS label."""
    if not name:
        report.add("MESH077", path, "subset name cannot be empty")
    elif not is_label(name):
        report.add("MESH077", path, f"subset name is invalid: {name}", "use letters, digits and inner hyphens")


def check_weights(weights: Iterable[int | None], path: Path, report: Report) -> None:
    """Several targets need a weight above zero in all."""
    written = [weight or 0 for weight in weights]
    if len(written) > 1 and sum(written) == 0:
        report.add("MESH077", path, "total destination weight = 0", "give at least one destination a weight")
