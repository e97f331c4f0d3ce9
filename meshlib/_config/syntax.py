"""What the YAML parser says, in words that let the reader of a finding fix the text."""

from __future__ import annotations

import re

import yaml

from meshlib._config.limits import AbortError, Problem

__all__ = ["BREAK", "FORBIDDEN", "describe_failure"]

BREAK = re.compile("\r\n?|[\n\x85\u2028\u2029]")
"""A line break as YAML 1.1 counts lines."""

FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""A character that may not stand in a YAML text; bytes that are no UTF-8 are decoded to such characters."""

_UNCLOSED = "found unexpected end of stream", "found unexpected document indicator"
_QUOTE = "close the quote"
_HINTS = {
    "mapping values are not allowed in this context": "quote the value if it contains ': ', or correct the indentation",
    "block sequence entries are not allowed in this context": "begin the list on a line of its own",
    "mapping keys are not allowed in this context": "quote the value if it begins with '?'",
    "could not find expected ':'": "write 'key: value', or indent a text that goes on from the line before",
    "did not find expected key": "correct the indentation, or quote the value that ends before this place",
    "did not find expected '-' indicator": "indent every item of the list alike",
    "did not find expected ',' or ']'": "close the list with ']', or quote the item",
    "did not find expected ',' or '}'": "close the mapping with '}', or quote the value",
    "did not find expected node content": "complete the value, close the list or mapping, or quote the text",
    "did not find expected <document start>": "begin a new document with a line '---'",
    "found a tab character that violates indentation": "indent with spaces",
    "found a tab character where an indentation space is expected": "indent with spaces",
    "found unknown escape character": "write the backslash twice, or use single quotes",
    "found unexpected ':'": "quote the text",
    "found undefined tag handle": "remove the tag",
    **dict.fromkeys(_UNCLOSED, _QUOTE),
}


def describe_failure(error: yaml.YAMLError | UnicodeEncodeError | AbortError, text: str, base: int) -> Problem:
    """The problem behind ``error``, which the parser raised on ``text``; ``base`` lines stand before it."""
    if isinstance(error, AbortError):
        return Problem(error.code, str(error), error.mark.line + base + 1, error.mark.column + 1)
    if not isinstance(error, yaml.MarkedYAMLError):
        return _describe_character(error, text, base)
    problem = str(error.problem)
    mark = error.problem_mark or error.context_mark
    message, hint = problem, _HINTS.get(problem, "")
    if problem in _UNCLOSED and error.context_mark is not None:
        message, mark = "a quoted text begins here and is never closed", error.context_mark
    elif problem == "found character that cannot start any token" and mark is not None:
        message, hint = _describe_token(text[mark.index : mark.index + 1])
    elif error.context_mark is not None and mark is not None and error.context_mark.line != mark.line:
        message = f"{problem} {error.context}, which begins at line {error.context_mark.line + base + 1}"
    line, column = (mark.line, mark.column) if mark is not None else (0, 0)
    return Problem("MESH001", message, line + base + 1, column + 1, hint)


def _describe_token(character: str) -> tuple[str, str]:
    if character == "\t":
        return "a tab is used to indent", "indent with spaces"
    return f"a value cannot begin with {character!r}", "quote the value"


def _describe_character(error: Exception, text: str, base: int) -> Problem:
    match = FORBIDDEN.search(text)
    if match is None:
        return Problem("MESH001", str(error), base + 1, 1)
    breaks = list(BREAK.finditer(text, 0, match.start()))
    line, column = len(breaks) + base + 1, match.start() - (breaks[-1].end() if breaks else 0) + 1
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:
        return Problem("MESH002", f"the byte 0x{code - 0xDC00:02x} is not UTF-8", line, column)
    return Problem("MESH003", f"the character U+{code:04X} is not allowed in YAML", line, column)
