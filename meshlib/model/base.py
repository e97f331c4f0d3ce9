"""What all models share: a frozen struct that knows the YAML names of its fields, and the meaning of absence.

A field that is not written is ``None`` (``()`` for a list, an empty mapping for a
map). Writing ``null`` is something else: the API server refuses it, except where
the schema says ``nullable``. So a field reads ``Maybe[X] = None`` when it may only be
absent, and ``X | None = None`` when ``null`` may also be written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Final, Never, TypeAlias

import msgspec

if TYPE_CHECKING:
    from typing import Optional as Maybe

    Json: TypeAlias = object
else:
    Json = Any

    class Maybe:
        """``Maybe[X]``: to a type checker ``X | None``, to the decoder ``X``, so that a written null is an error."""

        def __class_getitem__(cls, item: object) -> object:
            return item


__all__ = ["EMPTY", "UNWRITTEN", "Json", "Maybe", "Model", "RuleError", "Spec", "at_most_one", "yaml_name"]


class EmptyMap(dict[str, Never]):
    """The one empty map that stands for all absent ones: 10,000 resources need no empty dict each."""

    __slots__ = ()

    def __setitem__(self, key: str, value: object) -> None:
        raise TypeError("models are frozen")

    def __reduce__(self) -> str:
        return "EMPTY"


EMPTY: Final[Mapping[str, Never]] = EmptyMap()
"""The default of every map field."""


class Unwritten(tuple[Never, ...]):
    """The empty list of a field that is not there, where the API server tells that from a list written empty."""

    __slots__ = ()

    def __reduce__(self) -> str:
        return "UNWRITTEN"


UNWRITTEN: Final[tuple[Never, ...]] = Unwritten()


class RuleError(ValueError):
    """A struct whose fields are right one by one but not together.

    ``field`` is the YAML name of the field to blame, empty for the struct itself;
    ``hint`` says what to do.
    """

    def __init__(self, message: str, *, field: str = "", hint: str = "") -> None:
        self.message, self.field, self.hint = message, field, hint
        self.all: tuple[RuleError, ...] = (self,)
        super().__init__(message)

    @classmethod
    def raise_all(cls, errors: Iterable[RuleError]) -> None:
        """Raise the first of the errors, with all of them in ``all``; nothing if there is none."""
        found = tuple(errors)
        if found:
            found[0].all = found
            raise found[0]


def yaml_name(attribute: str) -> str:
    """``http1_max_pending_requests`` -> ``http1MaxPendingRequests``; ``from_`` -> ``from``."""
    first, *rest = attribute.rstrip("_").split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


class Model(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename=yaml_name,
    forbid_unknown_fields=True,
    omit_defaults=True,
    gc=False,
):
    """Base of every message of a resource: frozen, comparable, keyword-only.

    Untracked by the garbage collector: models hold only immutable values, so they
    can form no cycle.
    """


class Spec(Model, frozen=True, kw_only=True):
    """Base of the ``spec`` of a kind.

    ``RULES`` names the lists whose items are rules of their own: the resource keeps
    the line of each item, because explain and findings name rules by line.
    ``FROM_BODY``: the fields stand in the object itself, beside ``metadata``.
    """

    RULES: ClassVar[tuple[str, ...]] = ()
    FROM_BODY: ClassVar[bool] = False


def at_most_one(model: Model, *attributes: str) -> None:
    """Refuse a oneof of which more than one member is written."""
    written = [yaml_name(name) for name in attributes if getattr(model, name) is not None]
    if len(written) > 1:
        names = ", ".join(map(yaml_name, attributes))
        raise RuleError(
            f"at most one of {names} may be set, found {' and '.join(written)}",
            field=written[1],
            hint=f"keep one of {', '.join(written)}",
        )
