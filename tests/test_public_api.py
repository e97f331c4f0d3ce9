"""The public API changes on purpose only."""

from __future__ import annotations

from tests.public_api import LIST, public_names


def test_public_names_are_those_of_the_list() -> None:
    """public_api.txt is current; after a wanted change run `python -m tests.public_api`."""
    assert public_names() == LIST.read_text(encoding="utf-8").splitlines()
