"""What was decided of requests is remembered, and holds for the next equal one.

Rules:

* Only a request that was let in is remembered, when it comes for the second time, and only
  where nobody outside was asked about it and its path was left alone.
* Two requests are equal if all is equal that anything looks at which decides: connection,
  server, method, scheme, host, the headers that may carry tokens and those that policies
  read, the query where one of them reads it, and of the path what policies ask of it. A path
  that may be read in several ways is equal to itself only, where the application is mounted.
* What was decided holds for the security and the ports it was decided by, so that a reload
  forgets it; for the keys as they were; and for the time in which its tokens are good,
  which is looked at every time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final, TypeAlias

from meshlib._context import PROPAGATED
from meshlib._engine.published import Published
from meshlib._engine.recent import Recent
from meshlib._inbound.forwarded import XFCC, XFF
from meshlib._inbound.grants import Grant, Terms
from meshlib._inbound.path_classes import PathClasses
from meshlib._inbound.shapes import Names, Shape
from meshlib._inbound.targets import Reading, one_slash
from meshlib._snapshot.conditions import PATH, Condition, HeaderCondition, Known, Not, TextCondition, TextSet
from meshlib._snapshot.inbound_ports import InboundPorts
from meshlib._snapshot.security import Security
from meshlib._snapshot.snapshot import Snapshot

__all__ = ["Asked", "Connection", "Key", "Memory"]

Connection: TypeAlias = tuple[str, bool, str | None, str | None]
"""The address of the direct peer; whether there is TLS, the identity verified by it, and the server name in it.

Where only the address can be known, that alone stands for it in keys.
"""

Asked: TypeAlias = tuple[str | Connection, object, Shape, object, object, object, object, object]
"""All of a request that decides, and its shape, which stands third.

