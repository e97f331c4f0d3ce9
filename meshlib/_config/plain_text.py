"""The everyday part of YAML, read line by line.

Most documents of a mesh are plain: block mappings and lists, one pair or item a line,
scalars without escapes, short collections in brackets. Such a document is read here in
a fraction of the time that the parser's events take. At the first line that is anything
else :func:`read_plain` gives up, and the parser reads the document from its beginning.
So this module never reports an error, and whatever it accepts has the value and the
positions that the parser would give: the tests hold one against the other.

What counts as plain:

* printable ASCII, spaces and line feeds;
* ``key:``, ``key: value``, ``- value`` and ``- key: …``, with keys of letters, digits and ``_-./``;
* a value is a plain scalar without ``": "``, a quoted text without escapes, or a flow
  collection of such in one line; a comment may follow;
* what is nested is indented further, or is a list right below its key.
"""

from __future__ import annotations

import re
from typing import Any, Final

from meshlib._config.document import LINE, Place
from meshlib._config.scalars import Scalar, json_value, key_text, resolve

__all__ = ["PlainCache", "read_plain"]

_LARGEST: Final = LINE  # then every column fits its half of a mark
_DEPTH: Final = 60
_CACHED: Final = 50_000
_ODD: Final = re.compile(r"[^\n -~]")
_ODD_VALUE: Final = re.compile(r": [|>&*!]")  # found here sooner than line by line
_HEADER: Final = re.compile(r"---(?: +#[^\n]*| *)(?:\n|\Z)")
_LINES: Final = re.compile(r"( *)(- )?(?:([A-Za-z_][A-Za-z0-9_./-]*):(?: |$))?(.*)\n?", re.MULTILINE)
_QUOTED: Final = re.compile(r"""(?:"([^"\\]*)"|'([^']*)') *(?: #.*)?""")
_FIRST: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./+~^$();=<\\")
_SECOND: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./")
_FLOW: Final = re.compile(
    r""" *(?:([\[{\]},])|("[^"\\]*"|'[^']*')(?= *[\],}])|([A-Za-z_][A-Za-z0-9_./-]*):\ """
    r"""|([A-Za-z0-9_./][A-Za-z0-9_./+-]*)(?= *[\],}]))"""
)
_BEHIND: Final = re.compile(r" *(?: #.*)?")
_EMPTY: Final = object()


class _OddError(Exception):
    """The document is not plain."""


class PlainCache:
    """Values and keys by the text they were read from, kept from one document to the next."""

    __slots__ = ("keys", "values")

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.keys: dict[str, str] = {}

    def value(self, rest: str) -> Any:
        """The scalar that ``rest`` of a line holds; ``_EMPTY`` for a comment alone."""
        if len(self.values) > _CACHED:
            self.values.clear()
        if rest[0] in "\"'":
            match = _QUOTED.fullmatch(rest)
            if match is None:
                raise _OddError
            value: Any = match[1] if match[2] is None else match[2]
        elif rest[0] == "#":
            value = _EMPTY
        else:
            value = _plain(rest)
        self.values[rest] = value
        return value

    def key(self, text: str) -> str:
        """The key that a plain scalar stands for: ``on`` is ``true``."""
        if len(self.keys) > _CACHED:
            self.keys.clear()
        key = key_text(resolve(text))
        if key is None:
            raise _OddError
        self.keys[text] = key
        return key


def _plain(rest: str) -> Scalar:
    if rest[0] not in _FIRST and not (rest[0] == "-" and rest[1:2] in _SECOND):
        raise _OddError
    text = rest.partition(" #")[0].rstrip(" ")
    if ": " in text or text[-1] == ":":
        raise _OddError
    return _json(text)


def _json(text: str) -> Scalar:
    try:
        return json_value(resolve(text))
    except ValueError as error:
        raise _OddError from error


def read_plain(text: str, cache: PlainCache) -> tuple[dict[str, Any], Place] | None:
    """The mapping in ``text`` with its places; empty if there is nothing, None if it is not plain."""
    if len(text) >= _LARGEST or _ODD.search(text) or _ODD_VALUE.search(text):
        return None
    header = _HEADER.match(text)
    first = 0
    if header is not None:
        text, first = text[header.end() :], 1
    try:
        return _read_lines(_LINES.findall(text), first, cache)
    except _OddError:
        return None


