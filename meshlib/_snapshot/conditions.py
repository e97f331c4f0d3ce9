"""Compiled conditions of authorization rules: pure predicates over an inbound request.

A condition on an attribute that the request does not have does not hold; its negation
does (semantics 6.3). What a server cannot tell of a request (:class:`Known`) is another
matter: it never lets anybody through. Each says with ``describe()`` what it wants, for explanations.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from meshlib._http import RequestHead
from meshlib._snapshot.inbound import Address, InboundRequest, address_text
from meshlib._snapshot.matchers import RegexProgram, header_values

__all__ = [
    "PATH",
    "AddressCondition",
    "Always",
    "Blocks",
    "ClaimCondition",
    "Condition",
    "HeaderCondition",
    "Known",
    "Never",
    "Not",
    "PortCondition",
    "RequestPrincipalCondition",
    "TextCondition",
    "TextSet",
    "found_in",
]


PATH: Final = "path"
"""The name of conditions on the path, without its query."""


class Condition(Protocol):
    """One attribute and what it must be."""

    def matches(self, request: InboundRequest) -> bool:
        """Whether the request is so."""
        ...

    def describe(self) -> str:
        """What is wanted, in the words of the resource."""
        ...


class TextSet(msgspec.Struct, frozen=True, gc=False):
    """A list of string forms of which one is enough. ``has_any`` is ``*``: any text but the empty one."""

    written: tuple[str, ...]
    exact: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()
    programs: tuple[RegexProgram, ...] = ()
    has_any: bool = False

    def matches(self, text: str) -> bool:
        """Whether one of the forms fits the whole text."""
        if text in self.exact or (self.has_any and text):
            return True
        if self.prefixes and text.startswith(self.prefixes):
            return True
        if self.suffixes and text.endswith(self.suffixes):
            return True
        return bool(self.programs) and any(program.matches(text) for program in self.programs)

    def describe(self) -> str:
        return f"[{', '.join(self.written)}]"


TextReader: TypeAlias = Callable[[InboundRequest], str]


class TextCondition(msgspec.Struct, frozen=True, gc=False):
    """A text attribute; empty counts as missing."""

    name: str
    read: TextReader
    values: TextSet

    def matches(self, request: InboundRequest) -> bool:
        return self.values.matches(self.read(request))

    def describe(self) -> str:
        return f"{self.name} in {self.values.describe()}"


_PSEUDO: Final[Mapping[str, Callable[[RequestHead], str]]] = {
    ":method": lambda head: head.method,
    ":path": lambda head: head.path,
    ":authority": lambda head: head.authority,
    "host": lambda head: head.authority,
    ":scheme": lambda head: head.scheme,
}


_GIVEN: Final[Mapping[str, Callable[[RequestHead], str]]] = {
    "x-forwarded-proto": lambda head: head.scheme,
    "x-request-id": lambda _: "",  # one that nobody knows yet
}
"""What Envoy gives to requests that come without, before policies see them."""
_TAKEN: Final = frozenset(("keep-alive", "proxy-connection", "transfer-encoding"))
"""What is said of the connection, and gone before policies see the request."""
_SPECIAL: Final = frozenset((*_PSEUDO, *_GIVEN, *_TAKEN))


def _special(head: RequestHead, name: str) -> list[str]:
    if name in _PSEUDO:
        return [_PSEUDO[name](head)]
    return [] if name in _TAKEN else header_values(head.headers, name) or [_GIVEN[name](head)]


class HeaderCondition(msgspec.Struct, frozen=True, gc=False):
    """A request header, ``header`` in lower case. ``is_present`` is ``*``: it is there, even empty.

    ``:method``, ``:path``, ``:authority`` and ``:scheme`` are what HTTP/2 calls so, and ``host`` is ``:authority``,
    as in Envoy, which also gives some headers to requests and takes some away (observed on 1.39).
    """

    header: str
    values: TextSet
    is_present: bool = False

    def matches(self, request: InboundRequest) -> bool:
        head, name = request.head, self.header
        found = _special(head, name) if name in _SPECIAL else header_values(head.headers, name)
        if self.is_present and found:
            return True
        return any(self.values.matches(value) for value in found)

    def describe(self) -> str:
        return f"request.headers[{self.header}] in {self.values.describe()}"


class Blocks(msgspec.Struct, frozen=True, gc=False):
    """IP blocks: for each IP version and prefix length the set of networks, so that a look-up is a few hashes."""

    written: tuple[str, ...]
    networks: tuple[tuple[int, int, frozenset[int]], ...]
    """(version, number of host bits, the networks without their host bits)"""

    def contains(self, address: Address) -> bool:
        """Whether the address lies in one of the blocks."""
        version, number = address
        return any(version == of and number >> bits in networks for of, bits, networks in self.networks)


class AddressCondition(msgspec.Struct, frozen=True, gc=False):
    """An address attribute."""

    name: str
    read: Callable[[InboundRequest], Address | None]
    blocks: Blocks

    def matches(self, request: InboundRequest) -> bool:
        address = self.read(request)
        return address is not None and self.blocks.contains(address)

    def describe(self) -> str:
        return f"{self.name} in [{', '.join(self.blocks.written)}]"


class PortCondition(msgspec.Struct, frozen=True, gc=False):
    """The port of the workload."""

    ports: frozenset[int]

    def matches(self, request: InboundRequest) -> bool:
        return request.port in self.ports

    def describe(self) -> str:
        return f"port in {sorted(self.ports)}"


class RequestPrincipalCondition(msgspec.Struct, frozen=True, gc=False):
    """``iss`` and ``sub`` of the token, each by a form of its own."""

    written: tuple[str, ...]
    pairs: tuple[tuple[TextSet, TextSet], ...]

    def matches(self, request: InboundRequest) -> bool:
        claims = request.claims
        if claims is None:
            return False
        issuer, subject = claims.get("iss"), claims.get("sub")
        if not isinstance(issuer, str) or not isinstance(subject, str):
            return False
        for left, right in self.pairs:
            if left.matches(issuer) and right.matches(subject):
                return True
        return False

    def describe(self) -> str:
        return f"request principal in [{', '.join(self.written)}]"


class ClaimCondition(msgspec.Struct, frozen=True, gc=False):
    """A claim of the token: a text, or a list of which one element is enough. Numbers and booleans fit no form."""

    path: tuple[str, ...]
    values: TextSet

    def matches(self, request: InboundRequest) -> bool:
        found: Any = request.claims
        for key in self.path:
            if type(found) is not dict and not isinstance(found, Mapping):
                return False
            found = found.get(key)
        values = self.values
        if isinstance(found, str):
            return values.matches(found)
        if isinstance(found, (list, tuple)):
            for item in found:
                if isinstance(item, str) and values.matches(item):
                    return True
        return False

    def describe(self) -> str:
        return f"claim {'.'.join(self.path)} in {self.values.describe()}"


class Not(msgspec.Struct, frozen=True, gc=False):
    """The other way round: also true for an attribute that is missing."""

    condition: Condition

    def matches(self, request: InboundRequest) -> bool:
        return not self.condition.matches(request)

    def describe(self) -> str:
        return f"not {self.condition.describe()}"


class Known(msgspec.Struct, frozen=True, gc=False):
    """A condition on something that may not be known of a request: then ``otherwise``, which lets nobody through."""

    condition: Condition
    is_known: Callable[[InboundRequest], bool]
    otherwise: bool

    def matches(self, request: InboundRequest) -> bool:
        return self.condition.matches(request) if self.is_known(request) else self.otherwise

    def describe(self) -> str:
        return self.condition.describe()


class Always(msgspec.Struct, frozen=True, gc=False):
    """Stands in a DENY for what could not be understood."""

    written: str

    def matches(self, request: InboundRequest) -> bool:
        return True

    def describe(self) -> str:
        return f"{self.written} (not understood, so it denies)"


class Never(msgspec.Struct, frozen=True, gc=False):
    """Stands in an ALLOW for what could not be understood."""

    written: str

    def matches(self, request: InboundRequest) -> bool:
        return False

    def describe(self) -> str:
        return f"{self.written} (not understood, so it never allows)"


_SHOWN: Final = 200


def found_in(request: InboundRequest, condition: Condition) -> str:
    """What a request has of what a condition looks at, in words; of headers and tokens only that they are not there."""
    while isinstance(condition, Not | Known):
        condition = condition.condition
    match condition:
        case TextCondition():
            text = condition.read(request)
            if text.startswith("spiffe://"):
                return f"the peer is {text.removeprefix('spiffe://')[:_SHOWN]!r}"
            return f"it is {text[:_SHOWN]!r}" if text else "there is none"
        case AddressCondition():
            address = condition.read(request)
            return "it is not known" if address is None else f"it is {address_text(address)}"
        case PortCondition():
            return f"it is {request.port}"
        case HeaderCondition():
            return "" if condition.header in request.head.headers else "there is none"
        case ClaimCondition() | RequestPrincipalCondition():
            return "there is no token" if request.claims is None else ""
        case _:
            return ""
