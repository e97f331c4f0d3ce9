"""The tree of an expression. Operators are calls: ``_&&_``, ``_==_``, ``_[_]``, ``!_``, ``_?_:_``."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

__all__ = ["Call", "Literal", "Make", "Mapping", "Name", "Node", "Select", "Sequence"]


class Literal(msgspec.Struct, frozen=True):
    """A value written in place."""

    value: bool | int | float | str | bytes | None


class Name(msgspec.Struct, frozen=True):
    """An attribute, such as ``response``."""

    name: str


class Select(msgspec.Struct, frozen=True):
    """A field of a value: ``response.code``. ``is_test``: only whether it is there, ``has(…)``."""

    operand: Node
    field: str
    is_test: bool = False


class Call(msgspec.Struct, frozen=True):
    """A function or an operator; ``target`` is what a method is called on."""

    function: str
    arguments: tuple[Node, ...]
    target: Node | None = None


class Sequence(msgspec.Struct, frozen=True):
    """A list written in place."""

    items: tuple[Node, ...]


class Mapping(msgspec.Struct, frozen=True):
    """A map written in place."""

    entries: tuple[tuple[Node, Node], ...]


class Make(msgspec.Struct, frozen=True):
    """A message made by the name of its type."""

    operand: Node
    fields: tuple[tuple[str, Node], ...]


Node: TypeAlias = Literal | Name | Select | Call | Sequence | Mapping | Make
