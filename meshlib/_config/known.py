"""What was read before, so that a reload reads only what has changed.

A text that is as it was gives what it gave. In one that has changed the unit is a piece,
from one ``---`` to the next: what it says depends on nothing but its own characters, the
lines before it, and the name of its file. What has an error is read anew each time.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import NamedTuple, TypeAlias

from meshlib.diagnostics import Finding
from meshlib.model.resource import Resource, Skipped

__all__ = [
    "Identity",
    "KnownPiece",
    "KnownText",
    "KnownTexts",
    "Packed",
    "PieceKey",
    "has_error",
    "identity",
    "pack",
    "piece_key",
]

PieceKey: TypeAlias = "tuple[int, bytes]"
"""Lines before the piece, digest of its text."""

KnownPiece: TypeAlias = "tuple[Resource | Skipped | Finding, ...]"
"""What reading and decoding a piece, or a whole text, gave, in its order."""

Identity: TypeAlias = "tuple[str, str, str, str]"
"""Of which a cluster has one: group, kind, namespace and name."""


class Packed(NamedTuple):
    """A text as it is kept for those who ask later, and a digest of it."""

    name: str
    digest: bytes
    data: bytes


class KnownText:
    """One text: what its pieces gave, and once it was read to its end without an error, what all of it gave.

    ``places`` are the identities of its resources where each has one of its own, else empty.
    """

    __slots__ = ("findings", "found", "name", "packed", "pieces", "places", "raw", "resources", "skipped")

    def __init__(self, name: str, raw: str | bytes) -> None:
        self.name = name
        self.raw = raw
        self.pieces: dict[PieceKey, KnownPiece] = {}
        self.found: KnownPiece | None = None
        self.places: tuple[Identity, ...] = ()
        self.packed: Packed | None = None
        self.resources: tuple[Resource, ...] = ()
        self.findings: tuple[Finding, ...] = ()
        self.skipped: tuple[Skipped, ...] = ()

    def end(self, found: Sequence[Resource | Skipped | Finding]) -> None:
        """It was read to its end."""
        if has_error(found):
            return
        self.found = tuple(found)
        self.resources = tuple([one for one in found if isinstance(one, Resource)])
        self.findings = tuple([one for one in found if isinstance(one, Finding)])
        self.skipped = tuple([one for one in found if isinstance(one, Skipped)])
        places = tuple([identity(one) for one in self.resources if one.metadata.name])
        if len(set(places)) == len(self.resources):
            self.places = places

    def is_of(self, raw: str | bytes) -> bool:
        """Whether it is of this very text."""
        return type(raw) is type(self.raw) and raw == self.raw


class KnownTexts:
    """The texts of the load before, and of the one that is going on.

    It keeps the texts, and the models of all resources: somewhat more memory than the
    compiled configuration itself. Nobody needs it who never reloads.
    """

    __slots__ = ("_before", "_now", "namespace")
    _before: dict[str, list[KnownText]]
    _now: dict[str, list[KnownText]]

    def __init__(self) -> None:
        self.namespace = ""
        self._before = {}
        self._now = {}

    def begin(self, namespace: str) -> None:
        """A load begins; what was read for another default namespace is of no use."""
        if namespace != self.namespace:
            self._before, self.namespace = {}, namespace
        self._now = {}

    def end(self) -> None:
        """It is over: what it did not meet is forgotten."""
        self._before, self._now = self._now, {}

    def whole(self, name: str, raw: str | bytes) -> KnownText | None:
        """A text that was read before, as it is."""
        for known in self._before.get(name, ()):
            if known.found is not None and known.is_of(raw):
                self._now.setdefault(name, []).append(known)
                return known
        return None

    def start(self, name: str, raw: str | bytes) -> KnownText:
        """A text that is read now."""
        made = KnownText(name, raw)
        self._now.setdefault(name, []).append(made)
        return made

    def piece(self, text: KnownText, key: PieceKey) -> KnownPiece | None:
        """What a piece of ``text`` gave, in the load before or earlier in this one."""
        texts: tuple[KnownText, ...] = (*self._before.get(text.name, ()), *self._now.get(text.name, ()))
        for known in texts:
            found = known.pieces.get(key)
            if found is not None:
                text.pieces[key] = found
                return found
        return None

    def packed(self, name: str, raw: str | bytes) -> Packed:
        """A text of the load that is over, packed; once as long as it stays as it is."""
        for known in self._before.get(name, ()):
            if known.is_of(raw):
                known.packed = known.packed or pack(name, raw)
                return known.packed
        return pack(name, raw)

    def __iter__(self) -> Iterator[KnownText]:
        """The texts of the load before."""
        for texts in self._before.values():
            yield from texts

    def __repr__(self) -> str:
        return f"<KnownTexts {len(self._before)}>"


def has_error(found: Iterable[Resource | Skipped | Finding]) -> bool:
    """Whether something in it is wrong."""
    return any(isinstance(one, Finding) and one.level == "error" for one in found)


def piece_key(line: int, text: str) -> PieceKey:
    """The key of a piece."""
    return line, blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def identity(resource: Resource) -> Identity:
    """What a resource is called, of all that there are."""
    metadata = resource.metadata
    return resource.group, resource.kind, metadata.namespace, metadata.name


def pack(name: str, raw: str | bytes) -> Packed:
    """A text at a fraction of its size."""
    data = raw if isinstance(raw, bytes) else raw.encode("utf-8", "surrogatepass")
    return Packed(name, blake2b(data, digest_size=16).digest(), zlib.compress(data, 1))
