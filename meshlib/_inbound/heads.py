"""The head of a request as ASGI tells it: made in full only if somebody looks at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from meshlib._http import Headers, HeadersView, RequestHead
from meshlib._inbound.shapes import Shape

__all__ = ["PlainHead", "text_of", "without_header"]


class PlainHead(RequestHead):
    """A head whose names have a plain :class:`Shape`, each of them once; none is about the caller's workload."""

    def __init__(
        self,
        method: str,
        scheme: str,
        authority: str,
        path: str,
        port: int,
        fields: Mapping[bytes, bytes],
        shape: Shape,
    ) -> None:
        self.method = method
        self.scheme = scheme
        self.authority = self.host = authority
        self.path = path
        self.port = port
        self.fields = fields
        self.shape = shape
        self._made: Headers | None = None

    @property
    def headers(self) -> HeadersView:  # type: ignore[override]  # one that is written to is another class
        """The header fields."""
        made = self._made
        if made is None:
            made = self._made = Headers([(text_of(name), text_of(value)) for name, value in self.fields.items()])
        return made

    def values(self, name: str) -> Sequence[str]:
        """The value of a header field, alone."""
        value = self.fields.get(name.encode())
        return () if value is None else (value.decode("utf-8", "surrogateescape"),)

    def value(self, name: str) -> str:
        """The value of a header field; empty if it is not there."""
        value = self.fields.get(name.encode())
        return "" if value is None else value.decode("utf-8", "surrogateescape")


def text_of(value: bytes) -> str:
    """Bytes that are no UTF-8 keep their value, so that they compare as they do in Envoy and go on unchanged."""
    return value.decode("utf-8", "surrogateescape")


def without_header(head: RequestHead, name: str) -> RequestHead:
    """The same head without a header."""
    fields = Headers(head.headers)
    fields.popall(name, None)
    return head.changed(head.path, fields)
