"""Bodies of requests: which ones can be sent again, and how."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from meshlib._outbound.bodies import SPENT, is_spent
from meshlib.adapters.urllib3.errors import ConsumedBodyError

__all__ = ["Body"]

_REPLAYED: Final = 2**20  # Envoy's buffer for bodies that may have to be sent again


class Body:
    """The body of one exchange, whatever urllib3 takes as one.

    Text, bytes and files that can be rewound are sent again, up to one mebibyte; an
    iterator or a pipe only as long as nothing was read from it. Raises
    :class:`ConsumedBodyError` for a spent generator.
    """

    __slots__ = ("_can_rewind", "_content", "_position", "_size", "_stream")

    def __init__(self, content: Any) -> None:
        self._content = content
        self._stream: _Once | None = None
        self._position = 0
        self._can_rewind = content is None or isinstance(content, (str, bytes, bytearray, memoryview))
        self._size = len(content) if self._can_rewind and content is not None else 0
        if not self._can_rewind:
            self._look()

    def _look(self) -> None:
        content = self._content
        if is_spent(content):
            raise ConsumedBodyError(SPENT)
        try:
            self._position = content.tell()
            self._size = content.seek(0, 2) - self._position
            content.seek(self._position)
        except (AttributeError, OSError, TypeError):  # no file, a pipe, or a file of its own kind
            self._stream = _Once(content)
        else:
            self._can_rewind = True

    @property
    def as_bytes(self) -> bytes | None:
        """For a copy; None where it would have to be read from the caller's stream."""
        content = self._content
        if content is None or isinstance(content, (bytes, bytearray, memoryview)):
            return bytes(content or b"")
        return content.encode("utf-8") if isinstance(content, str) else None

    def can_replay(self) -> bool:
        """Whether another attempt could send all of it."""
        if self._stream is not None:
            return not self._stream.is_begun
        return self._size <= _REPLAYED

    def start(self, attempt: int) -> Any:
        """What urllib3 is given for this attempt."""
        if self._stream is None:
            if attempt > 1 and hasattr(self._content, "seek"):
                self._content.seek(self._position)
            return self._content
        return self._stream.as_file() if hasattr(self._content, "read") else self._stream


class _Once:
    """A stream of the caller that remembers whether it was begun."""

    def __init__(self, content: Any) -> None:
        self._content = content
        self.is_begun = False

    def __iter__(self) -> Iterator[Any]:
        self.is_begun = True
        return iter(self._content)

    def as_file(self) -> _OnceFile:
        return _OnceFile(self, self._content)


class _OnceFile:
    """The same for what is read in pieces."""

    def __init__(self, once: _Once, file: Any) -> None:
        self._once = once
        self._file = file
        if hasattr(file, "encoding"):  # urllib3 asks whether it has to encode
            self.encoding = file.encoding

    def read(self, size: int = -1) -> Any:
        self._once.is_begun = True
        return self._file.read(size)
