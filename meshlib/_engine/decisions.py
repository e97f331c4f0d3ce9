"""What became of a request that arrives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from meshlib._snapshot.authentication import KeyOrigin

__all__ = ["Decision", "DryRun"]


@dataclass(frozen=True, slots=True)
class DryRun:
    """What the policies in dry run of one ``action`` would have said; ``policy`` is the one that matched, if any.

    ``rule`` is the number of its rule, which does not count when they are compared.
    """

    action: Literal["allow", "deny"]
    is_denied: bool
    policy: str = ""
    rule: int | None = field(default=None, compare=False)

    @property
    def id(self) -> str:
        """What matched, as Envoy has it; empty if nothing did."""
        namespace, _, name = self.policy.partition("/")
        return f"ns[{namespace}]-policy[{name}]-rule[{self.rule}]" if self.policy else ""


class Decision(msgspec.Struct, kw_only=True):
    """What became of a request.

    Refused (``allowed`` false): ``status``, ``body`` and ``headers`` are the answer
    (status 0 for a TCP connection, which is closed).
    Allowed: the application gets the request with ``path`` (None: as it came),
    without ``remove_headers`` and with ``set_headers``. ``policy``, ``rule``,
    ``reason`` and ``details`` say what decided, for logs; ``claims`` and
    ``request_principal`` are those of a verified token. ``is_closed``: Istio would have
    closed the connection instead of answering. ``wanted`` are origins of keys that are not known
    and would have been needed. ``response_headers`` are added to the application's
    answer; ``dry_runs`` are what policies in dry run would have said. ``since`` and ``until``
    are the instants (Unix time, both included) between which an equal request to the same
    security and keys is decided alike; before an end without a beginning nobody can say.
    """

    allowed: bool
    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    path: str | None = None
    set_headers: tuple[tuple[str, str], ...] = ()
    remove_headers: tuple[str, ...] = ()
    policy: str = ""
    rule: int | None = None
    reason: str = ""
    details: str = ""
    audited: bool = False
    shadow: str = ""
    claims: Mapping[str, Any] = msgspec.field(default_factory=dict)
    request_principal: str = ""
    wanted: tuple[KeyOrigin, ...] = ()
    is_closed: bool = False
    response_headers: tuple[tuple[str, str], ...] = ()
    dry_runs: tuple[DryRun, ...] = ()
    since: float = math.inf
    until: float = -math.inf

    def __repr__(self) -> str:  # what is set, claims and the headers of a challenge hold tokens, or parts of them
        what = "allowed" if self.allowed else "refused"
        return f"<Decision {what} {self.status} policy={self.policy or '-'} reason={self.reason!r}>"
