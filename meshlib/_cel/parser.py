"""From an expression to its tree; one function for each level of precedence (cel-spec, "Syntax")."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from meshlib._cel.nodes import Call, Literal, Make, Mapping, Name, Node, Select, Sequence
from meshlib._cel.tokens import CelError, Token, tokens

__all__ = ["CelError", "parse"]

_RELATIONS: Final = frozenset({"<", "<=", ">=", ">", "==", "!="})
_RESERVED: Final = frozenset(
    "as break const continue else for function if import let loop package namespace return var void while".split()
)
_KEYWORDS: Final = {"true": True, "false": False, "null": None}
_MACROS: Final = {"all": (2,), "exists": (2,), "exists_one": (2,), "map": (2, 3), "filter": (2,)}
_DEEPEST: Final = 200
_BEYOND: Final = 1 << 63  # only right as a negative number

Item = TypeVar("Item")


def parse(text: str) -> Node:
    """The tree of an expression; CelError with the column if it breaks the syntax.

    Macros are checked as cel-go does (the variable of ``all`` is a name, ``has`` takes a field) but stay calls.
    """
    parser = _Parser(list(tokens(text)))
    node = parser.expression()
    if parser.token.kind != "end":
        raise parser.unexpected()
    return node


class _Parser:
    __slots__ = ("_at", "_depth", "_tokens")

    def __init__(self, words: list[Token]) -> None:
        self._tokens = words
        self._at = 0
        self._depth = 0

    @property
    def token(self) -> Token:
        """The next word."""
        return self._tokens[self._at]

    def unexpected(self) -> CelError:
        """That the next word cannot stand here."""
        return CelError(f"Syntax error at column {self.token.at}: mismatched input '{self.token.text}'")

    def _takes(self, *symbols: str) -> str:
        token = self.token
        if token.kind == "symbol" and token.text in symbols:
            self._at += 1
            return token.text
        return ""

    def _needs(self, symbol: str) -> None:
        if not self._takes(symbol):
            raise self.unexpected()

    # -- operators, loosest first --------------------------------------------------------------------------

    def expression(self) -> Node:
        """``condition ? then : else``, or what is below it."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise CelError("expression recursion limit exceeded")
        node = self._either()
        if self._takes("?"):
            then = self._either()
            self._needs(":")
            node = Call("_?_:_", (node, then, self.expression()))
        self._depth -= 1
        return node

    def _chain(self, symbols: tuple[str, ...], below: Callable[[], Node]) -> Node:
        node = below()
        while symbol := self._takes(*symbols):
            node = Call(f"_{symbol}_", (node, below()))
        return node

    def _either(self) -> Node:
        return self._chain(("||",), self._both)

    def _both(self) -> Node:
        return self._chain(("&&",), self._relation)

    def _relation(self) -> Node:
        node = self._sum()
        while True:
            if symbol := self._takes(*_RELATIONS):
                node = Call(f"_{symbol}_", (node, self._sum()))
            elif self.token.kind == "name" and self.token.text == "in":
                self._at += 1
                node = Call("@in", (node, self._sum()))
            else:
                return node

    def _sum(self) -> Node:
        return self._chain(("+", "-"), self._product)

    def _product(self) -> Node:
        return self._chain(("*", "/", "%"), self._unary)

    def _unary(self) -> Node:
        symbol, count = self._takes("!", "-"), 1
        if not symbol:
            return self._member()
        while self._takes(symbol):
            count += 1
        node = self._member()
        return node if count % 2 == 0 else Call("!_" if symbol == "!" else "-_", (node,))

    # -- values --------------------------------------------------------------------------------------------

    def _member(self) -> Node:
        node = self._primary()
        while True:
            if self._takes("."):
                name = self._identifier(is_field=True)
                node = self._method(node, name) if self._takes("(") else Select(node, name)
            elif self._takes("["):
                index = self.expression()
                self._needs("]")
                node = Call("_[_]", (node, index))
            elif isinstance(node, Name | Select) and self._takes("{"):
                node = Make(node, self._list("}", self._field))
            else:
                return node

    def _method(self, target: Node, name: str) -> Node:
        arguments = self._list(")", self.expression, takes_trailing=False)
        if len(arguments) in _MACROS.get(name, ()) and not isinstance(arguments[0], Name):
            raise CelError(f"argument of {name} must be a simple name")
        return Call(name, arguments, target)

    def _primary(self) -> Node:
        token = self.token
        if token.kind == "name" and token.text in _KEYWORDS:
            self._at += 1
            return Literal(_KEYWORDS[token.text])
        if token.kind not in ("symbol", "name", "field", "end"):
            if token.kind == "int" and token.value == _BEYOND and self._tokens[self._at - 1].text != "-":
                raise CelError(f"invalid int literal at column {token.at}: {token.text}")
            self._at += 1
            return Literal(token.value)
        if self._takes("("):
            node = self.expression()
            self._needs(")")
            return node
        if self._takes("["):
            return Sequence(self._list("]", self.expression))
        if self._takes("{"):
            return Mapping(self._list("}", self._entry))
        is_absolute = bool(self._takes("."))
        name = self._identifier()
        if not self._takes("("):
            return Name(f".{name}" if is_absolute else name)
        arguments = self._list(")", self.expression, takes_trailing=False)
        if name == "has" and len(arguments) == 1:
            operand = arguments[0]
            if not isinstance(operand, Select):
                raise CelError("invalid argument to has() macro")
            return Select(operand.operand, operand.field, is_test=True)
        return Call(name, arguments)

    def _identifier(self, *, is_field: bool = False) -> str:
        token = self.token
        if token.kind == "field" and is_field:  # in backticks
            self._at += 1
            return token.text
        if token.kind != "name" or token.text in _KEYWORDS or token.text == "in":
            raise self.unexpected()
        if token.text in _RESERVED and not is_field:
            raise CelError(f"reserved identifier: {token.text}")
        self._at += 1
        return token.text

    def _list(self, end: str, item: Callable[[], Item], *, takes_trailing: bool = True) -> tuple[Item, ...]:
        items: list[Item] = []
        while not self._takes(end):
            items.append(item())
            if not self._takes(","):
                self._needs(end)
                break
            if not takes_trailing and self.token.text == end:
                raise self.unexpected()
        return tuple(items)

    def _entry(self) -> tuple[Node, Node]:
        key = self.expression()
        self._needs(":")
        return key, self.expression()

    def _field(self) -> tuple[str, Node]:
        name = self._identifier(is_field=True)
        self._needs(":")
        return name, self.expression()
