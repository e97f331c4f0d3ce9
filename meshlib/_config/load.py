"""From texts to the resources of a configuration."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from meshlib._config.codes import finding
from meshlib._config.decode import decode
from meshlib._config.document import Document
from meshlib._config.known import Identity, KnownPiece, KnownText, KnownTexts, PieceKey, has_error, identity, piece_key
from meshlib._config.reader import expand_lists, read
from meshlib.diagnostics import Finding
from meshlib.model.resource import Resource, Skipped

__all__ = ["ConfigSet", "Observe", "Progress", "Skipped", "Text", "load", "no_collection", "unobtrusive"]

Progress: TypeAlias = Callable[[int, int, int], None]
"""Called with the bytes read, the bytes in all, and the resources found so far."""

Observe: TypeAlias = "Callable[[Document, list[Finding]], None]"
"""Called with each object as it was written, and what was found wrong with it."""

_STEP = 200
_REPLACED = "MESH034"  # about two documents: never part of what is known of one


class Text(Protocol):
    """A text with a name for findings."""

    @property
    def name(self) -> str: ...
    @property
    def text(self) -> str | bytes: ...


@dataclass(frozen=True, slots=True)
class ConfigSet:
    """What was read: the good resources, everything there is to say, and what is of no use here.

    A resource with an error finding is left out of ``resources``; all others stay.
    """

    resources: tuple[Resource, ...] = ()
    findings: tuple[Finding, ...] = ()
    skipped: tuple[Skipped, ...] = ()

    def __repr__(self) -> str:
        errors = sum(entry.level == "error" for entry in self.findings)
        counts = f"resources={len(self.resources)} skipped={len(self.skipped)} errors={errors}"
        return f"<ConfigSet {counts} findings={len(self.findings)}>"


def load(
    texts: Iterable[Text],
    *,
    default_namespace: str = "default",
    progress: Progress | None = None,
    observe: Observe | None = None,
    known: KnownTexts | None = None,
) -> ConfigSet:
    """Read and decode every document of every text; raises nothing for any content.

    Each document is dropped as soon as it is decoded, unless ``observe`` keeps it.
    ``default_namespace`` is for objects that name none; ``progress`` is called every few
    hundred documents and at the end. What is in ``known`` is not read again, and not observed.
    """
    loading = _Loading(list(texts), default_namespace, progress, observe)
    if known is not None:
        known.begin(default_namespace)
    for text in loading.texts:
        loading.add(text, known)
    loading.finish()
    if known is not None:
        known.end()
    return ConfigSet(tuple(loading.resources), tuple(loading.findings), tuple(loading.skipped))


class _Part:
    """A text, or a piece of one, that is being read: what came of it, and how many findings of the load are in that."""

    __slots__ = ("found", "taken")

    def __init__(self, taken: int) -> None:
        self.taken = taken
        self.found: list[Resource | Skipped | Finding] = []

    def take(self, findings: list[Finding]) -> None:
        """What was found since; but for what is about another document too."""
        self.found += [one for one in findings[self.taken :] if one.code != _REPLACED]
        self.taken = len(findings)


class _Loading:
    """The state of one load."""

    def __init__(self, texts: list[Text], namespace: str, progress: Progress | None, observe: Observe | None) -> None:
        self.texts = texts
        self.resources: list[Resource] = []
        self.findings: list[Finding] = []
        self.skipped: list[Skipped] = []
        self._namespace = namespace
        self._progress = progress
        self._observe = observe
        self._total = sum(len(text.text) for text in texts) if progress is not None else 0
        self._done = 0
        self._places: dict[Identity, int] = {}
        self._known: KnownTexts | None = None
        self._text: KnownText | None = None
        self._whole: _Part | None = None
        self._piece: tuple[PieceKey, _Part] | None = None

    def add(self, text: Text, known: KnownTexts | None = None) -> None:
        if known is None:
            self._read(text)
        elif (found := known.whole(text.name, text.text)) is not None:
            self._take_all(found)
        else:
            self._known, self._text = known, known.start(text.name, text.text)
            self._whole = _Part(len(self.findings))
            self._read(text, self._is_known)
            self._end_piece()
            self._whole.take(self.findings)
            self._text.end(self._whole.found)
            self._text = self._whole = None
        self._done += len(text.text)

    def _read(self, text: Text, is_known: Callable[[str, int], bool] | None = None) -> None:
        lines = None
        for number, document in enumerate(read(text.text, text.name, self.findings, is_known=is_known)):
            for part in expand_lists(document, self.findings):
                before = len(self.findings)
                found = decode(part, self.findings, self._namespace)
                if self._piece is not None and found is not None:
                    self._piece[1].take(self.findings)
                    self._piece[1].found.append(found)
                self._keep(found)
                if self._observe is not None:
                    self._observe(part, self.findings[before:])
            if self._progress is not None and number % _STEP == _STEP - 1:
                lines = lines or 1 + _line_count(text.text)
                share = min(document.line / lines, 1.0)
                self._progress(self._done + int(len(text.text) * share), self._total, len(self.resources))

    def _take_all(self, text: KnownText) -> None:
        """Take a text that was read before, all at once unless an object of it is defined elsewhere too."""
        if text.places and self._places.keys().isdisjoint(text.places):
            count = len(self.resources)
            self._places.update(zip(text.places, range(count, count + len(text.places)), strict=True))
            self.resources += text.resources
            self.findings += text.findings
            self.skipped += text.skipped
        else:
            self._take(text.found or ())

    def _take(self, found: KnownPiece) -> None:
        for one in found:
            if isinstance(one, Finding):
                self.findings.append(one)
            else:
                self._keep(one)

    def _is_known(self, piece: str, line: int) -> bool:
        """Take a piece that was read before; else remember what comes of it."""
        self._end_piece()
        assert self._known is not None
        assert self._text is not None
        key = piece_key(line, piece)
        found = self._known.piece(self._text, key)
        if found is None:
            self._piece = key, _Part(len(self.findings))
            return False
        self._take(found)
        return True

    def _end_piece(self) -> None:
        if self._piece is not None and self._text is not None:
            key, piece = self._piece
            piece.take(self.findings)
            if not has_error(piece.found):
                self._text.pieces[key] = tuple(piece.found)
        self._piece = None

    def finish(self) -> None:
        if self._progress is not None:
            self._progress(self._total, self._total, len(self.resources))

    def _keep(self, found: Resource | Skipped | None) -> None:
        if self._whole is not None and found is not None:
            self._whole.take(self.findings)
            self._whole.found.append(found)
        if isinstance(found, Skipped):
            self.skipped.append(found)
        elif found is not None:
            self._keep_resource(found)

    def _keep_resource(self, resource: Resource) -> None:
        """As in a cluster there is one object of a name: the later definition replaces the one before."""
        metadata = resource.metadata
        if not metadata.name:
            self.resources.append(resource)
            return
        index = self._places.setdefault(identity(resource), len(self.resources))
        if index == len(self.resources):
            self.resources.append(resource)
            return
        earlier, self.resources[index] = self.resources[index], resource
        self.findings.append(
            finding(
                _REPLACED,
                f"defined before in {earlier.file or '<text>'}:{earlier.line}; this definition replaces it",
                file=resource.file,
                line=resource.line,
                resource=str(resource),
            )
        )


@contextmanager
def no_collection() -> Iterator[None]:
    """Nothing made while loading is garbage: collecting would cost a third of the time and stall requests."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


_TURN: Final = 0.0005


@contextmanager
def unobtrusive() -> Iterator[None]:
    """Give way to other threads ten times as often as Python does by itself: they may have requests to answer."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(min(usual, _TURN))
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


def _line_count(text: str | bytes) -> int:
    return text.count(b"\n") if isinstance(text, bytes) else text.count("\n")
