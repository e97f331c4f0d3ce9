"""Taking down the body of a response while the caller reads it, for a ClientPolicy with ``fallback.lastGood``.

aiohttp feeds bodies to a stream as they come, and has no hook for that. The stream of
such a response becomes one of a class of its own, which is fed as before and takes down
what it is fed. Where a release of aiohttp would not have that, nothing is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeGuard

import aiohttp

from meshlib._engine.commands import Reply
from meshlib._engine.good_responses import Tape, Taped
from meshlib._http import Response

__all__ = ["start_tape"]


class _Label:
    """Sticks a tape to a stream, among what it calls at its end."""

    __slots__ = ("is_encoded", "tape")

    def __init__(self, tape: Tape, *, is_encoded: bool) -> None:
        self.tape = tape
        self.is_encoded = is_encoded

    def __call__(self) -> None:
        """The stream has told already."""

    def end(self, content: aiohttp.StreamReader) -> None:
        """The body is whole."""
        is_decoded = getattr(content, "total_compressed_bytes", None) is not None
        if is_decoded or not self.is_encoded:
            self.tape.keep(is_decoded=is_decoded)


class _TapedReader(aiohttp.StreamReader):
    """A stream that takes down what it is fed."""

    __slots__ = ()

    def _labels(self) -> list[_Label]:
        return [one for one in self._eof_callbacks if isinstance(one, _Label)]

    def feed_data(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, *args: Any
    ) -> Any:
        """As the stream does; its arguments differ between releases."""
        for one in self._labels():
            one.tape.feed(args[0])
        return super().feed_data(*args)

    def feed_eof(self) -> None:
        """As the stream does."""
        for one in self._labels():
            one.end(self)
        super().feed_eof()


def start_tape(reply: Reply) -> TypeGuard[Response]:
    """Take down the body of a response that may have to stand in for a later one; False where there is none."""
    if not isinstance(reply, Taped):
        return False
    content: Any = reply.handle.content
    label = _Label(reply.tape, is_encoded="content-encoding" in reply.headers)
    if type(content) is aiohttp.StreamReader:
        came: Iterable[bytes] | None = getattr(content, "_buffer", None)
        if came is None or not hasattr(content, "_eof_callbacks"):
            return True
        for part in came:
            reply.tape.feed(part)
        if not content.is_eof():
            content.__class__ = _TapedReader
            content.on_eof(label)
            return True
    if content.is_eof():  # also that of no body, which is of another class
        label.end(content)
    return True
