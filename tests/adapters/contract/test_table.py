"""The documentation's table of clients is the contract."""

from __future__ import annotations

from tests.adapters.contract.table import SECTIONS, behaviours, rendered, written


def test_the_table_is_up_to_date() -> None:
    """``python -m tests.adapters.contract.table`` writes it anew."""
    assert written() == rendered()


def test_the_contract_has_what_it_promises() -> None:
    """At least sixty behaviours."""
    assert sum(len(behaviours(file)) for file, _ in SECTIONS) >= 60
