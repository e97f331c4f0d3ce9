"""Writes the pages under docs/reference/ that are made from the code.

``python docs/generate.py`` writes them; ``tests/test_docs.py`` checks that the committed ones are current.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, get_args

import yaml

from meshlib import Finding, Mesh, Workload, check, events
from meshlib._analyze.messages import MESSAGES, Message
from meshlib._config.code_info import CodeInfo
from meshlib._config.codes import CODES
from meshlib._config.load import load
from meshlib.model.kinds import KINDS
from meshlib.model.status import FieldStatus, field_status, parents
from meshlib.sources.static import SourceText

REFERENCE = Path(__file__).parent / "reference"
RESULTS: Final = Path(__file__).parent.parent / "tests" / "adapters" / "contract" / "results.yaml"
EXAMPLES: Final = Path(__file__).parent / "diagnostics"
VALIDATE, ANALYZE, LOAD = "`meshlib validate`", "`meshlib analyze`", "`Mesh.load`"
NOTE = "<!-- Made by docs/generate.py: change the code, not this page. -->"


@dataclass(frozen=True, slots=True)
class Example:
    """A configuration that triggers a code; a comment in its first line says what else it takes."""

    text: bytes
    chain: Sequence[str] = ()
    workload: Workload = Workload()

    @property
    def shown(self) -> str:
        """As a page can show it: what is no text, and control characters, as the sign for them."""
        text = self.text.decode("utf-8", "replace")
        return "".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text)


def example_of(code: str) -> Example | None:
    """The example of a code; None if a file cannot show it."""
    file = EXAMPLES / f"{code}.yaml"
    if not file.is_file():
        return None
    example = Example(file.read_bytes())
    first = example.text.split(b"\n")[0].decode("utf-8", "replace")
    if first.startswith("# workload: "):
        fields: dict[str, Any] = yaml.safe_load(first.removeprefix("# workload: "))
        return replace(example, workload=Workload(**fields))
    if first.startswith("# meshlib analyze --chain "):
        return replace(example, chain=first.removeprefix("# meshlib analyze --chain ").split(","))
    return example


def told_by(code: str, example: Example) -> dict[str, list[Finding]]:
    """Who tells the code when it is given the example, and what is said."""
    text = SourceText(f"{code}.yaml", example.text)
    told = {
        VALIDATE: load([text]).findings,
        ANALYZE: check([text], chain=example.chain),
    }
    if not any(finding.level == "error" for finding in told[VALIDATE]):
        told[LOAD] = Mesh.load([text], workload=example.workload).findings
    wanted = {who: [finding for finding in said if finding.code == code] for who, said in told.items()}
    return {who: said for who, said in wanted.items() if said}


def diagnostics() -> Iterator[str]:
    """All finding codes, Istio's first."""
    yield "# Diagnostics"
    yield ""
    yield "What meshlib finds in a configuration has a code. Codes are never reused. Codes that begin with `IST` are"
    yield "Istio's own and mean what they mean there; codes that begin with `MESH` are meshlib's. Each has an example"
    yield "that triggers it; meshlib runs all of them as tests. A place in this page is linked by the code in small"
    yield "letters, as in [`#mesh135`](#mesh135)."
    yield ""
    yield "Whatever `meshlib validate` calls an error makes `Mesh.load` raise `ConfigError`, which holds all findings."
    yield "`meshlib analyze` tells the codes from MESH070 to MESH085 under the codes of Istio, IST0106 and IST0133."
    yield ""
    yield "| code | level | |"
    yield "|---|---|---|"
    for code, level, title in _overview():
        yield f"| [{code}](#{code.lower()}) | {level} | {title} |"
    for message in MESSAGES.values():
        yield from _istios(message)
    for code, info in sorted(CODES.items()):
        yield from _ours(code, info)


def _overview() -> Iterator[tuple[str, str, str]]:
    for message in MESSAGES.values():
        yield message.code, message.level, message.name
    for code, info in sorted(CODES.items()):
        yield code, info.level, info.title


def _istios(message: Message) -> Iterator[str]:
    yield from _heading(message.code, message.name)
    yield f"Level: {message.level}. `{message.template}`"
    yield ""
    yield f"Remedy: {message.remedy}. More: [Istio's page]({message.url})."
    yield from _example(message.code, "")


def _ours(code: str, info: CodeInfo) -> Iterator[str]:
    yield from _heading(code, info.title)
    yield f"Level: {info.level}. {info.explanation}"
    yield ""
    yield f"Remedy: {info.remedy}."
    yield from _example(code, info.without_example)


def _heading(code: str, title: str) -> Iterator[str]:
    yield ""
    yield f'<a id="{code.lower()}"></a>'
    yield ""
    yield f"## {code}: {title}"
    yield ""


def _example(code: str, reason: str) -> Iterator[str]:
    example = example_of(code)
    yield ""
    if example is None:
        yield f"No example: {reason}."
        return
    yield f"Example, told by {', '.join(told_by(code, example))}:"
    yield ""
    yield "```yaml"
    yield example.shown.rstrip("\n")
    yield "```"


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


def clients() -> Iterator[str]:
    """What a caller sees, which is the same in every client library."""
    yield "# The same result in every client"
    yield ""
    yield "The same YAML and the same upstream give the same result, whichever client makes the call: aiohttp, httpx"
    yield "and httpx2 (both synchronous and asynchronous), requests and urllib3. Each row runs as a test with each of"
    yield "them, against an upstream on loopback that answers as the row says, and with 200 afterwards."
    yield ""
    yield "`raises` names the exception instead of a response: `own` is the library's own for a body that breaks off,"
    yield "the others are those of `raise_on_refusal=True`. What the exceptions are called in each library is in"
    yield "[Which client](../adapters/clients.md)."
    yield ""
    yield "| | rules | upstream | the caller gets | the upstream gets |"
    yield "|---|---|---|---|---|"
    for row in yaml.safe_load(RESULTS.read_text(encoding="utf-8")):
        rules = "<br>".join(f"`{_flow(part)}`" for part in _rules(row)) or "–"
        caller = _flow(row["caller"]) + (f", call {row['calls']}" if "calls" in row else "")
        seen = "–" if "upstream" not in row else ", ".join(row["upstream"]) or "nothing"
        yield f"| {row['rule']} | {rules} | {_script(row['upstreams'])} | {caller} | {seen} |"


def _rules(row: Mapping[str, Any]) -> Iterator[object]:
    for route in row.get("http", ()):
        parts = {name: value for name, value in route.items() if name != "route"}
        destination = row["http"][0].get("route", [{}])[0].get("destination", {}).get("host", "")
        if destination == "nowhere":
            parts["route"] = route["route"]
        if parts:
            yield parts
    if "policy" in row:
        yield row["policy"]


def _script(upstreams: Sequence[Any]) -> str:
    """What the endpoints answer."""
    if not upstreams:
        return "no endpoint"
    return "; ".join(one if isinstance(one, str) else ", ".join(map(str, one)) or "200" for one in upstreams)


def _flow(value: object) -> str:
    """YAML in one line, without the braces around it."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False).strip()
    return text.removeprefix("{").removesuffix("}")


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
    "clients.md": clients,
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
