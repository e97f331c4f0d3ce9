r"""Paths as policies, routes and the application see them (semantics 6.7).

NONE leaves a path alone. BASE first cuts the parameters of dot segments (``/..;x/`` is
``/../``), then canonicalizes as Envoy does (``normalize_path``, observed on Envoy
1.39): ``\`` becomes ``/``, escapes of unreserved characters are decoded, a few
characters are escaped, dot segments are resolved and never leave the root.
MERGE_SLASHES also makes one slash of several; DECODE_AND_MERGE_SLASHES decodes ``%2F``
and ``%5C`` before all that. A path that is not what a URL may hold is refused with 400.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from meshlib._snapshot.security import Normalization

if TYPE_CHECKING:
    from collections.abc import Callable

    from meshlib._engine.exchange import Exchange

__all__ = ["BadPathError", "normalize_path", "path_changer", "plain_path"]

_USUAL: Final = re.compile(r"(?:/(?!/|\.)[A-Za-z0-9\-_~!$&'()*+,;:@=.\[\]]*)+/?\Z|/\Z")
"""A path that every level leaves as it is: most of them."""
_NO_PATH: Final = re.compile(r"[^\x21-\x7e]|#")
"""What Envoy serves at no level, not even at NONE (observed on Envoy 1.39)."""
_PARAMETERS: Final = re.compile(r"(?<=/)(\.\.?);[^/]*")
_ESCAPE: Final = re.compile(r"%([0-9A-Fa-f]{2})")
_UNSAFE: Final = re.compile(r'["<>`{}^|]')
_SLASHES: Final = re.compile("/{2,}")
_ESCAPED_SLASH: Final = re.compile("%2[Ff]|%5[Cc]")
_UNRESERVED: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


class BadPathError(ValueError):
    """A path that Envoy answers with 400."""


def normalize_path(path: str, level: Normalization) -> str:
    """The path, which may have a query, at a level. Raises :class:`BadPathError`.

    The query is never touched.
    """
    raw, mark, query = path.partition("?")
    if _USUAL.match(raw) is not None and ";" not in raw:
        return path
    if _NO_PATH.search(raw) is not None:
        raise BadPathError(path)
    if level == "NONE":
        return path
    if not raw.startswith("/") or "%00" in raw:
        raise BadPathError(path)
    if level == "DECODE_AND_MERGE_SLASHES":
        raw = _ESCAPED_SLASH.sub(lambda found: "/" if found[0][1] == "2" else "\\", raw)
    raw = _resolve(_canonical(_PARAMETERS.sub(r"\1", raw)))
    if level != "BASE":
        # Envoy puts the first and the last slash back, and does so too where they are the same one.
        raw = _SLASHES.sub("/", raw) if raw.strip("/") else raw[:2]
    return f"{raw}{mark}{query}"


def plain_path(path: str, level: Normalization) -> str:
    """The path at a level; one that no client could send stays as it is."""
    try:
        return normalize_path(path, level)
    except BadPathError:
        return path


def _canonical(path: str) -> str:
    path = _UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", path.replace("\\", "/"))
    return _ESCAPE.sub(_decoded, path) if "%" in path else path


def _decoded(escape: re.Match[str]) -> str:
    character = chr(int(escape[1], 16))
    return character if character in _UNRESERVED else escape[0]


def _resolve(path: str) -> str:
    """Without dot segments; ``..`` at the root stays there."""
    if "/." not in path:
        return path
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            if kept:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def path_changer(level: Normalization) -> Callable[[Exchange], None] | None:
    """What gives requests the path that Envoy would look at; None where that is what clients send anyway.

    Client libraries resolve dot segments themselves, as BASE does, but merge no slashes:
    the outbound listeners of Istio 1.31 do both. A path that no client could send stays.
    """
    if level in ("NONE", "BASE"):
        return None

    def change(exchange: Exchange) -> None:
        before = exchange.request.path
        path = plain_path(before, level)
        if path != before:
            exchange.change_path(path)

    return change
