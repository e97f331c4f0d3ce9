"""Answers of services that a gateway cannot pass on."""

from __future__ import annotations

from typing import Final

__all__ = ["UNREADABLE", "UNREADABLE_HEADERS", "is_answer"]

UNREADABLE: Final = b"upstream connect error or disconnect/reset before headers. reset reason: protocol error"
"""What Envoy says of an answer that is none."""
UNREADABLE_HEADERS: Final = [
    (b"content-length", str(len(UNREADABLE)).encode()),
    (b"content-type", b"text/plain"),
]


def is_answer(status: int) -> bool:
    """Whether a status ends an exchange: 101 is for upgrades, which were not asked for; no server writes 600."""
    return 200 <= status <= 599
