"""A TLS context that has successors: what an application sets on it holds for them too.

OpenSSL takes protocols, ciphers and further roots from the context that a handshake is
given in its middle, and the standard library does not tell them again. What it copies
when a connection begins, such as versions, options and curves, needs no care.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

__all__ = ["LeadingContext"]

Setting: TypeAlias = Callable[[ssl.SSLContext], None]


class LeadingContext(ssl.SSLContext):
    """The context that the application has once ``is_leading``; :meth:`succeed` gives it a successor."""

    is_leading = False
    before_each: Callable[[], None] | None = None
    """Called before a connection begins."""
    _settings: tuple[Setting, ...] = ()
    _successor: ssl.SSLContext | None = None

    def succeed(self, context: ssl.SSLContext) -> None:
        """Have ``context`` take over all that was set, and will be."""
        for setting in self._settings:
            setting(context)
        self._successor = context

    def _set(self, setting: Setting) -> None:
        if self.is_leading:
            self._settings += (setting,)
        if self._successor is not None:
            setting(self._successor)

    def wrap_socket(self, *arguments: Any, **named: Any) -> ssl.SSLSocket:
        """As of :class:`ssl.SSLContext`."""
        if self.before_each is not None:
            self.before_each()
        return super().wrap_socket(*arguments, **named)

    def wrap_bio(self, *arguments: Any, **named: Any) -> ssl.SSLObject:
        """As of :class:`ssl.SSLContext`."""
        if self.before_each is not None:
            self.before_each()
        return super().wrap_bio(*arguments, **named)

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        """As of :class:`ssl.SSLContext`."""
        protocols = list(alpn_protocols)
        super().set_alpn_protocols(protocols)
        self._set(lambda other: other.set_alpn_protocols(protocols))

    def set_ciphers(self, *arguments: Any) -> None:
        """As of :class:`ssl.SSLContext`."""
        super().set_ciphers(*arguments)
        self._set(lambda other: other.set_ciphers(*arguments))

    def load_verify_locations(self, *arguments: Any, **named: Any) -> None:
        """As of :class:`ssl.SSLContext`."""
        super().load_verify_locations(*arguments, **named)
        self._set(lambda other: other.load_verify_locations(*arguments, **named))
