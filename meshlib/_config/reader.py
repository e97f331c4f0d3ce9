"""From a text to documents, as Kubernetes reads them, with every finding on the way.

1. The text is measured, decoded (UTF-8, or UTF-16 with a byte order mark), and cut at
   its ``---`` lines, as Kubernetes does: a broken document cannot hide the others.
2. Each is built from the events of the YAML parser (``builder``).
3. A broken one gets more chances, because libyaml and Kubernetes differ: Go's scanner
   takes ``[2001:db8::, x]``, and what begins with a brace may be JSON that is not YAML.

Nothing here raises on bad input, and nothing grows without bound: see :class:`Limits`.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count, islice
from typing import Any, TypeAlias

import yaml

from meshlib._config.builder import Builder, ScalarCache
from meshlib._config.codes import finding
from meshlib._config.document import Document, ValueText, expand_lists, resource_label
from meshlib._config.json_text import JSON_SIZE, read_json
from meshlib._config.limits import AbortError, Limits, Problem
from meshlib._config.syntax import BREAK, describe_failure
from meshlib.diagnostics import Finding

__all__ = ["Document", "IsKnown", "Limits", "expand_lists", "read"]

_Loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BOUNDARY = re.compile(f"(?:{BREAK.pattern})(?=---(?:[ \t\r\n\x85\u2028\u2029]|\\Z))")

_AFTER_MARKER = ("", " ", "\t", "\n")
_PROLOGUE = re.compile(r"(?:(?:[%#][^\n]*)?\n)*")
_JSON_START = re.compile(r"\s*\{")
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)

# A colon before a flow indicator, inside a plain scalar: libyaml refuses it, Go reads it as text.
_FLOW_COLON = re.compile(r"""(?<=[^\s"'\]\[{},]):(?=[,?\[\]{}])""")
_REFUSED_COLON = "found unexpected ':'"
# An escaped slash: in double quotes libyaml reads it, Go refuses it.
_SLASH = re.compile(r"(?<!\\)((?:\\\\)*\\)/")
# A byte order mark that begins a line: libyaml skips it, Go takes it for text unless it begins the document.
_LINE_MARK = re.compile("(?<=[\n\r\x85\u2028\u2029])(?<!\n---\n)\ufeff")
_COLON_ATTEMPTS = 20
_REREAD_SIZE = 1 << 20

StandIns: TypeAlias = "Mapping[int, str]"
_Result: TypeAlias = "tuple[Document, list[Problem]]"


IsKnown: TypeAlias = "Callable[[str, int], bool]"
"""Asked before each piece of a text, with the lines before it: whether its documents are known and need no reading."""


def read(
    text: str | bytes,
    file: str,
    findings: list[Finding],
    *,
    limits: Limits | None = None,
    is_known: IsKnown | None = None,
) -> Iterator[Document]:
    """The documents of ``text`` in order; empty ones are skipped, and those of pieces that ``is_known``.

    A document with an error is left out, the finding appended to ``findings`` names its
    place in ``file``, and reading goes on with the next one. Raises nothing for any text.
    """
    if isinstance(text, ValueText):
        return iter((Document(text.value, None, file),))
    return _Reading(file, findings, limits or Limits(), is_known).documents(text)


class _StoppedError(Exception):
    """The text has more documents or findings than anybody wants to see."""


class _Reading:
    """One text being read."""

    def __init__(self, file: str, findings: list[Finding], limits: Limits, is_known: IsKnown | None = None) -> None:
        self.file, self.findings, self.limits = file, findings, limits
        self._is_known = is_known
        self.scalars = ScalarCache()
        self._noted = 0
        self._documents = 0

    def documents(self, raw: str | bytes) -> Iterator[Document]:
        if len(raw) > self.limits.text:
            self._note_text("MESH009", f"the text has {len(raw)} characters, more than {self.limits.text}")
            return
        text = _decode(raw)
        if text.count("\n%TAG") > 100:
            self._note_text("MESH001", "the text has more than 100 %TAG directives")
            return
        text, stand_ins = _with_stand_ins(text)
        try:
            for document in self._all(text, stand_ins):
                self._count_document()
                yield document
        except _StoppedError as stopped:
            self._note_text("MESH015", str(stopped))

    def _count_document(self) -> None:
        self._documents += 1
        if self._documents > self.limits.documents:
            raise _StoppedError(f"the text has more than {self.limits.documents} documents")

    def _all(self, text: str, stand_ins: StandIns) -> Iterator[Document]:
        line = 0
        # A piece with characters that stand for others has no meaning of its own: such texts are read whole.
        is_known = None if stand_ins else self._is_known
        for piece, lines in _pieces(text):
            if is_known is None or not is_known(piece, line):
                yield from self._piece(piece, line, stand_ins)
            line += lines

    def _piece(self, text: str, line: int, stand_ins: StandIns) -> Iterator[Document]:
        """The documents of a piece: at most one unless it has ``...`` lines."""
        parse = _Parse(self, text, line, stand_ins)
        results = list(parse)
        if _is_refused_colon(parse.failure) and len(text) <= _REREAD_SIZE:
            parse, results = self._with_colons(parse)
        if parse.failure is not None and (values := self._as_json(text, line, stand_ins, parse.failure)) is not None:
            yield from values
            return
        yield from self._emit(results)
        for problem in parse.problems:
            self._note(problem)
        if parse.failure is not None:
            self._note_failure(parse)

    def _with_colons(self, refused: _Parse) -> tuple[_Parse, list[_Result]]:
        """The piece read again with a stand-in for each colon that only libyaml refuses."""
        stand_in = _unused(refused.text)
        stand_ins = {**refused.stand_ins, ord(stand_in): ":"}
        text = _FLOW_COLON.sub(stand_in, refused.text)
        for attempt in count(1):
            parse = _Parse(self, text, refused.base, stand_ins)
            results = list(parse)
            if attempt == _COLON_ATTEMPTS or not _is_refused_colon(parse.failure):
                return parse, results
            index = parse.failure.problem_mark.index
            text = f"{text[:index]}{stand_in}{text[index + 1 :]}"
        raise AssertionError  # count() does not end

    def _as_json(self, text: str, line: int, stand_ins: StandIns, failure: Exception) -> list[Document] | None:
        if isinstance(failure, AbortError) or len(text) > JSON_SIZE or not _JSON_START.match(text):
            return None
        try:
            values = islice(read_json(text.translate(stand_ins), self.limits), self.limits.documents + 1)
            return [Document(value, start, self.file, line) for value, start in values]
        except ValueError:
            return None

    def _emit(self, results: Iterable[_Result]) -> Iterator[Document]:
        for document, problems in results:
            label = resource_label(document.value) if problems else ""
            for problem in problems:
                self._note(problem, label)
            if not problems:
                yield document

    def _note_failure(self, parse: _Parse) -> None:
        problem = describe_failure(parse.failure, parse.text, parse.base)
        if parse.is_between and problem.code == "MESH001":
            problem = problem._replace(code="MESH016", message="the document is complete before this text", hint="")
        self._note(problem)

    def _note(self, problem: Problem, resource: str = "") -> None:
        self._noted += 1
        if self._noted > self.limits.findings:
            raise _StoppedError(f"the text has more than {self.limits.findings} findings")
        code, message, line, column, hint = problem
        self.findings.append(
            finding(code, message, file=self.file, line=line, column=column, resource=resource, hint=hint)
        )

    def _note_text(self, code: str, message: str) -> None:
        self.findings.append(finding(code, message, file=self.file))


class _Parse:
    """One run of the parser over a text; iterate once, then look at ``failure``.

    Yields each document that is not empty, with the problems that were found in it.
    ``is_between`` says that the failure came after a complete document, ``problems``
    are those found before it in the broken one.
    """

    def __init__(self, reading: _Reading, text: str, base: int, stand_ins: StandIns) -> None:
        self.text, self.base, self.stand_ins = text, base, stand_ins
        self.is_between = False
        self.failure: Any = None
        self.problems: list[Problem] = []
        self._reading = reading

    def __iter__(self) -> Iterator[_Result]:
        parser = None
        try:
            parser = _Loader(self.text)
            get = _restoring(parser.get_event, self.stand_ins) if self.stand_ins else parser.get_event
            builder = Builder(get, self._reading.limits, self.base, self._reading.scalars)
            yield from self._documents(get, builder)
        except (yaml.YAMLError, UnicodeEncodeError, AbortError) as error:
            self.failure = error
        finally:
            if parser is not None:
                parser.dispose()

    def _documents(self, get: Callable[[], Any], builder: Builder) -> Iterator[_Result]:
        while (event := get()) is not None:
            if not isinstance(event, yaml.DocumentStartEvent):
                continue
            mark: Any = event.start_mark
            self.is_between = False
            if event.version not in {None, (1, 1)}:
                raise AbortError("MESH001", "only version 1.1 of YAML is read, as Kubernetes does", mark)
            try:
                value, place = builder.build(get())
                get()  # the end of the document
            except (yaml.YAMLError, AbortError):
                self.problems = builder.problems
                raise
            self.is_between = True
            if value is not None or builder.problems:
                yield Document(value, place, self._reading.file, self.base), builder.problems


def _decode(raw: str | bytes) -> str:
    """The text; each byte that cannot be decoded becomes a lone surrogate, which the parser refuses."""
    if isinstance(raw, str):
        return raw.removeprefix("\ufeff")
    if raw.startswith(_UTF16):
        return _decode_utf16(raw)
    return raw.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")


def _decode_utf16(raw: bytes) -> str:
    try:
        return raw.decode("utf-16")
    except UnicodeDecodeError as error:  # nothing behind a broken unit can be trusted
        return raw[: error.start].decode("utf-16") + chr(0xDC00 + max(0x80, raw[error.start]))


def _with_stand_ins(text: str) -> tuple[str, StandIns]:
    """The text with other characters where libyaml and Go differ, and what these stand for."""
    stand_ins: dict[int, str] = {}
    if "\\/" in text:
        stand_in = _unused(text)
        text, stand_ins[ord(stand_in)] = _SLASH.sub(rf"\1{stand_in}", text), "/"
    if "\ufeff" in text:
        stand_in = _unused(text)
        text, stand_ins[ord(stand_in)] = _LINE_MARK.sub(stand_in, text), "\ufeff"
    return text, stand_ins


def _unused(text: str) -> str:
    return next(character for code in range(0xE000, 0xF900) if (character := chr(code)) not in text)


def _restoring(get: Callable[[], Any], stand_ins: StandIns) -> Callable[[], Any]:
    """``get`` with the stand-ins in scalars turned back."""

    def restored() -> Any:
        event = get()
        if type(event) is yaml.ScalarEvent:
            event.value = event.value.translate(stand_ins)
        return event

    return restored


def _pieces(text: str) -> Iterator[tuple[str, int]]:
    """The text cut before each line that begins with ``---``, and the lines of each piece."""
    usual = not any(character in text for character in "\r\x85\u2028\u2029")
    start = 0
    while start < len(text):
        end = _boundary(text, start, usual=usual)
        if _is_prologue(text[start:end]):
            end = _boundary(text, end, usual=usual)
        piece = text[start:end]
        yield piece, piece.count("\n") if usual else len(BREAK.findall(piece))
        start = end


def _boundary(text: str, start: int, *, usual: bool) -> int:
    """Where the next document begins; ``usual`` says that only line feeds break lines, which is faster."""
    if not usual:
        match = _BOUNDARY.search(text, start)
        return match.end() if match else len(text)
    at = start
    while (at := text.find("\n---", at) + 1) > 0:
        if text[at + 3 : at + 4] in _AFTER_MARKER:
            return at
    return len(text)


def _is_prologue(piece: str) -> bool:
    """Whether these are the directives (and comments) that belong to the document after the next ``---``."""
    return (piece.startswith("%") or "\n%" in piece) and _PROLOGUE.fullmatch(piece) is not None


def _is_refused_colon(failure: object) -> bool:
    return isinstance(failure, yaml.MarkedYAMLError) and failure.problem == _REFUSED_COLON
