"""One object of the configuration: what it is called, where it was written, and its typed spec."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from meshlib.model.base import EMPTY, Spec

__all__ = ["NO_LINES", "Metadata", "Resource", "RuleLines", "Skipped"]


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


class Resource(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One decoded object.

    ``kind``, ``group`` and ``version`` are from the document (``group`` is empty for the
    core group). ``spec`` is the struct of the kind, such as VirtualServiceSpec: look at it
    with ``match`` or ``isinstance``. ``file`` and ``line`` say where the document begins
    (line 0: not known), ``rule_lines`` where each rule does, by section: ``{"http": (7, 12)}``.
    """

    kind: str
    group: str = ""
    version: str = ""
    metadata: Metadata
    spec: Spec
    file: str = ""
    line: int = 0
    rule_lines: Mapping[str, tuple[int, ...]] = NO_LINES

    @property
    def name(self) -> str:
        """``metadata.name``."""
        return self.metadata.name

    @property
    def namespace(self) -> str:
        """``metadata.namespace``."""
        return self.metadata.namespace

    def __str__(self) -> str:
        return f"{self.kind} {self.metadata.namespace}/{self.metadata.name}"

    def __repr__(self) -> str:
        place = f" {self.file}:{self.line}" if self.file else ""
        return f"<{self}{place}>"


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
