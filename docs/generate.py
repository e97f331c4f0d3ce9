"""Writes the pages under docs/reference/ that are made from the code.

``python docs/generate.py`` writes them; ``tests/test_docs.py`` checks that the committed ones are current.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import get_args

from meshlib import events
from meshlib._config.codes import CODES
from meshlib.model.kinds import KINDS
from meshlib.model.status import FieldStatus, field_status, parents

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Made by docs/generate.py: change the code, not this page. -->"


def diagnostics() -> Iterator[str]:
    """Our finding codes."""
    yield "# Diagnostics"
    yield ""
    yield "What meshlib finds in a configuration has a code. Codes are never reused. Codes that begin with `IST` are"
    yield "Istio's own and mean what they mean there."
    for code, info in sorted(CODES.items()):
        yield ""
        yield f"## {code}: {info.title}"
        yield ""
        yield f"Level: {info.level}. {info.explanation}"
        yield ""
        yield f"Remedy: {info.remedy}."


def event_page() -> Iterator[str]:
    """The events and their fields."""
    yield "# Events"
    yield ""
    yield prose(inspect.cleandoc(events.__doc__ or ""))
    for event in get_args(events.Event):
        yield ""
        yield f"## {event.__name__}"
        yield ""
        yield prose(inspect.cleandoc(event.__doc__ or ""))
        yield ""
        yield "| field | type |"
        yield "|---|---|"
        for field in dataclasses.fields(event):
            kind = str(field.type).replace("|", "\\|")
            yield f"| `{field.name}` | `{kind}` |"


def fields() -> Iterator[str]:
    """The support matrix."""
    matrix = {kind.name: field_status(kind.name) for kind in KINDS.values() if kind.treatment != "discovery"}
    yield "# Supported fields"
    yield ""
    yield "What becomes of each field of each kind that is applied or understood:"
    yield ""
    yield "* **honoured**: works as in Istio;"
    yield "* **approximated**: works, with the difference that the note states;"
    yield "* **refused**: has no effect; using it is a warning, and an error with `strict=True`."
    yield ""
    yield "A field that is not listed has the status of the field that holds it; `meshlib fields` prints each one. `[]`"
    yield "stands for the items of a list, `.*` for any key of a map."
    yield ""
    yield "| kind | honoured | approximated | refused |"
    yield "|---|---|---|---|"
    for name in sorted(matrix):
        counts = Counter(field.status for field in matrix[name].values())
        row = " | ".join(str(counts[status]) for status in ("honoured", "approximated", "refused"))
        yield f"| [{name}](#{name.lower()}) | {row} |"
    for name in sorted(matrix):
        yield from field_table(name, matrix[name])


def field_table(name: str, statuses: Mapping[str, FieldStatus]) -> Iterator[str]:
    """The fields of one kind that differ from the field that holds them."""
    yield ""
    yield f"## {name}"
    yield ""
    yield "| field | status | note |"
    yield "|---|---|---|"
    for path, field in statuses.items():
        holders = [holder for holder in parents(path) if holder in statuses]
        if holders and statuses[holders[0]] == field:
            continue
        yield f"| `{path}` | {field.status} | {field.note} |"


def prose(text: str) -> str:
    """A docstring as Markdown."""
    return re.sub(r":\w+:`([^`]+)`", r"`\1`", text.replace("``", "`"))


PAGES: dict[str, Callable[[], Iterator[str]]] = {
    "diagnostics.md": diagnostics,
    "events.md": event_page,
    "fields.md": fields,
}


def render(name: str) -> str:
    """The text of a generated page."""
    return "\n".join([NOTE, "", *PAGES[name](), ""])


if __name__ == "__main__":
    REFERENCE.mkdir(exist_ok=True)
    for name in PAGES:
        (REFERENCE / name).write_text(render(name), encoding="utf-8")
