"""Who is answered: this machine, under a name of its own, and nobody who speaks through somebody's browser.

* The other end of the connection must be a loopback address, unless ``allow_remote``.
* A request that a proxy passed on comes from elsewhere, whatever its connection says.
* The Host header must be a name of this machine or one of ``allowed_hosts``: a page on
  the internet whose name is made to resolve to 127.0.0.1 (DNS rebinding) brings its own name.
* Nothing is changed by a request that another site's page sends.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address
from typing import Final

from meshlib.admin.messages import Ask

__all__ = ["Guard"]

_LOOPBACK_NAMES: Final = frozenset(("localhost", "127.0.0.1", "[::1]"))
_PASSED_ON: Final = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


class Guard:
    """Judges requests before anything else looks at them."""

    def __init__(self, *, allow_remote: bool = False, allowed_hosts: Iterable[str] = ()) -> None:
        self._allow_remote = allow_remote
        self._hosts = _LOOPBACK_NAMES | {name.lower() for name in allowed_hosts}

    def refusal(self, ask: Ask) -> str:
        """Why the request is refused; empty if it is not."""
        if not self._allow_remote:
            if not is_local(ask.client):
                return "the admin interface answers this machine only (see allow_remote)"
            if any(name in ask.headers for name in _PASSED_ON):
                return "the admin interface answers this machine only: the request was passed on by a proxy"
        host = ask.headers.get("host", "")
        if _bare(host) not in self._hosts:
            return f"the Host header {host[:100]!r} is no name of this machine (see allowed_hosts)"
        if ask.method not in ("GET", "HEAD") and not self._is_same_origin(ask, host):
            return "another site's page may not change anything here"
        return ""

    def _is_same_origin(self, ask: Ask, host: str) -> bool:
        if ask.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return False
        origin = ask.headers.get("origin")
        return origin is None or origin.partition("://")[2].lower() == host.lower()

    def __repr__(self) -> str:
        return f"<Guard allow_remote={self._allow_remote} hosts={sorted(self._hosts)}>"


def is_local(client: str) -> bool:
    """Whether an address is this machine; the empty one is a socket of the file system."""
    if not client:
        return True
    try:
        address = ip_address(client.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _bare(host: str) -> str:
    """A Host header without its port, in lower case."""
    name = host.lower().strip()
    if name.startswith("["):
        return name.partition("]")[0] + "]"
    return name.partition(":")[0].removesuffix(".")
