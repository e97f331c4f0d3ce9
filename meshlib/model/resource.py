"""One object of the configuration: what it is called, where it was written, and its typed spec."""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache, lru_cache
from typing import Final, NamedTuple, TypeAlias

import msgspec

from meshlib.model.base import EMPTY, Spec
from meshlib.model.hooks import decode_hook, encode_hook
from meshlib.model.kinds import KINDS, spec_class

__all__ = ["NO_LINES", "Metadata", "Resource", "RuleLines", "Skipped", "compact_all"]


class Metadata(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False, omit_defaults=True):
    """Name and labels of an object; what else ObjectMeta holds is of no use here.

    ``namespace`` is empty until a loader fills in its default.
    https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/
    """

    name: str = ""
    namespace: str = ""
    labels: Mapping[str, str] = EMPTY
    annotations: Mapping[str, str] = EMPTY
    creation_timestamp: datetime | None = None


class RuleLines(Mapping[str, tuple[int, ...]]):
    """Line of each rule: ``{"http": (7, 12)}``. Packed, because every resource keeps one."""

    __slots__ = ("_names", "_packed")

    def __init__(self, lines: Mapping[str, Sequence[int]]) -> None:
        self._names = tuple(lines)
        packed: list[int] = []
        for numbers in lines.values():
            packed += (len(numbers), *numbers)
        self._packed = array("I", packed).tobytes()

    def __getitem__(self, section: str) -> tuple[int, ...]:
        numbers, start = memoryview(self._packed).cast("I"), 0
        for name in self._names:
            end = start + 1 + numbers[start]
            if name == section:
                return tuple(numbers[start + 1 : end])
            start = end
        raise KeyError(section)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        return f"RuleLines({dict(self)})"


NO_LINES: Final = RuleLines({})
_Decoded: TypeAlias = tuple[Metadata, Spec, dict[str, list[int]]]
_WINDOW: Final = -12
_set = object.__setattr__


class Contents(NamedTuple):
    """What a compact resource keeps packed."""

    metadata: Metadata
    spec: Spec
    rule_lines: Mapping[str, tuple[int, ...]]


class Resource:
    """One decoded object; immutable.

    ``kind``, ``group`` and ``version`` are from the document (``group`` is empty for the
    core group). ``spec`` is the struct of the kind, such as VirtualServiceSpec: look at it
    with ``match`` or ``isinstance``. ``file`` and ``line`` say where the document begins
    (line 0: not known), ``rule_lines`` where each rule does, by section: ``{"http": (7, 12)}``.
    """

    __slots__ = ("_contents", "file", "group", "kind", "line", "version")

    kind: str
    group: str
    version: str
    file: str
    line: int
    _contents: Contents | Packed

    def __init__(
        self,
        *,
        kind: str,
        metadata: Metadata,
        spec: Spec,
        group: str = "",
        version: str = "",
        file: str = "",
        line: int = 0,
        rule_lines: Mapping[str, tuple[int, ...]] = NO_LINES,
    ) -> None:
        _set(self, "kind", kind)
        _set(self, "group", group)
        _set(self, "version", version)
        _set(self, "file", file)
        _set(self, "line", line)
        _set(self, "_contents", Contents(metadata, spec, rule_lines))

    @property
    def contents(self) -> Contents:
        """Metadata, spec and lines together: one look-up for a compact resource."""
        contents = self._contents
        return contents if isinstance(contents, Contents) else unpack(self.group, self.kind, contents)

    @property
    def metadata(self) -> Metadata:
        """Name, namespace, labels."""
        return self.contents.metadata

    @property
    def spec(self) -> Spec:
        """The struct of the kind."""
        return self.contents.spec

    @property
    def rule_lines(self) -> Mapping[str, tuple[int, ...]]:
        """The line of each rule by section, as far as it is known."""
        return self.contents.rule_lines

    @property
    def name(self) -> str:
        """``metadata.name``."""
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """``metadata.namespace``."""
        return self.metadata.namespace

    def compact(self, dictionary: bytes = b"") -> Resource:
        """An equal resource that keeps its contents packed: a tenth of the memory, some µs at each use.

        For resources that are kept only in case somebody asks; a few that were used
        last stay open. ``dictionary`` is the packed form of a similar resource:
        what both have is stored once. See :func:`compact_all`.
        """
        contents = self._contents
        if isinstance(contents, Packed):
            return self
        return self._packed(pack(contents), dictionary)

    def _packed(self, plain: bytes, dictionary: bytes) -> Resource:
        copy: Resource = object.__new__(Resource)
        for name in ("kind", "group", "version", "file", "line"):
            _set(copy, name, getattr(self, name))
        _set(copy, "_contents", Packed(compress(plain, dictionary), dictionary))
        return copy

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{name} cannot be set: resources are immutable")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Resource):
            return NotImplemented
        return self._header() == other._header() and self.contents == other.contents

    def __hash__(self) -> int:
        return hash(self._header())

    def _header(self) -> tuple[str, str, str, str, int]:
        return (self.kind, self.group, self.version, self.file, self.line)

    def __str__(self) -> str:
        metadata = self.metadata
        return f"{self.kind} {metadata.namespace}/{metadata.name}"

    def __repr__(self) -> str:
        place = f" {self.file}:{self.line}" if self.file else ""
        return f"<{self}{place}>"


class Packed(msgspec.Struct, frozen=True, gc=False):
    """Compressed contents, with the dictionary they were compressed by."""

    data: bytes
    dictionary: bytes


def compact_all(resources: Iterable[Resource]) -> tuple[Resource, ...]:
    """The resources, packed; the first one of each kind is the dictionary of the others."""
    dictionaries: dict[tuple[str, str], bytes] = {}
    packed: list[Resource] = []
    for resource in resources:
        plain = pack(resource.contents)
        dictionary = dictionaries.setdefault((resource.group, resource.kind), plain)
        packed.append(resource._packed(plain, dictionary))
    return tuple(packed)


def pack(contents: Contents) -> bytes:
    """Contents as MessagePack; absent fields take no room."""
    lines = {section: list(numbers) for section, numbers in contents.rule_lines.items()}
    return msgspec.msgpack.encode((contents.metadata, contents.spec, lines), enc_hook=encode_hook)


def compress(plain: bytes, dictionary: bytes) -> bytes:
    """Raw deflate in a small window: contents are short, and the set-up must be cheap."""
    packer = zlib.compressobj(6, zlib.DEFLATED, _WINDOW, 4, zdict=dictionary)
    return packer.compress(plain) + packer.flush()


@lru_cache(maxsize=128)
def unpack(group: str, kind: str, packed: Packed) -> Contents:
    """The contents again."""
    plain = zlib.decompressobj(_WINDOW, zdict=packed.dictionary).decompress(packed.data)
    metadata, spec, lines = decoder(group, kind).decode(plain)
    return Contents(metadata, spec, RuleLines(lines) if lines else NO_LINES)


@cache
def decoder(group: str, kind: str) -> msgspec.msgpack.Decoder[_Decoded]:
    """The decoder of one kind."""
    types = (Metadata, spec_class(KINDS[group, kind]), dict[str, list[int]])
    return msgspec.msgpack.Decoder(tuple.__class_getitem__(types), dec_hook=decode_hook)


class Skipped(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A document that was read but is of no use here, and why."""

    kind: str
    name: str = ""
    namespace: str = ""
    file: str = ""
    line: int = 0
    reason: str

    def __str__(self) -> str:
        where = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind} {where}: {self.reason}"
