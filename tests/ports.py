"""Ports of loopback that the system gives to nobody else, as long as the process lasts.

A port that was free a moment ago may be that of another test's server in the next; these stay
bound. Those who are told to listen there do not mind, as they say ``SO_REUSEADDR`` too.
"""

from __future__ import annotations

import atexit
import itertools
import socket

__all__ = ["closed_port", "free_port"]


def free_port() -> int:
    """A port for a server that a test starts."""
    made = socket.socket()
    atexit.register(made.close)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", 0))
    port: int = made.getsockname()[1]
    return port


_closed = itertools.cycle([free_port() for _ in range(8)])


def closed_port() -> int:
    """A port where nothing listens; eight in turn."""
    return next(_closed)