# Longer and more branched than the rules allow, because it sees every line: as parts of their
# own, opening a collection and reading a scalar would cost half of what is gained here.
def _read_lines(  # noqa: C901, PLR0912, PLR0915
    lines: list[tuple[str, str, str, str]], first: int, cache: PlainCache
) -> tuple[dict[str, Any], Place]:
    values, keys = cache.values, cache.keys
    root, root_places, root_marks = _opened(is_list=False)
    # The innermost open collection; ``marks`` (those of its keys) is None for a list.
    level, container, places, marks = 0, root, root_places, root_marks
    stack: list[tuple[int, Any, Any, Any]] = []
    pending: str | None = None  # a key without value yet
    nothing = 0  # where that value would stand
    line = (first - 1) * LINE
    for spaces, dash, key, rest in lines:
        line += LINE
        if not key and not dash:
            if rest and rest[0] != "#":
                raise _OddError
            continue
        indent = len(spaces)
        if pending is not None:
            if indent > level or (dash and indent == level):
                stack.append((level, container, places, marks))
                new, spots, new_marks = _opened(is_list=bool(dash))
                container[pending], places[pending] = new, (line + indent, spots, new_marks)
                level, container, places, marks = indent, new, spots, new_marks
            else:
                container[pending], places[pending] = None, nothing
            pending = None
        while indent < level:
            level, container, places, marks = stack.pop()
        if dash:
            if indent != level or type(container) is dict:
                raise _OddError
            indent += 2
            if key:
                if len(stack) > _DEPTH:
                    raise _OddError
                stack.append((level, container, places, marks))
                new, spots, new_marks = _opened(is_list=False)
                container.append(new)
                places.append((line + indent, spots, new_marks))
                level, container, places, marks = indent, new, spots, new_marks
        else:
            if marks is None:
                level, container, places, marks = stack.pop()
            if indent != level:
                raise _OddError
        if not rest:
            item: Any = _EMPTY
            place: Any = None
        elif rest[0] in "[{":
            item, place = _flow(rest, line + indent + (len(key) + 2 if key else 0), cache)
        else:
            try:
                item = values[rest]
            except KeyError:
                item = cache.value(rest)
            place = line + indent + (len(key) + 2 if key else 0)
        if not key:
            if item is _EMPTY:
                raise _OddError
            container.append(item)
            places.append(place)
            continue
        name = keys.get(key) or cache.key(key)
        if name in container:
            raise _OddError
        marks[name] = line + indent
        if item is _EMPTY:
            if len(stack) > _DEPTH:
                raise _OddError
            pending, nothing = name, line + indent + len(key) + 1
        else:
            container[name], places[name] = item, place
    if pending is not None:
        container[pending], places[pending] = None, nothing
    return root, (next(iter(root_marks.values()), 0), root_places, root_marks)


def _opened(*, is_list: bool) -> tuple[Any, Any, Any]:
    """A new collection, its places, and the marks of its keys."""
    return ([], [], None) if is_list else ({}, {}, {})


def _flow(rest: str, place: int, cache: PlainCache) -> tuple[Any, Place]:
    """The flow collection that ``rest`` of a line holds; ``place`` is where it begins."""
    value, tree, end = _flow_node(rest, 0, place, cache, 0)
    if not _BEHIND.fullmatch(rest, end):
        raise _OddError
    return value, tree


def _flow_node(text: str, at: int, place: int, cache: PlainCache, depth: int) -> tuple[Any, Any, int]:
    """The node at ``at``, its place, and where it ends."""
    match = _FLOW.match(text, at)
    if match is None or depth > 20:
        raise _OddError
    mark, quoted, _, plain = match.groups()
    here = place + match.start(match.lastindex or 0)
    if quoted is not None:
        return quoted[1:-1], here, match.end()
    if plain is not None:
        return _json(plain), here, match.end()
    if mark == "[":
        return _flow_list(text, match.end(), place, here, cache, depth)
    if mark == "{":
        return _flow_mapping(text, match.end(), place, here, cache, depth)
    raise _OddError


def _flow_list(text: str, at: int, place: int, here: int, cache: PlainCache, depth: int) -> tuple[Any, Any, int]:
    value: list[Any] = []
    places: list[Any] = []
    match = _FLOW.match(text, at)
    if match is not None and match[1] == "]":
        return value, (here, places, None), match.end()
    while True:
        item, spot, at = _flow_node(text, at, place, cache, depth + 1)
        value.append(item)
        places.append(spot)
        match = _FLOW.match(text, at)
        if match is None or match[1] not in {",", "]"}:
            raise _OddError
        at = match.end()
        if match[1] == "]":
            return value, (here, places, None), at


def _flow_mapping(text: str, at: int, place: int, here: int, cache: PlainCache, depth: int) -> tuple[Any, Any, int]:
    value: dict[str, Any] = {}
    places: dict[str, Any] = {}
    marks: dict[str, Any] = {}
    match = _FLOW.match(text, at)
    if match is not None and match[1] == "}":
        return value, (here, places, marks), match.end()
    while True:
        match = _FLOW.match(text, at)
        if match is None or match[3] is None:
            raise _OddError
        key = cache.keys.get(match[3]) or cache.key(match[3])
        if key in value:
            raise _OddError
        value[key], places[key], at = _flow_node(text, match.end(), place, cache, depth + 1)
        marks[key] = place + match.start(3)
        match = _FLOW.match(text, at)
        if match is None or match[1] not in {",", "}"}:
            raise _OddError
        at = match.end()
        if match[1] == "}":
            return value, (here, places, marks), at
