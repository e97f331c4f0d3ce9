"""What a document is, by its ``apiVersion`` and ``kind``: one of our kinds, somebody else's, or a mistake."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple, TypeGuard

from meshlib._config.old_names import old_kind
from meshlib._config.suggest import nearest
from meshlib.model.kinds import KINDS, Kind, kind_named

__all__ = ["Foreign", "Known", "Mistake", "identify"]

_GATEWAY_API = "gateway.networking.k8s.io"
_OPERATOR_GROUPS = ("install.istio.io", "operator.istio.io")


class Known(NamedTuple):
    """A kind that is read, in a version that is served."""

    kind: Kind
    version: str


class Foreign(NamedTuple):
    """A kind that is skipped, and why."""

    reason: str


class Mistake(NamedTuple):
    """A header that cannot be right: code, field to blame, message, remedy."""

    code: str
    field: str
    message: str
    hint: str


def identify(document: Mapping[str, Any]) -> Known | Foreign | Mistake:
    """The kind of a document."""
    for name in ("apiVersion", "kind"):
        value = document.get(name)
        if not isinstance(value, str) or not value:
            return _incomplete(name, value, document)
    return _identify(document["apiVersion"], document["kind"])


def _incomplete(name: str, value: object, document: Mapping[str, Any]) -> Mistake:
    if value is not None and value != "":
        return Mistake("MESH024", name, f"expected a string, got {type(value).__name__}", "write it as text")
    written = document.get("kind")
    kind = kind_named(written) if name == "apiVersion" and isinstance(written, str) else None
    hint = f"add apiVersion: {_api_version(kind)}" if kind is not None else f"add {name}"
    misspelt = nearest(name, filter(_is_text, document))
    if misspelt is not None:
        hint = f"rename {misspelt} to {name}"
    return Mistake("MESH020", name, f"required field {name} is missing", hint)


@lru_cache(maxsize=512)
def _identify(api_version: str, name: str) -> Known | Foreign | Mistake:
    group, slash, version = api_version.rpartition("/")
    known = KINDS.get((group, name))
    if known is not None and known.versions:
        if version in known.versions or known.treatment == "discovery":
            return Known(known, version)
        message = f"version {version} of {group} {name} is not known"
        return Mistake("MESH021", "apiVersion", message, f"use {group}/{' or '.join(known.versions)}")
    if not version or (not slash and "." in api_version):
        hint = "write group/version, such as networking.istio.io/v1"
        return Mistake("MESH021", "apiVersion", f"{api_version!r} names no version", hint)
    if (successor := old_kind(group, name)) is not None:
        return Foreign(f"a kind of old versions of Istio; write {successor}")
    return _wrong_group(group, name) or Foreign(_reason(group))


def _wrong_group(group: str, name: str) -> Mistake | None:
    """A mistake if the group is Istio's, ours or nearly so; any other group may have a kind of that name."""
    ours = sorted({kind.group for kind in KINDS.values() if "." in kind.group and kind.treatment != "discovery"})
    kind = kind_named(name)
    if kind is not None and kind.treatment in ("applied", "modelled"):
        close = difflib.SequenceMatcher(None, group, kind.group).ratio() >= 0.75
        if close or not group or group.endswith("istio.io"):
            message = f"{name} is not a kind of group {group or 'core'}"
            return Mistake("MESH022", "apiVersion", message, f"use apiVersion: {_api_version(kind)}")
    elif group in ours:
        names = [entry.name for entry in KINDS.values() if entry.group == group]
        meant = nearest(name, names)
        hint = f"did you mean {meant}?" if meant else f"use one of {', '.join(names)}"
        return Mistake("MESH022", "kind", f"{group} has no kind {name}", hint)
    return None


def _reason(group: str) -> str:
    if group == _GATEWAY_API:
        return "Gateway API is not read; write the routes as Istio kinds"
    if group in _OPERATOR_GROUPS:
        return "installation settings, not mesh configuration"
    if "." not in group or group.endswith("k8s.io"):
        return "a Kubernetes kind that routing and policy do not depend on"
    return "not an Istio kind"


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str)


def _api_version(kind: Kind) -> str:
    return f"{kind.group}/{kind.versions[0]}" if kind.group else kind.versions[0]
