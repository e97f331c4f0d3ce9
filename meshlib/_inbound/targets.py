"""Request targets: the one path of a request that is both decided about and served.

A server tells an application a path in two forms: as it was sent, and decoded. Policies
look at the first, applications at the second. Where the two are not the same path (a
server cut something off, a middleware moved the request), the policies must look at
what the application will see, or they decide about another request.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeAlias
from urllib.parse import quote_from_bytes, unquote, unquote_to_bytes

from meshlib._http import HeadersView, RequestHead

__all__ = ["Reading", "agreed_path", "one_slash", "problem_of", "reading_of", "shadows_of", "split_target"]

Reading: TypeAlias = Callable[[str], str | None]
"""What an application may read a path as, besides what it is; None: nothing else."""

_KEPT: Final = "/:@!$&'()*+,;=~[]\\"
"""What a path may hold as it is; a backslash is kept for the normalization to see."""
_NO_HOST: Final = re.compile(r"[^A-Za-z0-9.:\[\]_~%!$&'()*+;=-]")
"""What cannot stand in a Host header; several of them, joined by a server, have a comma."""
_MIDDLEWARES: Final = 32
_AUTHORITY: Final = re.compile(r"[^/?#]*")
_METHODS: Final = frozenset(("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"))
_METHOD: Final = re.compile(r"[A-Z0-9!#$%&'*+.^_`|~-]+")


def agreed_path(sent: str, seen: str | bytes) -> str:
    """The path as it was sent, if it decodes to what the application sees; else what it sees, written anew."""
    if sent == seen:
        return sent
    if isinstance(seen, bytes):
        if sent and unquote_to_bytes(sent.encode("utf-8", "surrogateescape")) == seen:
            return sent
    elif sent and unquote(sent) == seen:
        return sent
    else:
        seen = seen.encode("utf-8", "surrogateescape")
    return quote_from_bytes(seen, _KEPT) or "/"


def split_target(target: str) -> tuple[str, str]:
    """The path with query of a request target, and its authority if it is a whole URL (RFC 9112, 3.2.2)."""
    if target.startswith("/") or "://" not in target:
        return target, ""
    rest = target.partition("://")[2]
    authority = _AUTHORITY.match(rest)[0]  # type: ignore[index]  # it matches every text
    path = rest[len(authority) :]
    return path if path.startswith("/") else f"/{path}", authority


def one_slash(path: str) -> str | None:
    """The path as frameworks of werkzeug's kin (Flask, Quart) read it: with one slash at its beginning.

    None where they read nothing else. To Envoy ``//admin`` is not ``/admin``, unless
    the mesh merges slashes.
    """
    raw, mark, query = path.partition("?")
    if not raw.startswith(("//", "/%2f", "/%2F")):
        return None
    decoded = unquote_to_bytes(raw.encode("utf-8", "surrogateescape"))
    return f"{quote_from_bytes(b'/' + decoded.lstrip(b'/'), _KEPT)}{mark}{query}"


def _without_empty(path: str) -> str | None:
    """The path as Litestar reads it: no part of it is empty, not even the last one."""
    raw, mark, query = path.partition("?")
    decoded = unquote_to_bytes(raw.encode("utf-8", "surrogateescape"))
    read = b"/" + b"/".join(part for part in decoded.split(b"/") if part)
    return None if read == decoded else f"{quote_from_bytes(read, _KEPT)}{mark}{query}"


def reading_of(app: object) -> Reading:
    """How the framework of an application reads paths; it may be in other middlewares that have it as ``app``."""
    for _ in range(_MIDDLEWARES):
        if any(base.__module__.partition(".")[0] == "litestar" for base in type(app).__mro__):
            return _without_empty
        app = getattr(app, "app", None)
    return one_slash


def problem_of(head: RequestHead, authority: str = "") -> str:
    """Why a request is none that Envoy would serve; empty if it is one. ``authority`` is that of its target.

    Envoy knows no method in small letters, frameworks do, and would run one past a
    policy about the large ones. Of two names for the host a policy would see one and
    the application perhaps the other.
    """
    hosts = head.values("host")
    if len(hosts) > 1 or (hosts and _NO_HOST.search(hosts[0]) is not None):
        return "the Host header is not valid"
    if authority and (not hosts or hosts[0].lower() != authority.lower()):
        return "the Host header names another host than the target"
    if head.method not in _METHODS and _METHOD.fullmatch(head.method) is None:
        return "the method is not valid"
    return ""


def shadows_of(headers: HeadersView, protected: set[str]) -> list[str]:
    """The headers that an application may take for one of the ``protected``: with ``_`` where those have ``-``.

    CGI, and with it WSGI and Django, makes one name of the two.
    """
    if "_" not in "".join(headers):
        return []
    return [name for name in headers if "_" in name and name.lower().replace("_", "-") in protected]
