"""The last word of a run: one line with the result, then the claims as a table."""

from __future__ import annotations

from typing import Final

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from meshlib.cli.demo.claims import Claim, Verdict
from meshlib.cli.demo.stage import Stage

__all__ = ["print_summary"]

_STYLES: Final = {Verdict.KEPT: "green", Verdict.BROKEN: "bold red", Verdict.OPEN: "yellow"}


def print_summary(console: Console, stage: Stage) -> bool:
    """Print result and table; whether no claim is broken."""
    claims = stage.claims()
    broken = [claim for claim in claims if claim.verdict is Verdict.BROKEN]
    kept = sum(claim.verdict is Verdict.KEPT for claim in claims)
    calls = stage.ledger.calls.total()
    result = "ok" if not broken else "FAILED"
    console.print(
        Text.assemble(
            (result, "bold green" if not broken else "bold red"),
            f": {kept} of {len(claims)} claims kept in {stage.elapsed:.1f} s, {calls} governed calls",
        )
    )
    console.print(_table(claims))
    for claim in broken:
        text = f"broken: {claim.title}: the configuration says {claim.expected}, observed {claim.observed}"
        console.print(Text(text, style="bold red"), soft_wrap=True)
    return not broken


def _table(claims: list[Claim]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for title in ("", "claim", "configured", "observed"):
        table.add_column(title, no_wrap=True)
    for claim in claims:
        verdict = Text(claim.verdict.value, style=_STYLES[claim.verdict])
        table.add_row(verdict, claim.title, claim.expected, claim.observed)
    return table
