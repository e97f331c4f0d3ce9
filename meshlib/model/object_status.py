"""``status`` of Istio's objects: what its controllers write there. Files that were read from a cluster have it.

https://istio.io/latest/docs/reference/config/config-status/
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta

from meshlib.model.base import Maybe, Model

__all__ = ["Condition", "MessageType", "ObjectStatus", "ValidationMessage"]

Generation: TypeAlias = int | str
_DAY = r"(?:\d\d(?:[02468][048]|[13579][26])-02-29|\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])"
_LAST_DAYS = r"|\d{4}-(?:0[13-9]|1[0-2])-(?:29|30)|\d{4}-(?:0[13578]|1[02])-31)"
_TIME = r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:.\d+)?(?:[zZ]|[+-]\d\d:\d\d)"
Moment: TypeAlias = Annotated[
    str,
    Meta(
        pattern=rf"\A{_DAY}{_LAST_DAYS}[tT]{_TIME}(?:[tT][^\n]*)?\Z",
        description="a time as in RFC 3339, such as 2026-01-31T12:00:00Z",
    ),
]
"""A time as the API server reads it, which looks at nothing behind a second T."""


class Condition(Model, frozen=True, kw_only=True):
    """One condition, such as ``Reconciled``; ``status`` is ``True``, ``False`` or ``Unknown``."""

    last_probe_time: Maybe[Moment] = None
    last_transition_time: Maybe[Moment] = None
    message: Maybe[str] = None
    observed_generation: Maybe[Generation] = None
    reason: Maybe[str] = None
    status: Maybe[str] = None
    type: Maybe[str] = None


class MessageType(Model, frozen=True, kw_only=True):
    """The code and name of an analysis message."""

    code: Maybe[str] = None
    name: Maybe[str] = None


class ValidationMessage(Model, frozen=True, kw_only=True):
    """One analysis message that a controller has left."""

    documentation_url: Maybe[str] = None
    level: Maybe[Literal["UNKNOWN", "ERROR", "WARNING", "INFO"]] = None
    type: Maybe[MessageType] = None


class ObjectStatus(Model, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """The status of an object. It changes nothing about requests, here as in Istio."""

    conditions: tuple[Condition, ...] = ()
    observed_generation: Maybe[Generation] = None
    validation_messages: tuple[ValidationMessage, ...] = ()
