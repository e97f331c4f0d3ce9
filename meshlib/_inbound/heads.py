"""The head of a request that is let in as an equal one was: made in full only if somebody looks at it."""

from __future__ import annotations

from collections.abc import Mapping

from meshlib._http import Headers, HeadersView, RequestHead

__all__ = ["AgainHead"]


class AgainHead(RequestHead):
    """A head like ``other``, with its own query, and headers that are read when they are asked for."""

    def __init__(self, other: RequestHead, fields: Mapping[bytes, bytes], query: bytes) -> None:
        self.method = other.method
        self.scheme = other.scheme
        self.authority = other.authority
        self.path = f"{other.path_only}?{_text(query)}" if query else other.path_only
        self.port = other.port
        self.host = other.host
        self._fields = fields
        self._made: Headers | None = None

    @property
    def headers(self) -> HeadersView:  # type: ignore[override]  # one that is written to is another class
        """The header fields."""
        made = self._made
        if made is None:
            made = self._made = Headers([(_text(name), _text(value)) for name, value in self._fields.items()])
        return made


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
