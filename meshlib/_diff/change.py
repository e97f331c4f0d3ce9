"""One difference, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from meshlib._explain.explanation import Json

__all__ = ["Change", "grouped", "said"]

Area: TypeAlias = Literal["traffic", "access"]

_SHOWN: Final = 3
_ABSENT: Final = {"timeout": "none", "retries": "off", "mirrors": "none", "fault": "none", "hash": "none"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is different about a host (traffic) or a workload (access).

    ``cases`` are the requests it shows for, in words; ``field`` is what of the answer
    differs (``timeout``, ``destinations``, ``policy.tls.mode``, ``decision``), ``old`` and
    ``new`` are its values, None where there is none.
    """

    area: Area
    subject: str
    cases: tuple[str, ...]
    field: str
    old: Json
    new: Json

    @property
    def words(self) -> str:
        """The change in a sentence without its subject."""
        shown = ", ".join(self.cases[:_SHOWN])
        more = len(self.cases) - _SHOWN
        shown += f" and {more} more" if more > 0 else ""
        name = "" if self.field in ("decision", "destinations") else f"{self.field} "
        return f"{shown}: {name}{said(self.field, self.old)} → {said(self.field, self.new)}"

    def to_json(self) -> dict[str, Json]:
        """For programs."""
        return {
            "area": self.area,
            "subject": self.subject,
            "cases": [*self.cases],
            "field": self.field,
            "old": self.old,
            "new": self.new,
            "words": self.words,
        }


def grouped(changes: Sequence[Change]) -> list[Change]:
    """The same difference of several requests as one change, in the order in which each was first seen."""
    found: dict[str, Change] = {}
    for change in changes:
        key = repr((change.area, change.subject, change.field, change.old, change.new))
        known = found.get(key)
        cases = change.cases if known is None else tuple(dict.fromkeys(known.cases + change.cases))
        found[key] = Change(
            area=change.area,
            subject=change.subject,
            cases=cases,
            field=change.field,
            old=change.old,
            new=change.new,
        )
    return list(found.values())


def said(field: str, value: Json) -> str:
    """A value as people write it."""
    if value is None or value in ([], {}):
        return _ABSENT.get(field, "nothing")
    if field == "timeout" and isinstance(value, int | float):
        return f"{value:g} s"
    if field == "retries" and isinstance(value, dict):
        return _retries(value)
    if field == "destinations" and isinstance(value, list):
        return _destinations(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list):
        return ", ".join(said("", item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {said('', part)}" for name, part in value.items() if part not in (None, [], {}))
    return str(value)


def _destinations(value: list[Json]) -> str:
    targets = [target for target in value if isinstance(target, dict)]
    weights = [weight if isinstance(weight := target.get("weight"), int) else 0 for target in targets]
    total = sum(weights)
    texts = []
    for target, weight in zip(targets, weights, strict=True):
        name = f"subset {target['subset']}" if target.get("subset") else f"{target.get('host')}:{target.get('port')}"
        texts.append(f"{name} {weight / total * 100:.3g} %" if total else name)
    return ", ".join(texts)


def _retries(value: dict[str, Json]) -> str:
    conditions = [*_list(value.get("retry_on")), *_list(value.get("retriable_status_codes"))]
    text = f"{value.get('attempts')} on {', '.join(map(str, conditions))}" if conditions else str(value.get("attempts"))
    each = value.get("per_try_timeout")
    return f"{text}, {each:g} s each" if isinstance(each, int | float) else text


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []
