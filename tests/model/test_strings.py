"""String matches: one class per alternative."""

from __future__ import annotations

import pytest

from meshlib.model.strings import ExactMatch, PrefixMatch, PresentMatch, RegexMatch, string_match

GOOD = [
    ({"exact": "a"}, ExactMatch("a")),
    ({"prefix": ""}, PrefixMatch("")),
    ({"regex": ".*"}, RegexMatch(".*")),
    ({}, PresentMatch()),
]


@pytest.mark.parametrize(("written", "match"), GOOD)
def test_each_alternative_has_its_class(written: dict[str, str], match: object) -> None:
    """The one written key decides the class; none asks for presence."""
    assert string_match(written) == match


@pytest.mark.parametrize("written", [None, "a", [], {"exact": 1}, {"exakt": "a"}, {"exact": "a", "prefix": "b"}])
def test_anything_else_is_refused(written: object) -> None:
    """Two alternatives, unknown ones and other types are errors."""
    with pytest.raises((ValueError, TypeError)):
        string_match(written)


def test_equal_matches_are_one_object() -> None:
    """Ten thousand routes with the same prefix keep one match."""
    assert string_match({"prefix": "/api"}) is string_match({"prefix": "/api"})


def test_matches_are_frozen_and_differ_by_kind() -> None:
    """A match cannot be changed, and an exact match is not a prefix match."""
    with pytest.raises(AttributeError):
        ExactMatch("a").value = "b"
    assert ExactMatch("a") != PrefixMatch("a")
    assert len({ExactMatch("a"), ExactMatch("a"), PresentMatch(), PresentMatch()}) == 2
