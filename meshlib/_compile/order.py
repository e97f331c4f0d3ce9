"""The order of resources that compete: the oldest first, then by name, then by namespace."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from meshlib._compile.index import Entry
from meshlib.model.resource import Metadata

__all__ = ["Age", "age_of", "by_age"]

Age: TypeAlias = tuple[float, str, str, str]

EPOCH: Final = float("-inf")


def by_age(entry: Entry[Any]) -> Age:
    """Sort key of an entry."""
    return age_of(entry.meta)


def age_of(meta: Metadata) -> Age:
    """Sort key of a resource. One without creation time counts as older than all others, as in Istio."""
    moment = meta.creation_timestamp
    return EPOCH if moment is None else created(moment), meta.name, meta.namespace, ""


def created(moment: datetime) -> float:
    """A creation time as a number."""
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
