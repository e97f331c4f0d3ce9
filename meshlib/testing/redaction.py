"""What of a request may be written to a file: only what rules look at, and of that nothing secret."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from meshlib._http import HeadersView
from meshlib._snapshot.conditions import Condition, HeaderCondition, Not
from meshlib._snapshot.matchers import HeaderMatch, QueryMatch
from meshlib._snapshot.routes import Forward, HostTable
from meshlib._snapshot.snapshot import Snapshot

__all__ = ["REDACTED", "Interests"]

REDACTED: Final = "<redacted>"
_SECRET: Final = re.compile(
    r"authori[sz]ation|cookie|token|secret|passw|api-?_?key|session|signature|credential", re.IGNORECASE
)


class Interests:
    """The names of headers and query parameters that the rules of a snapshot look at, and those asked for besides."""

    def __init__(self, snapshot: Snapshot, headers: Iterable[str] = ()) -> None:
        self.headers = {name.lower() for name in headers}
        self.parameters: set[str] = set()
        for host in _hosts(snapshot):
            for route in host.routes:
                for predicate in route.match.predicates:
                    if isinstance(predicate, HeaderMatch):
                        self.headers.add(predicate.name.lower())
                    elif isinstance(predicate, QueryMatch):
                        self.parameters.add(predicate.name)
                if isinstance(route.action, Forward):
                    self.headers |= {key.name.lower() for key in route.action.hash_keys if key.kind == "header"}
        security = snapshot.security
        for policy in (*security.custom, *security.deny, *security.allow, *security.audit):
            for rule in policy.rules:
                for group in (*rule.sources, *rule.operations, rule.when):
                    self._add_conditions(group)

    def _add_conditions(self, conditions: Iterable[Condition]) -> None:
        for one in conditions:
            condition = one.condition if isinstance(one, Not) else one
            if isinstance(condition, HeaderCondition):
                self.headers.add(condition.header.lower())

    def of(self, headers: HeadersView) -> dict[str, str]:
        """The headers that matter, without secrets."""
        return {
            name: REDACTED if _SECRET.search(name) else ",".join(headers.getall(name))
            for name in sorted(self.headers)
            if name in headers
        }

    def path(self, path: str) -> str:
        """The path; the values of query parameters that no rule looks at, or that are secret, are left out."""
        bare, mark, query = path.partition("?")
        if not mark:
            return path
        return f"{bare}?{'&'.join(self._parameter(part) for part in query.split('&'))}"

    def _parameter(self, part: str) -> str:
        name, equals, _ = part.partition("=")
        if not equals or (name in self.parameters and not _SECRET.search(name)):
            return part
        return f"{name}={REDACTED}"


def _hosts(snapshot: Snapshot) -> Iterator[Any]:
    seen: set[int] = set()
    tables = [*snapshot.tables.values(), *(one for names in snapshot.servers.values() for one in _values(names))]
    for table in tables:
        for host in _values(table):
            if id(host) not in seen:
                seen.add(id(host))
                yield host


def _values(table: HostTable[Any]) -> list[Any]:
    values = [*table.exact.values(), *table.suffixes.values()]
    return values if table.catch_all is None else [*values, table.catch_all]