The others are the connection, the class of the path, the deciding values, the server, the method, the scheme, and the
query, where that decides.
"""

Key: TypeAlias = tuple[str | Connection, object, int, object, object, object, object, object]
"""All of a request that decides: the same, with what its shape has of the deciding headers in place of that."""

_REMEMBERED: Final = 4096
_LONGEST: Final = 8192
_SHAPES: Final = 512
_LONGEST_NAMES: Final = 2048
_QUERY: Final = ":path"
"""What policies call the path with its query."""


class Memory:
    """The memory of a server for one configuration. ``names`` are the headers that belong to a :data:`Key`.

    ``paths`` tells which paths are alike to the policies; none are where these look at the whole path with its query,
    or where the application has a ``reading`` of its own.
    ``published`` is what was in force when it was last asked: the same security may be published again. ``shapes``
    and ``terms`` are those of late: look into the newer ones, then ask :meth:`shape_of` and :meth:`find`.
    """

    __slots__ = (
        "_grants", "_seen", "has_query", "has_tokens", "names", "paths", "ports", "published", "security", "shapes",
        "terms",
    )  # fmt: skip

    def __init__(
        self,
        published: Published,
        *,
        trusts_proxies: bool,
        health_paths: Collection[str] = (),
        reading: Reading = one_slash,
    ) -> None:
        snapshot = published.snapshot
        self.published = published
        self.security: Security = snapshot.security
        self.ports: InboundPorts | None = snapshot.inbound
        rules = () if self.security.authentication is None else self.security.authentication.rules
        read = _read_headers(self.security)
        names = {"host", *(name for name in read if not name.startswith(":"))}
        for rule in rules:
            names.update(location.name for location in rule.headers)
            names.update(("cookie",) if rule.cookies else ())
        if trusts_proxies:
            names.update((XFF, XFCC))
        self.names = tuple(sorted(name.lower().encode() for name in names))
        self.has_tokens = bool(rules)
        self.has_query = _QUERY in read or any(rule.params for rule in rules)
        has_classes = _QUERY not in read and reading is one_slash
        self.paths = PathClasses(_path_sets(self.security) if has_classes else None, health_paths)
        self.shapes: Recent[Names, Shape] = Recent(_SHAPES)
        self.terms: Recent[Asked, Terms] = Recent(_REMEMBERED)
        self._grants: Recent[Key, Grant] = Recent(_REMEMBERED)
        self._seen: Recent[int, int] = Recent(_REMEMBERED)

    def shape_of(self, names: Names) -> Shape:
        """What the names of header fields tell."""
        shape = self.shapes.get(names)
        if shape is None:
            shape = Shape(names, self.names)
            if sum(map(len, names)) <= _LONGEST_NAMES:
                self.shapes.keep(names, shape)
        return shape

    def is_of(self, snapshot: Snapshot) -> bool:
        """Whether what is remembered holds for a snapshot."""
        return snapshot.security is self.security and snapshot.inbound is self.ports

    def find(self, asked: Asked) -> tuple[Terms | None, Key | None]:
        """The terms on which an equal request was let in, whether they still hold or not; else what to keep it by.

        Neither for one that was not seen before: what comes once, as a path with a number in it, takes no room.
        """
        shape = asked[2]
        if not shape.is_plain:
            return None, None
        terms = self.terms.recover(asked)
        if terms is not None:
            return terms, None
        key = self.key_of(asked)
        mark = hash(key)
        if not self._seen.get(mark):
            self._seen.keep(mark, 1)
            return None, None
        grant = self._grants.get(key)
        if grant is None:
            return None, key
        terms = Terms(grant, shape)
        if self.shapes.get(shape.names) is shape:
            self.terms.keep(asked, terms)
        return terms, None

    @staticmethod
    def key_of(asked: Asked) -> Key:
        """What a request is remembered by: the names of headers that nobody looks at do not matter."""
        connection, place, shape, values, server, method, scheme, query = asked
        return connection, place, shape.present, values, server, method, scheme, query

    def keep(self, key: Key, grant: Grant) -> None:
        """Remember what was decided, unless there is more to it than a grant can say."""
        decision, head = grant.decision, grant.head
        if not decision.allowed or decision.path is not None or decision.response_headers or grant.until < grant.since:
            return
        if self.has_tokens and head.method == "OPTIONS":
            return  # whether it is a preflight decides too
        if any(name.decode() in PROPAGATED for name in grant.dropped) or _size(key) > _LONGEST:
            return
        grant.is_quiet = self.ports is None and not decision.dry_runs
        self._grants.keep(key, grant)

    def __repr__(self) -> str:  # tokens are secrets: nothing of the keys
        return f"<Memory grants={len(self._grants)}>"


def _conditions(security: Security) -> Iterator[Condition]:
    """All that policies ask."""
    policies = (
        *security.custom, *security.audit, *security.deny, *security.allow, *security.shadow_deny,
        *security.shadow_allow,
    )  # fmt: skip
    rules = (rule for policy in policies for rule in policy.rules)
    parts = (part for rule in rules for part in (*rule.sources, *rule.operations, rule.when))
    return (_bare(condition) for part in parts for condition in part)


def _read_headers(security: Security) -> set[str]:
    """The headers that any condition looks at, with the names that HTTP/2 gives to method, path and host."""
    return {condition.header for condition in _conditions(security) if isinstance(condition, HeaderCondition)}


def _path_sets(security: Security) -> Iterator[TextSet]:
    """What conditions want of paths."""
    for condition in _conditions(security):
        if isinstance(condition, TextCondition) and condition.name == PATH:
            yield condition.values


def _bare(condition: Condition) -> Condition:
    """What a condition looks at, whichever way round."""
    while isinstance(condition, Not | Known):
        condition = condition.condition
    return condition


def _size(key: Key) -> int:
    """About the bytes of a key: those of its texts, which the headers are most of."""
    flat = [one for part in key for one in (part if isinstance(part, tuple) else (part,))]
    return sum(len(one) for one in flat if isinstance(one, str | bytes))
