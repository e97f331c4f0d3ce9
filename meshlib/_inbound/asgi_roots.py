"""uvicorn's ``--root-path``: what it puts before every path, and what policies must not see.

It is for proxies that cut the prefix off. A sidecar stands between the two and sees
paths as they are sent, without it, so the policies of the mesh do as well. The
application gets it back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias

__all__ = ["Rooted", "server_root", "without_root"]

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Any]]
Send: TypeAlias = Callable[[Any], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_KEPT: Final = "meshlib.root_path"
"""What the scope says of the prefix, to which frameworks add what they mount; there while it is taken away."""


def server_root(scope: Scope, receive: Receive) -> str:
    """The prefix that the server has added; empty if it has added none, as all others than uvicorn, or it is gone."""
    if _KEPT in scope:
        return ""
    owner = getattr(receive, "__self__", None)  # of a websocket its protocol, of a request what has a transport
    transport = getattr(owner, "transport", None)
    if transport is None:
        return ""
    protocol = owner if hasattr(owner, "root_path") else getattr(transport, "get_protocol", lambda: None)()
    root = getattr(protocol, "root_path", "")
    return root if isinstance(root, str) and root and scope["path"].startswith(root) else ""


def without_root(scope: Scope, root: str) -> Scope:
    """The request as it was sent; what frameworks have mounted is still said of it."""
    path, raw = scope["path"][len(root) :], scope.get("raw_path") or b""
    kept: str = scope["root_path"]
    sent = {"path": path or "/", "raw_path": raw[len(root.encode()) :], "root_path": kept.removeprefix(root)}
    return {**scope, **sent, _KEPT: kept}


class Rooted:
    """The application behind a prefix: it is called with requests without, and gets them with it."""

    def __init__(self, app: App, root: str) -> None:
        self.app = app
        self._root = root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request or websocket, as ASGI has it."""
        root = self._root
        raw = root.encode() + (scope.get("raw_path") or b"")
        changed = {**scope, "path": root + scope["path"], "raw_path": raw}
        changed["root_path"] = changed.pop(_KEPT)
        await self.app(changed, receive, send)
