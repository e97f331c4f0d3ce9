"""Tries other YAML on recorded requests: which would change their route, their outcome, or be refused."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from meshlib._authorize import authorize, inbound_from_json
from meshlib._compile import Config
from meshlib._engine.recording import Served
from meshlib._explain import explain
from meshlib._explain.requests import request_from_json
from meshlib._http import RequestHead
from meshlib._snapshot.conditions import ClaimCondition, Condition, Not
from meshlib._snapshot.security import Security
from meshlib._snapshot.snapshot import Snapshot
from meshlib.workload import Workload

__all__ = ["Change", "Replay", "decided_inbound", "decided_outbound", "replay"]

_ASPECTS: Final = ("outcome", "status", "route", "destinations")


def decided_outbound(snapshot: Snapshot, head: RequestHead) -> dict[str, Any]:
    """What a configuration makes of a request: outcome, status, route, clusters with their weights."""
    found = explain(snapshot, head)
    total = sum(target.weight for target in found.targets)
    return {
        "outcome": found.outcome,
        "status": found.status,
        "route": found.route,
        "destinations": sorted(
            [target.cluster, round(100 * target.weight / total, 1)] for target in found.targets if target.weight
        ),
    }


def decided_inbound(served: Served) -> dict[str, Any]:
    """What became of a request that arrived."""
    return {
        "decision": served.decision,
        "token": "invalid" if served.details.startswith("jwt_authn") else "",
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One recorded request that other YAML would treat otherwise. ``before`` and ``after`` differ in ``what``."""

    line: int
    kind: Literal["outbound", "inbound"]
    request: str
    what: str
    before: object
    after: object
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """All fields."""
        return {
            "line": self.line, "kind": self.kind, "request": self.request, "what": self.what,
            "before": self.before, "after": self.after, "reason": self.reason,
        }  # fmt: skip

    def __str__(self) -> str:
        why = f" ({self.reason})" if self.reason else ""
        return f"{self.request}: {self.what} {_shown(self.before)} → {_shown(self.after)}{why}"


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(f"{cluster} {share:g} %" for cluster, share in value) or "nowhere"
    return str(value) if value not in ("", None) else "none"


@dataclass(slots=True)
class Replay:
    """The result: how many requests were tried, what would change, and what could not be told."""

    requests: int
    changes: list[Change]
    unknown: list[str]


def replay(lines: Iterable[str], config: Config, before: Config | None = None) -> Replay:
    """Try the requests of a recording on ``config``. Raises ValueError for what is no recording.

    Compared is with what was decided when they were recorded, or with ``before``.
    """
    result = Replay(0, [], [])
    judge: _Judge | None = None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        entry = _entry(line, number)
        if "workload" in entry:
            judge = _Judge(config, before, _workload(entry["workload"]))
            continue
        if judge is None:
            raise ValueError(f"line {number}: a recording begins with its workload")
        result.requests += 1
        try:
            result.changes += judge.judge(entry, number)
        except _UnknownError as error:
            result.unknown.append(f"line {number}: {error}")
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"line {number}: not a line of a recording ({error})") from error
    return result


def _entry(line: str, number: int) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"line {number}: {error}") from None
    if not isinstance(entry, dict):
        raise ValueError(f"line {number}: expected a JSON object")
    return entry


def _workload(given: Mapping[str, Any]) -> Workload:
    return Workload(
        namespace=str(given.get("namespace") or "default"),
        labels=dict(given.get("labels") or {}),
        service_account=str(given.get("service_account") or "default"),
        gateway=bool(given.get("gateway")),
    )


class _UnknownError(Exception):
    """What the recording does not hold would decide."""


class _Judge:
    """Answers for one workload."""

    def __init__(self, config: Config, before: Config | None, workload: Workload) -> None:
        self._after = config.compile(workload)
        self._before = before.compile(workload) if before is not None else None

    def judge(self, entry: Mapping[str, Any], number: int) -> Iterator[Change]:
        """What would change for a recorded request."""
        asked = entry["request"]
        shown = f"{asked['method']} {asked['host']}{asked['path']}"
        if entry["kind"] == "inbound":
            yield from self._judge_inbound(entry, number, shown)
            return
        old = entry["decided"]
        if self._before is not None:
            old = decided_outbound(self._before, request_from_json(asked, self._before))
        new = decided_outbound(self._after, request_from_json(asked, self._after))
        reason = self._absent(old["destinations"])
        for what in _ASPECTS:
            if old[what] != new[what]:
                yield Change(
                    line=number, kind="outbound", request=shown, what=what, before=old[what], after=new[what],
                    reason=reason,
                )  # fmt: skip
                reason = ""

    def _absent(self, destinations: Iterable[Sequence[Any]]) -> str:
        """That the YAML lacks a service: mostly since it was exported without the Services."""
        here = {cluster.host for cluster in self._after.clusters.values()}
        gone = {cluster.rpartition("|")[2] for cluster, _ in destinations} - here
        return f"the YAML has no service {', '.join(sorted(gone))}" if gone else ""

    def _judge_inbound(self, entry: Mapping[str, Any], number: int, shown: str) -> Iterator[Change]:
        is_invalid = entry["decided"]["token"] == "invalid"  # noqa: S105 - a state, no token
        old = entry["decided"]["decision"]
        if self._before is not None:
            old, _ = _access(self._before.security, entry["request"], is_invalid=is_invalid)
        new, reason = _access(self._after.security, entry["request"], is_invalid=is_invalid)
        if old != new:
            yield Change(
                line=number, kind="inbound", request=shown, what="access", before=old, after=new, reason=reason
            )


def _access(security: Security, asked: Mapping[str, Any], *, is_invalid: bool) -> tuple[str, str]:
    """``allow`` or ``deny``, and why."""
    if is_invalid and security.authentication is not None:
        return "deny", "its token was not valid"
    if _looks_at_claims(security):
        raise _UnknownError("a rule looks at claims of the token, which are not recorded")
    described = {key: value for key, value in asked.items() if key != "request_principal" and value not in ("", None)}
    issuer, slash, subject = str(asked.get("request_principal") or "").rpartition("/")
    if slash:
        described["claims"] = {"iss": issuer, "sub": subject}
    transport = "mtls" if asked.get("principal") else "plaintext"
    decision = authorize(security, inbound_from_json(described), transport=transport)
    return "allow" if decision.allowed else "deny", decision.reason


def _looks_at_claims(security: Security) -> bool:
    return any(
        _is_of_claims(condition)
        for policy in (*security.custom, *security.deny, *security.allow)
        for rule in policy.rules
        for group in (*rule.sources, *rule.operations, rule.when)
        for condition in group
    )


def _is_of_claims(condition: Condition) -> bool:
    return isinstance(condition.condition if isinstance(condition, Not) else condition, ClaimCondition)
