"""From YAML events to plain values with positions, in one pass.

PyYAML's C parser delivers events; this module turns those of one document into a
value and a tree of marks. It reads scalars as Kubernetes does (see ``scalars``),
and what Kubernetes would refuse becomes a problem with its place:

* A problem of one node (a duplicate key, an unknown alias, a foreign tag) is
  noted, the node is left out, and building goes on, so that all are found.
* What makes the rest unreadable or unbounded (depth, nodes, aliases) raises
  :class:`AbortError`.

Recursion is one Python call for each nested collection, capped by ``depth``.
Aliases share the value of their anchor, so memory grows with the text alone; the
nodes that following them would make are counted, and capped as Go's reader does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import yaml

from meshlib._config.document import Mark, Place
from meshlib._config.limits import AbortError, Limits, Problem
from meshlib._config.scalars import CORE_TAGS, Scalar, TagMismatchError, json_value, key_text, resolve, resolve_tagged

__all__ = ["Builder", "ScalarCache"]

_Scalar: type[Any] = yaml.ScalarEvent
_Alias: type[Any] = yaml.AliasEvent
_MappingStart: type[Any] = yaml.MappingStartEvent
_MappingEnd: type[Any] = yaml.MappingEndEvent
_SequenceStart: type[Any] = yaml.SequenceStartEvent
_SequenceEnd: type[Any] = yaml.SequenceEndEvent
_CACHED = 50_000
_SHOWN = 50


class _Anchor(NamedTuple):
    """What an anchor stands for; ``size`` is the number of nodes behind it."""

    value: Any
    place: Place
    size: int
    key: str | None
    mark: Mark


class ScalarCache:
    """Plain scalars by their text, kept from one document to the next: repeated ones share their value.

    Flow context has a cache of its own, because there a question mark is an error.
    """

    __slots__ = ("block", "flow", "keys")

    def __init__(self) -> None:
        self.block: dict[str, Scalar] = {}
        self.flow: dict[str, Scalar] = {}
        self.keys: dict[str, str] = {}

    def trim(self) -> None:
        """Forget what has grown too large."""
        for cache in (self.block, self.flow, self.keys):
            if len(cache) > _CACHED:
                cache.clear()


class Builder:
    """Builds the documents of one event stream."""

    __slots__ = (
        "_aliased", "_anchors", "_base", "_block", "_cache", "_flow", "_get", "_keys", "_limits", "_nodes", "_open",
        "problems",
    )  # fmt: skip

    def __init__(self, get: Callable[[], Any], limits: Limits, base: int, cache: ScalarCache) -> None:
        self._get = get
        self._limits = limits
        self._base = base + 1
        self._cache = cache
        self._block, self._flow, self._keys = cache.block, cache.flow, cache.keys
        self._reset()

    def _reset(self) -> None:
        self._anchors: dict[str, _Anchor] = {}
        self._open: set[str] = set()
        self._nodes = 2  # the document and its root
        self._aliased = 0
        self.problems: list[Problem] = []
        self._cache.trim()

    def build(self, event: Any) -> tuple[Any, Place]:
        """The document that begins with ``event``; what is wrong in it stands in ``problems``."""
        self._reset()
        result = self._node(event, 0, self._block)
        total, aliased = self._nodes, self._aliased
        if aliased > 100 and total > 1000 and aliased / total > _alias_share(total):
            raise AbortError("MESH008", f"aliases expand this document to {total} nodes", event.start_mark)
        return result

    def _note(self, code: str, message: str, mark: Mark, hint: str = "") -> None:
        if len(self.problems) < _SHOWN:
            self.problems.append(Problem(code, message, mark.line + self._base, mark.column + 1, hint))

    # -- collections: the two loops below see every node, so they look up scalars themselves

    # Longer and more branched than the rules allow: parts of their own would cost a call for each node.
    def _mapping(self, start: Any, depth: int) -> tuple[dict[str, Any], Place]:  # noqa: C901, PLR0912
        get, keys = self._get, self._keys
        plain = self._flow if start.flow_style else self._block
        value: dict[str, Any] = {}
        places: dict[str, Place] = {}
        key_marks: dict[str, Mark | int] = {}
        merged: set[str] | None = None
        for _ in range(self._room(start, depth)):
            event = get()
            if type(event) is _Scalar and event.tag is None is event.anchor and not event.style:
                key = keys.get(event.value) or self._plain_key(event, plain)
            elif type(event) is _MappingEnd:
                self._nodes += 2 * len(value)
                return value, (start.start_mark, places, key_marks)
            else:
                key = self._key(event, depth, plain)
            mark = event.start_mark
            if key is _MERGE:
                merged = self._merge(value, places, key_marks, merged, depth, plain)
                continue
            event = get()
            if type(event) is _Scalar and event.tag is None is event.anchor:
                if not event.style:
                    try:
                        item = plain[event.value]
                    except KeyError:
                        item = self._plain(event, plain)
                else:
                    item = event.value
                place = event.start_mark
            else:
                item, place = self._node(event, depth + 1, plain)
            if key in value and not (merged and key in merged):
                self._duplicate(key, mark, key_marks)
            elif key is not None:
                if merged:
                    merged.discard(key)
                value[key], places[key], key_marks[key] = item, place, mark
        raise AbortError("MESH009", self._too_many(), start.start_mark)

    def _sequence(self, start: Any, depth: int) -> tuple[list[Any], Place]:
        get = self._get
        plain = self._flow if start.flow_style else self._block
        value: list[Any] = []
        places: list[Place] = []
        for _ in range(self._room(start, depth)):
            event = get()
            if type(event) is _Scalar and event.tag is None is event.anchor:
                if not event.style:
                    try:
                        item = plain[event.value]
                    except KeyError:
                        item = self._plain(event, plain)
                else:
                    item = event.value
                value.append(item)
                places.append(event.start_mark)
            elif type(event) is _SequenceEnd:
                self._nodes += len(value)
                return value, (start.start_mark, places, None)
            else:
                item, place = self._node(event, depth + 1, plain)
                value.append(item)
                places.append(place)
        raise AbortError("MESH009", self._too_many(), start.start_mark)

    def _room(self, start: Any, depth: int) -> int:
        """How many nodes may still come; a cap without a check for each of them."""
        if depth >= self._limits.depth:
            raise AbortError("MESH007", f"nested deeper than {self._limits.depth} levels", start.start_mark)
        return max(0, self._limits.nodes + self._aliased - self._nodes) + 1

    def _too_many(self) -> str:
        return f"this document has more than {self._limits.nodes} nodes"

    # -- single nodes

    def _node(self, event: Any, depth: int, plain: dict[str, Scalar]) -> tuple[Any, Place]:
        """Any node that is not a bare scalar."""
        kind = type(event)
        if kind is _Alias:
            return self._alias(event)
        anchor, before = event.anchor, self._nodes
        if anchor is not None:
            self._open.add(anchor)
        value: Any
        if kind is _Scalar:
            value, place = self._scalar(event, plain), event.start_mark
        else:
            if event.tag is not None and event.tag not in CORE_TAGS:
                self._foreign_tag(event)
            value, place = (self._mapping if kind is _MappingStart else self._sequence)(event, depth)
        if anchor is not None:
            self._open.discard(anchor)
            key = self._scalar_key(event) if kind is _Scalar else None
            self._anchors[anchor] = _Anchor(value, place, self._nodes - before + 1, key, event.start_mark)
        return value, place

    def _alias(self, event: Any) -> tuple[Any, Place]:
        mark = event.start_mark
        anchor = self._anchor(event)
        if anchor is None:
            return None, mark
        self._nodes += anchor.size
        self._aliased += anchor.size
        if self._aliased > self._limits.expanded:
            raise AbortError(
                "MESH008", f"aliases expand this document to more than {self._limits.expanded} nodes", mark
            )
        place = anchor.place
        return anchor.value, (mark, place[1], place[2]) if isinstance(place, tuple) else mark

    def _anchor(self, event: Any) -> _Anchor | None:
        name = event.anchor
        if name in self._open:
            self._note("MESH005", f"the value of anchor {name!r} contains itself", event.start_mark)
            return None
        if name not in self._anchors:
            self._note("MESH005", f"alias {name!r} has no anchor before it", event.start_mark)
        return self._anchors.get(name)

    def _scalar(self, event: Any, plain: dict[str, Scalar]) -> Scalar:
        if event.tag is None:
            return self._plain(event, plain) if event.implicit[0] else event.value
        if not event.style and not self._is_readable(event, plain):
            return None
        try:
            return json_value(self._tagged(event))
        except ValueError as error:
            self._doubtful(event, error)
            return None

    def _plain(self, event: Any, plain: dict[str, Scalar]) -> Scalar:
        """A plain scalar that is not in the cache yet."""
        text = event.value
        if not self._is_readable(event, plain):
            return None
        try:
            value = json_value(resolve(text))
        except ValueError as error:
            self._doubtful(event, error)
            return None
        plain[text] = value
        return value

    def _is_readable(self, event: Any, plain: dict[str, Scalar]) -> bool:
        if plain is not self._flow or "?" not in event.value:
            return True
        # Go's scanner ends a plain scalar of a flow collection at "?"; libyaml's does not.
        message = f"the unquoted text {_shorten(event.value)} holds a '?' inside [...] or {{...}}"
        self._note("MESH001", message, event.start_mark, "quote the text")
        return False

    def _tagged(self, event: Any) -> Scalar:
        """The value of a tagged scalar, floats still floats."""
        if event.tag == "!":
            return event.value  # type: ignore[no-any-return]
        if event.tag not in CORE_TAGS:
            self._foreign_tag(event)
            return None
        return resolve_tagged(event.tag, event.value)

    def _doubtful(self, event: Any, error: ValueError) -> None:
        if isinstance(error, TagMismatchError):
            self._note("MESH011", str(error), event.start_mark)
        else:
            self._note("MESH012", f"{event.value} has no JSON form", event.start_mark)

    def _foreign_tag(self, event: Any) -> None:
        tag = event.tag.replace("tag:yaml.org,2002:", "!!")
        self._note("MESH010", f"the tag {_shorten(tag)} is not supported", event.start_mark)

    # -- keys

    def _plain_key(self, event: Any, plain: dict[str, Scalar]) -> str | None:
        """A plain key that is not in the cache yet (or is the empty text)."""
        text = event.value
        if text == "<<":
            return _MERGE
        if not self._is_readable(event, plain):
            return None
        key = key_text(resolve(text))
        if key is None:
            self._unsupported_key(event)
        elif "?" not in text:  # that one is fine in one context only
            self._keys[text] = key
        return key

    def _key(self, event: Any, depth: int, plain: dict[str, Scalar]) -> str | None:
        """A key that is quoted, tagged, anchored, an alias or (an error) a collection."""
        if type(event) is _Scalar:
            if event.anchor is not None:
                self._node(event, depth + 1, plain)
            if event.value == "<<" and (event.implicit[0] or event.tag == "tag:yaml.org,2002:merge"):
                return _MERGE
            if not event.style and not self._is_readable(event, plain):
                return None
            key = self._scalar_key(event)
        elif type(event) is _Alias:
            anchor = self._anchor(event)
            if anchor is None:
                return None
            key = anchor.key
        else:
            self._node(event, depth + 1, plain)
            key = None
        if key is None:
            self._unsupported_key(event)
        return key

    def _scalar_key(self, event: Any) -> str | None:
        if event.tag is None:
            return key_text(resolve(event.value)) if event.implicit[0] else event.value
        try:
            return key_text(self._tagged(event))
        except TagMismatchError as error:
            self._doubtful(event, error)
            return None

    def _unsupported_key(self, event: Any) -> None:
        kind = {_MappingStart: "a mapping", _SequenceStart: "a list"}.get(type(event))
        shown = kind or (_shorten(event.value) if type(event) is _Scalar else f"*{event.anchor}") or "null"
        self._note("MESH013", f"{shown} cannot be a key", event.start_mark)

    def _duplicate(self, key: str, mark: Mark, key_marks: Mapping[str, Mark | int]) -> None:
        first: Any = key_marks[key]
        where = f"line {first.line + self._base}, column {first.column + 1}"
        self._note("MESH004", f"the key {_shorten(key)} is already defined at {where}", mark)

    # -- merge keys

    def _merge(
        self,
        value: dict[str, Any],
        places: dict[str, Place],
        key_marks: dict[str, Mark | int],
        merged: set[str] | None,
        depth: int,
        plain: dict[str, Scalar],
    ) -> set[str]:
        """Merge the mappings that follow a ``<<`` key into ``value``.

        As in Go's reader a merge wins over keys before it and loses against keys
        after it; of a list of mappings the first wins.
        """
        event = self._get()
        source, place = self._node(event, depth + 1, plain)
        known = merged or set()
        sources: list[Any] = [source]
        source_places: list[Any] = [place]
        if isinstance(source, list) and type(event) is not _Alias and isinstance(place, tuple):
            sources, source_places = source, list(place[1])
        for mapping, where in zip(reversed(sources), reversed(source_places), strict=True):
            if not isinstance(mapping, dict) or not isinstance(where, tuple):
                self._note("MESH006", "the merge key << takes a mapping or a list of mappings", event.start_mark)
                continue
            known.update(key for key in mapping if key not in value)
            value.update(mapping)
            places.update(where[1])
            key_marks.update(where[2])
        return known


class _MergeKey(str):
    """The merge key, told from a quoted ``"<<"`` by its identity."""

    __slots__ = ()


_MERGE = _MergeKey("<<")


def _alias_share(nodes: int) -> float:
    """The share of nodes that may come from aliases: 99 % of up to 400,000 nodes, falling to 10 % at 4,000,000."""
    low, high = 400_000, 4_000_000
    return 0.99 - 0.89 * (min(max(nodes, low), high) - low) / (high - low)


def _shorten(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "…")
