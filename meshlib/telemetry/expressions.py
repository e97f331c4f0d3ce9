"""Expressions over a request: the filters of access logs and the values of tags (Telemetry), in CEL.

The attributes are Envoy's, as far as a process can know them
(https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/advanced/attributes).
An expression is turned into nested functions once. Reading an attribute or a key that is
not there is an error, which ``&&``, ``||`` and ``has()`` deal with as CEL says.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from meshlib._cel import Call, CelError, Literal, Name, Node, Select, Sequence, parse
from meshlib._cel import Mapping as MapNode
from meshlib._regex import RegexError, compile_regex
from meshlib.telemetry.attributes import ATTRIBUTES, MAPS, ExpressionError

if TYPE_CHECKING:
    from meshlib.telemetry.facts import Facts

__all__ = ["Evaluate", "ExpressionError", "UnsupportedError", "compile_expression", "matches", "to_text"]

Evaluate: TypeAlias = "Callable[[Facts], Any]"
"""The value of an expression for a request; raises ExpressionError where CEL has an error."""


class UnsupportedError(ValueError):
    """An expression that is not CEL, or uses what cannot be known in a process; the message says what."""


def compile_expression(text: str) -> Evaluate:
    """Prepare an expression. Raises UnsupportedError."""
    try:
        tree = parse(text)
    except CelError as error:
        raise UnsupportedError(str(error)) from error
    return _build(tree)


def matches(evaluate: Evaluate, facts: Facts) -> bool:
    """Whether an expression is true for a request; an error is not, as in Envoy's filter."""
    try:
        return evaluate(facts) is True
    except ExpressionError:
        return False


def to_text(evaluate: Evaluate, facts: Facts) -> str:
    """The value of an expression as that of a label; ``unknown`` where it has none."""
    try:
        value = evaluate(facts)
    except ExpressionError:
        return "unknown"
    match value:
        case bool():
            return "true" if value else "false"
        case str() | int() | float():
            return str(value) or "unknown"
        case bytes():
            return value.decode("utf-8", "replace")
        case timedelta():
            return f"{value.total_seconds():g}s"
        case datetime():
            return value.isoformat()
        case _:
            return "unknown"


_MACROS: Final = frozenset({"all", "exists", "exists_one", "map", "filter"})

# -- from the tree to functions ------------------------------------------------------------------------------


def _build(node: Node) -> Evaluate:
    match node:
        case Literal(value=value):
            return lambda _facts: value
        case Name() | Select() if (path := _path(node)) and not _is_test(node):
            return _attribute(path)
        case Select(operand=operand, field=field, is_test=True):
            return _has(operand, field)
        case Select(operand=operand, field=field):
            return _index(_build(operand), lambda _facts: field)
        case Sequence(items=items):
            parts = [_build(item) for item in items]
            return lambda facts: [part(facts) for part in parts]
        case MapNode(entries=entries):
            pairs = [(_build(key), _build(value)) for key, value in entries]
            return lambda facts: {key(facts): value(facts) for key, value in pairs}
        case Call():
            return _call(node)
        case _:
            raise UnsupportedError("messages cannot be made here")


def _is_test(node: Node) -> bool:
    return isinstance(node, Select) and node.is_test


def _path(node: Node) -> str:
    """``request.headers`` for the selections that spell it; empty for everything else."""
    match node:
        case Name(name=name):
            return name.removeprefix(".")
        case Select(operand=operand, field=field, is_test=False):
            inner = _path(operand)
            return f"{inner}.{field}" if inner else ""
        case _:
            return ""


def _attribute(path: str) -> Evaluate:
    """An attribute by its dotted name; a field of a map attribute is an entry of it."""
    read = ATTRIBUTES.get(path)
    if read is not None:
        return read
    parent, _, key = path.rpartition(".")
    if parent in MAPS:
        return _index(ATTRIBUTES[parent], lambda _facts: key)
    raise UnsupportedError(f"the attribute {path!r} is not known in a process")


def _has(operand: Node, field: str) -> Evaluate:
    path = _path(operand)
    if path and path not in MAPS:
        read = ATTRIBUTES.get(f"{path}.{field}")

        def is_there(facts: Facts) -> bool:
            try:
                return read is not None and read(facts) is not None
            except ExpressionError:
                return False

        return is_there
    container = _build(operand)

    def has(facts: Facts) -> bool:
        value = container(facts)
        if not isinstance(value, Mapping):
            raise ExpressionError("has() of what is no map")
        return field in value

    return has


def _index(container: Evaluate, key: Evaluate) -> Evaluate:
    def index(facts: Facts) -> Any:
        value, place = container(facts), key(facts)
        try:
            return value[place]
        except (KeyError, IndexError, TypeError) as error:
            raise ExpressionError(f"no such key: {place!r}") from error

    return index


