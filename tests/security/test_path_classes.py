"""Paths that no policy tells apart are decided as one; those that anybody may read in two ways are each for itself."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib._compile.conditions import PatternProgram, text_set
from meshlib._inbound.path_classes import PathClasses
from meshlib._snapshot.conditions import TextSet
from tests.security.remembering import Seen, Server, load, resource, scope_of, status_of

PART = st.text("ab/", max_size=4)
FORMS = st.lists(st.one_of(PART, PART.map("{}*".format), PART.map("*{}".format), st.just("*")), min_size=1, max_size=4)


def conditions(written: list[str]) -> TextSet:
    """Forms as a policy writes them, and one by an expression."""
    made = text_set(written)
    programs = (PatternProgram(re.escape(written[0].strip("*")) + "[ab]+"),)
    return TextSet(made.written, made.exact, made.prefixes, made.suffixes, programs, made.has_any)


@given(st.lists(FORMS.map(conditions), max_size=6), st.text("ab/", min_size=1, max_size=6))
def test_the_bits_are_the_conditions_that_a_path_meets(sets: list[TextSet], path: str) -> None:
    distinct = list(dict.fromkeys(sets))
    expected = sum(1 << number for number, one in enumerate(distinct) if one.matches(path))
    assert PathClasses(sets).bits(path) == expected


@pytest.mark.parametrize("path", ["/", "/a", "/a/", "/a.b/c-d_e~f", "/items/7:go", "/a@b/(c)/*/d=e,f"])
def test_usual_paths_have_a_class(path: str) -> None:
    classes = PathClasses([text_set(["/a"])])
    for _ in range(2):
        assert classes.find(path.encode(), path, "") == (path, int(path == "/a"))


UNUSUAL = [
    "", "a", "//a", "/a//b", "/./a", "/../a", "/a/..", "/.a", "/%61", "/a%2fb", "/a;b", "/a\\b", "/a b", "/a#b", "/a?b",
    "/ä", "/a\n", "/" + "a" * 2000, "/healthz",
]  # fmt: skip


@pytest.mark.parametrize("path", UNUSUAL)
def test_others_have_none(path: str) -> None:
    raw = path.encode()
    assert PathClasses([], apart=["/healthz"]).find(raw, path, "/b") == (path, (raw, path, "/b"))


@pytest.mark.parametrize(("raw", "path"), [(b"/a", "/b"), (b"/%61", "/a"), (b"/a/", "/a"), (None, "/a"), (b"", "/a")])
def test_a_path_that_the_application_reads_otherwise_has_none(raw: bytes | None, path: str) -> None:
    """Whatever was known of either form before."""
    classes = PathClasses([])
    for one in (path, (raw or b"").decode()):
        classes.find(one.encode(), one, "")
    known = classes.known.get(raw)
    assert known is None or known[0] != path
    assert classes.find(raw, path, "/b") == (path, (raw, path, "/b"))


def test_what_is_known_is_bounded() -> None:
    classes = PathClasses([])
    for number in range(10_000):
        classes.find(f"/{number}".encode(), f"/{number}", "")
    assert len(classes.known) <= 4096


ONE_ITEM = resource(
    "AuthorizationPolicy", {"action": "DENY", "rules": [{"to": [{"operation": {"paths": ["/items/13", "/admin*"]}}]}]}
)


@pytest.mark.parametrize("denied", ["/items/13", "/admin", "/admin/x"])
def test_a_path_that_a_policy_names_is_not_its_neighbours(denied: str) -> None:
    """However many of those were let in before."""
    server = Server(load(ONE_ITEM), is_watched=False)
    for number in (1, 2, 3, 130, 14):
        assert status_of(server.ask(scope_of(f"/items/{number}"))) == 200
    assert status_of(server.ask(scope_of(denied))) == 403
    assert status_of(server.ask(scope_of("/items/15"))) == 200


class OfLitestar(Seen):
    """An application whose framework reads no part of a path as empty."""


OfLitestar.__module__ = "litestar.app"

MOUNTED = {
    "slashes that were nothing special elsewhere": (Seen, "/m/a", ("", "/m//a"), ("/m", "/m//a")),
    "the place itself, for a path in it": (OfLitestar, "/m/", ("/m", "/m/x"), ("/m", "/m")),
    "the place itself, for the same path elsewhere": (OfLitestar, "/m/", ("", "/m"), ("/m", "/m")),
}


@pytest.mark.parametrize("name", MOUNTED)
def test_what_an_application_reads_where_it_is_mounted_is_asked_there(name: str) -> None:
    """Whatever was let in in another place, or for another path."""
    kind, path, let_in, refused = MOUNTED[name]
    operation = {"operation": {"paths": [path]}}
    server = Server(load(resource("AuthorizationPolicy", {"action": "DENY", "rules": [{"to": [operation]}]})))
    server.app = kind()
    server.forget()
    for root, asked in [let_in] * 3:
        assert status_of(server.ask(scope_of(asked, root_path=root))) == 200
    root, asked = refused
    assert status_of(server.ask(scope_of(asked, root_path=root))) == 403


def test_who_listens_hears_of_each_path() -> None:
    """Though they were decided as one."""
    server = Server(load(ONE_ITEM))
    paths = []
    for number in range(5):
        paths += [event.path for event in server.ask(scope_of(f"/items/{number}?q={number}"))[2]]
    assert paths == [f"/items/{number}" for number in range(5)]
