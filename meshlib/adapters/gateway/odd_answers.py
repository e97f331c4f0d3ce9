"""Answers of services that a gateway cannot pass on, and to requests that it does not serve."""

from __future__ import annotations

from typing import Final

__all__ = ["TOO_OLD", "TOO_OLD_HEADERS", "UNREADABLE", "UNREADABLE_HEADERS", "is_answer"]

UNREADABLE: Final = b"upstream connect error or disconnect/reset before headers. reset reason: protocol error"
"""What Envoy says of an answer that is none."""
UNREADABLE_HEADERS: Final = [
    (b"content-length", str(len(UNREADABLE)).encode()),
    (b"content-type", b"text/plain"),
]

TOO_OLD: Final = b"Upgrade Required"
"""What Envoy says to HTTP/1.0, with the settings of Istio. ASGI servers would answer it in chunks, unreadable to it."""
TOO_OLD_HEADERS: Final = [(b"content-length", b"16"), (b"content-type", b"text/plain"), (b"connection", b"close")]


def is_answer(status: int) -> bool:
    """Whether a status ends an exchange: 101 is for upgrades, which were not asked for; no server writes 600."""
    return 200 <= status <= 599
