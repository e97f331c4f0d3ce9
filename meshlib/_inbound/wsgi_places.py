"""Where a WSGI application stands, as its server is told: never by a client."""

from __future__ import annotations

import os
from typing import Any

from meshlib._inbound.forwarded import TrustedProxies
from meshlib._snapshot.inbound import parse_address

__all__ = ["keep_place"]


def keep_place(environ: dict[str, Any], proxies: TrustedProxies) -> None:
    """Undo what a stranger says of it.

    gunicorn believes a header SCRIPT_NAME of peers that its ``forwarded_allow_ips`` names,
    by default those on this machine, and cuts the value off the path: frameworks route the
    rest. A policy looks at the whole path, so that any path would have another name.
    """
    if "HTTP_SCRIPT_NAME" not in environ or "gunicorn.socket" not in environ:
        return
    if proxies.trusts(parse_address(environ.get("REMOTE_ADDR", ""))):
        return
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    own = os.environ.get("SCRIPT_NAME", "")
    own = own if path.startswith(own) else ""
    environ["SCRIPT_NAME"], environ["PATH_INFO"] = own, path[len(own) :]
