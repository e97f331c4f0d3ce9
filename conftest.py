"""What every test gets: one event loop kind, no network but loopback, chance that can be repeated."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import sys

import pytest
from hypothesis import settings

# Loaded by its entry point where meshlib is installed; the suite runs from a bare clone too.
pytest_plugins = ["meshlib.testing.plugin"]

# A busy machine is not a failing test: no deadlines. CI draws the same examples every time.
settings.register_profile("local", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts jobs in the background so; tests of interrupts, and the processes they start, want the usual.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """The event loop that async tests run on."""
    return "asyncio"


def _is_loopback(host: object) -> bool:
    if host in (None, "", b"", "localhost", b"localhost"):
        return True
    text = host.decode() if isinstance(host, bytes) else str(host)
    try:
        return ipaddress.ip_address(text.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _is_address(host: object) -> bool:
    try:
        ipaddress.ip_address(str(host))
    except ValueError:
        return False
    return True


def _close_the_network(event: str, arguments: tuple[object, ...]) -> None:
    """An audit hook: names do not resolve, as on a machine without network; other addresses are a mistake."""
    if event == "socket.getaddrinfo" and not (_is_loopback(arguments[0]) or _is_address(arguments[0])):
        raise socket.gaierror(socket.EAI_NONAME, f"tests do not resolve names: {arguments[0]!r}")
    if event == "socket.connect" and isinstance(address := arguments[1], tuple) and not _is_loopback(address[0]):
        raise RuntimeError(f"tests connect to loopback only, not to {address!r}")


sys.addaudithook(_close_the_network)
