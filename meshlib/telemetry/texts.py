"""Texts that came over the wire, for exporters."""

from __future__ import annotations

__all__ = ["writable"]


def writable(text: str) -> str:
    """The text as UTF-8 can hold it: bytes of a header that are none become question marks.

    An exporter would stumble over them, and with it all that it has to tell besides.
    """
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
