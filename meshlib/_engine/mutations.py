"""Changes to requests and replies: header operations, path rewrite, Location. Pure functions.

First version by the engine's author so that the engine can run; the owner of the
routing layer completes it.
"""

from __future__ import annotations

from meshlib._http import Headers, RequestHead
from meshlib._snapshot.routes import HeaderOps, HeaderValue, Redirect, Rewrite

__all__ = ["apply_levels", "redirect_location", "rewrite_path"]


def apply_levels(levels: tuple[HeaderOps, ...], headers: Headers, request: RequestHead) -> None:
    for ops in levels:
        for name in ops.remove:
            headers.popall(name, None)
        values = [(name, _text(value, request), True) for name, value in ops.set]
        values += [(name, _text(value, request), False) for name, value in ops.add]
        for name, value, overwrite in values:
            if not value:
                continue
            if overwrite:
                headers[name] = value
            else:
                headers.add(name, value)


def _text(value: HeaderValue, request: RequestHead) -> str:
    return "".join(part for part in value.parts if isinstance(part, str))


def rewrite_path(rewrite: Rewrite, path: str) -> str:
    return path


def redirect_location(redirect: Redirect, request: RequestHead) -> str:
    return request.path
