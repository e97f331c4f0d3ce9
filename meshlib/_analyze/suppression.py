"""What the reader does not want to hear of.

As in Istio: the annotation ``galley.istio.io/analyze-suppress`` of an object holds codes with
commas and no blanks between them, or ``*``; on the command line a code stands before the
object, ``IST0102=Namespace shop``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from meshlib.diagnostics import Finding

__all__ = ["ANNOTATION", "Suppression", "is_annotated"]

ANNOTATION: Final = "galley.istio.io/analyze-suppress"


@dataclass(frozen=True, slots=True)
class Suppression:
    """A code, and a pattern for the objects: ``Kind name.namespace`` or ``Kind namespace/name``, with ``*``."""

    code: str
    pattern: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """``CODE=Kind name.namespace``. Raises ValueError for another form."""
        code, equals, pattern = text.partition("=")
        if not equals or not code or not pattern or "=" in pattern:
            raise ValueError(f"{text!r} is not of the form CODE=Kind name.namespace")
        return cls(code, pattern)

    def covers(self, finding: Finding) -> bool:
        """Whether the finding is one of those."""
        return finding.code == self.code and any(_is_like(self.pattern, name) for name in _names(finding.resource))


def _names(resource: str) -> tuple[str, ...]:
    """The two ways to write ``Kind namespace/name``."""
    kind, _, name = resource.partition(" ")
    namespace, slash, plain = name.partition("/")
    return (resource, f"{kind} {plain}.{namespace}") if slash else (resource,)


def _is_like(pattern: str, text: str) -> bool:
    expression = ".*".join(re.escape(part) for part in pattern.split("*"))
    return re.fullmatch(expression, text, re.DOTALL) is not None


def is_annotated(code: str, annotations: Mapping[str, str]) -> bool:
    """Whether the object itself asks not to be told of the code."""
    codes = annotations.get(ANNOTATION, "").split(",")
    return "*" in codes or code in codes