def _call(node: Call) -> Evaluate:
    arguments = list(node.arguments) if node.target is None else [node.target, *node.arguments]
    name = node.function
    if name == "matches" and len(arguments) == 2:
        return _matches(arguments)
    if name in _MACROS and node.target is not None:
        raise UnsupportedError(f"the macro {name!r} is not supported")
    values = [_build(argument) for argument in arguments]
    match name, values:
        case "_&&_", [left, right]:
            return _logical(left, right, decides=False)
        case "_||_", [left, right]:
            return _logical(left, right, decides=True)
        case "_?_:_", [condition, then, otherwise]:
            return lambda facts: (then if _boolean(condition(facts)) else otherwise)(facts)
        case "_[_]", [container, key]:
            return _index(container, key)
        case _, [one] if name in _UNARY:
            return _guarded(_UNARY[name], one)
        case _, [left, right] if name in _BINARY:
            return _guarded(_BINARY[name], left, right)
        case _:
            raise UnsupportedError(f"the function {name!r} with {len(values)} arguments is not supported")


def _guarded(function: Callable[..., Any], *values: Evaluate) -> Evaluate:
    def call(facts: Facts) -> Any:
        try:
            return function(*[value(facts) for value in values])
        except (TypeError, ValueError, ArithmeticError, AttributeError) as error:
            raise ExpressionError(str(error)) from error

    return call


def _logical(left: Evaluate, right: Evaluate, *, decides: bool) -> Evaluate:
    """``&&`` and ``||``: the value that decides wins over an error on the other side, whichever comes first."""

    def logical(facts: Facts) -> bool:
        try:
            first: bool | None = _boolean(left(facts))
        except ExpressionError:
            first = None
        if first is decides:
            return decides
        second = _boolean(right(facts))
        if second is decides:
            return decides
        if first is None:
            raise ExpressionError("an operand has no value")
        return not decides

    return logical


def _matches(arguments: list[Node]) -> Evaluate:
    text, pattern = arguments
    if not isinstance(pattern, Literal) or not isinstance(pattern.value, str):
        raise UnsupportedError("matches() needs its expression written in place")
    try:
        program = compile_regex(f"(?s:.*)(?:{pattern.value})(?s:.*)")
    except RegexError as error:
        raise UnsupportedError(f"matches(): {error}") from error
    return _guarded(lambda value: program.matches(_text(value)), _build(text))


# -- functions -------------------------------------------------------------------------------------------------


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ExpressionError("not a boolean")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ExpressionError("not a text")
    return value


def _kind(value: Any) -> object:
    if isinstance(value, bool):
        return bool
    return float if isinstance(value, int | float) else type(value)


def _equal(left: Any, right: Any) -> bool:
    return _kind(left) is _kind(right) and bool(left == right)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def ordered(left: Any, right: Any) -> bool:
        if _kind(left) is not _kind(right):
            raise ExpressionError("values of different kinds have no order")
        return compare(left, right)

    return ordered


def _arithmetic(compute: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def arithmetic(left: Any, right: Any) -> Any:
        if isinstance(left, bool) or isinstance(right, bool):
            raise ExpressionError("booleans have no arithmetic")
        return compute(left, right)

    return arithmetic


def _divide(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int):
        quotient = abs(left) // abs(right)
        return quotient if (left < 0) == (right < 0) else -quotient  # towards zero, as CEL does
    return left / right


def _modulo(left: int, right: int) -> int:
    return left - right * int(_divide(left, right))


def _in(item: Any, container: Any) -> bool:
    if isinstance(container, Mapping):
        return item in container
    if isinstance(container, list):
        return any(_equal(item, one) for one in container)
    raise ExpressionError("'in' needs a list or a map")


def _string(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _duration(value: Any) -> timedelta:
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
    text = _text(value)
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    return timedelta(seconds=float(number) * units.get(text[len(number) :], float("nan")))


def _timestamp(value: Any) -> datetime:
    moment = datetime.fromisoformat(_text(value))
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _negate(value: Any) -> Any:
    if isinstance(value, bool):
        raise ExpressionError("a boolean has no negative")
    return -value


_UNARY: Final[Mapping[str, Callable[[Any], Any]]] = {
    "!_": lambda value: not _boolean(value),
    "-_": _negate,
    "size": len,
    "string": _string,
    "int": int,
    "uint": int,
    "double": float,
    "bool": lambda value: {"true": True, "false": False}[value] if isinstance(value, str) else _boolean(value),
    "duration": _duration,
    "timestamp": _timestamp,
    "lowerAscii": lambda value: _text(value).lower(),
    "upperAscii": lambda value: _text(value).upper(),
}
_BINARY: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "_==_": _equal,
    "_!=_": lambda left, right: not _equal(left, right),
    "_<_": _ordered(operator.lt),
    "_<=_": _ordered(operator.le),
    "_>_": _ordered(operator.gt),
    "_>=_": _ordered(operator.ge),
    "_+_": _arithmetic(operator.add),
    "_-_": _arithmetic(operator.sub),
    "_*_": _arithmetic(operator.mul),
    "_/_": _arithmetic(_divide),
    "_%_": _arithmetic(_modulo),
    "@in": _in,
    "contains": lambda value, part: _text(part) in _text(value),
    "startsWith": lambda value, part: _text(value).startswith(_text(part)),
    "endsWith": lambda value, part: _text(value).endswith(_text(part)),
}
