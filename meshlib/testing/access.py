"""Decision tables: who may do what, and which rule says so.

A row is a mapping, or a line of a CSV file with these columns, all but ``to`` optional:

* ``to``: the service that the request arrives at; ``version``: of its pods;
* ``method`` (GET), ``path`` (/), ``host``, ``port``, ``source_ip``;
* ``principal``: the peer's identity (empty: plaintext);
* ``headers`` and ``claims``: as JSON or mappings; ``iss``, ``sub``, ``aud``: a token with these is minted and
  checked; ``token``: this very text is;
* ``expect``: ``allow`` or ``deny``; ``name``: what the row is about.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, overload

from meshlib._authorize import inbound_from_json
from meshlib._engine.decisions import Decision

if TYPE_CHECKING:
    from meshlib.testing.service import Service
    from meshlib.testing.world import World

__all__ = ["Decided", "Decisions", "decide"]

_COLUMNS: Final = frozenset(
    "to version method path host port source_ip principal headers claims iss sub aud token expect name".split()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """One row and its decision. ``policy`` (``namespace/name``) and ``rule`` decided, ``reason`` says how."""

    name: str
    expected: str
    allowed: bool
    status: int
    policy: str
    rule: int | None
    reason: str

    @property
    def decision(self) -> str:
        """``allow`` or ``deny``."""
        return "allow" if self.allowed else "deny"

    @property
    def is_as_expected(self) -> bool:
        """Whether the row asked for this, or for nothing."""
        return not self.expected or self.expected == self.decision

    def __str__(self) -> str:
        by = f" by {self.policy}, rule {self.rule}" if self.policy else ""
        wanted = "" if self.is_as_expected else f"  ← expected {self.expected}"
        return f"{self.decision:<5}  {self.name}{by}: {self.reason}{wanted}"


class Decisions(Sequence[Decided]):
    """The answers to a table, in its order."""

    def __init__(self, rows: list[Decided]) -> None:
        self._rows = rows

    @overload
    def __getitem__(self, index: int) -> Decided: ...
    @overload
    def __getitem__(self, index: slice) -> list[Decided]: ...
    def __getitem__(self, index: int | slice) -> Decided | list[Decided]:
        return self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Decided]:
        return iter(self._rows)

    @property
    def allowed(self) -> list[Decided]:
        """Those that are let in."""
        return [row for row in self._rows if row.allowed]

    @property
    def denied(self) -> list[Decided]:
        """Those that are not."""
        return [row for row in self._rows if not row.allowed]

    @property
    def wrong(self) -> list[Decided]:
        """Those that were expected otherwise."""
        return [row for row in self._rows if not row.is_as_expected]

    def check(self) -> None:
        """Raise AssertionError with the whole table unless every row is as expected."""
        if self.wrong:
            raise AssertionError(f"{len(self.wrong)} of {len(self)} decisions are not as expected\n{self}")

    def __str__(self) -> str:
        return "\n".join(str(row) for row in self._rows)

    def __repr__(self) -> str:
        return f"<Decisions allowed={len(self.allowed)} denied={len(self.denied)} wrong={len(self.wrong)}>"


def decide(
    world: World, find: Callable[..., Service], default: Service, rows: Iterable[Mapping[str, Any]]
) -> Decisions:
    """Answer a table. Raises ValueError for a column that does not exist, or for a row that is no request."""
    decided = []
    for number, row in enumerate(rows, 1):
        given = {key: value for key, value in row.items() if value not in (None, "")}
        if unknown := sorted(set(given) - _COLUMNS):
            raise ValueError(
                f"row {number}: there is no column {unknown[0]!r}; there are {', '.join(sorted(_COLUMNS))}"
            )
        expected = str(given.get("expect", ""))
        if expected not in ("", "allow", "deny"):
            raise ValueError(f"row {number}: expect is {expected!r}, not allow or deny")
        labels = {"version": given["version"]} if "version" in given else {}
        service = find(given["to"], **labels) if "to" in given else default
        decision = _decide(world, service, given)
        decided.append(
            Decided(
                name=str(given.get("name") or _described(given)),
                expected=expected,
                allowed=decision.allowed,
                status=decision.status,
                policy=decision.policy,
                rule=decision.rule,
                reason=decision.reason,
            )
        )
    return Decisions(decided)


def _decide(world: World, service: Service, given: Mapping[str, Any]) -> Decision:
    security = service.runtime.published.snapshot.security
    asked = {key: given[key] for key in ("method", "path", "host", "source_ip", "principal", "token") if key in given}
    asked["port"] = int(given.get("port", 0))
    asked["headers"] = _parsed(given.get("headers", {}))
    claims = _parsed(given["claims"]) if "claims" in given else None
    if "iss" in given:
        asked["token"] = world.issuer.token(
            given["iss"], subject=given.get("sub", "somebody"), audience=given.get("aud"), claims=claims
        )
    elif claims is not None:
        asked["claims"] = claims
    return world.guards.decide(security, inbound_from_json(asked), is_verified="claims" in asked)


def _parsed(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


def _described(given: Mapping[str, Any]) -> str:
    who = given.get("principal") or given.get("sub") or given.get("iss") or "nobody"
    return f"{given.get('method', 'GET')} {given.get('to', '')}{given.get('path', '/')} by {who}"
