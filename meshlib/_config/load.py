"""From texts to the resources of a configuration."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from meshlib._config.codes import finding
from meshlib._config.decode import decode
from meshlib._config.document import Document
from meshlib._config.reader import expand_lists, read
from meshlib.diagnostics import Finding
from meshlib.model.resource import Resource, Skipped

__all__ = ["ConfigSet", "Observe", "Progress", "Skipped", "Text", "load", "no_collection"]

Progress: TypeAlias = Callable[[int, int, int], None]
"""Called with the bytes read, the bytes in all, and the resources found so far."""

Observe: TypeAlias = "Callable[[Document, list[Finding]], None]"
"""Called with each object as it was written, and what was found wrong with it."""

_STEP = 200
_Identity: TypeAlias = "tuple[str, str, str, str]"


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
) -> ConfigSet:
    """Read and decode every document of every text; raises nothing for any content.

    Each document is dropped as soon as it is decoded, unless ``observe`` keeps it.
    ``default_namespace`` is for objects that name none; ``progress`` is called every few
    hundred documents and at the end.
    """
    loading = _Loading(list(texts), default_namespace, progress, observe)
    for text in loading.texts:
        loading.add(text)
    loading.finish()
    return ConfigSet(tuple(loading.resources), tuple(loading.findings), tuple(loading.skipped))


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
        self._places: dict[_Identity, int] = {}

    def add(self, text: Text) -> None:
        lines = None
        for number, document in enumerate(read(text.text, text.name, self.findings)):
            for part in expand_lists(document, self.findings):
                before = len(self.findings)
                self._keep(decode(part, self.findings, self._namespace))
                if self._observe is not None:
                    self._observe(part, self.findings[before:])
            if self._progress is not None and number % _STEP == _STEP - 1:
                lines = lines or 1 + _line_count(text.text)
                share = min(document.line / lines, 1.0)
                self._progress(self._done + int(len(text.text) * share), self._total, len(self.resources))
        self._done += len(text.text)

    def finish(self) -> None:
        if self._progress is not None:
            self._progress(self._total, self._total, len(self.resources))

    def _keep(self, found: Resource | Skipped | None) -> None:
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
        identity = (resource.group, resource.kind, metadata.namespace, metadata.name)
        index = self._places.setdefault(identity, len(self.resources))
        if index == len(self.resources):
            self.resources.append(resource)
            return
        earlier, self.resources[index] = self.resources[index], resource
        self.findings.append(
            finding(
                "MESH034",
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


def _line_count(text: str | bytes) -> int:
    return text.count(b"\n") if isinstance(text, bytes) else text.count("\n")
