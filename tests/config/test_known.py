"""A reload that reads only what has changed gives what reading everything gives."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshlib._config.known import KnownTexts
from meshlib._config.load import ConfigSet, load
from meshlib.sources import SourceText

RULE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}}}
spec:
  hosts: [{name}]
  http:
  - timeout: {seconds}s
    route: [{{destination: {{host: {name}}}}}]
"""
PIECES = [
    *(RULE.format(name=name, seconds=seconds) for name in ("a", "b", "c") for seconds in (1, 2)),
    RULE.format(name="d", seconds=3).replace("timeout: 3s", "timeout: soon"),
    RULE.format(name="e", seconds=3).replace("timeout:", "timeuot:"),
    RULE.format(name="f", seconds=3) + "...\n" + RULE.format(name="g", seconds=3),
    "kind: ServiceList\napiVersion: v1\nitems:\n- {metadata: {name: s}, spec: {ports: [{port: 1}]}}\n",
    "apiVersion: apps/v1\nkind: Unknown\nmetadata: {name: u}\n",
    "kind: [\n",
    "- just\n- a list\n",
    "# nothing but a comment\n",
    "\n\n",
    'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: "a\\/b"}\n',
    "\ufeffkind: Marked\n",
]
# Objects of one name in several texts, texts without a name of their own, and few enough texts that some stay the same.
TEXTS = st.lists(st.lists(st.sampled_from(PIECES), max_size=5).map("---\n".join), min_size=1, max_size=3)


def texts(contents: list[str], name: str = "{number}.yaml") -> list[SourceText]:
    return [SourceText(name.format(number=number), content) for number, content in enumerate(contents)]


@given(
    loads=st.lists(st.tuples(TEXTS, st.sampled_from(("default", "shop"))), min_size=2, max_size=4),
    kept=st.sets(st.integers(0, 2)),
    name=st.sampled_from(("{number}.yaml", "<text>")),
)
def test_an_incremental_load_equals_a_full_one(loads: list[tuple[list[str], str]], kept: set[int], name: str) -> None:
    """Resources, places, findings, skipped documents and their order, through any edits of any texts."""
    known, before = KnownTexts(), loads[0][0]
    for contents, namespace in loads:
        edited = [before[at] if at in kept and at < len(before) else text for at, text in enumerate(contents)]
        again = load(texts(edited, name), default_namespace=namespace, known=known)
        whole = load(texts(edited, name), default_namespace=namespace)
        assert again == whole
        before = edited
        assert [resource.rule_lines for resource in again.resources] == [one.rule_lines for one in whole.resources]


def reloaded(known: KnownTexts, *contents: str) -> ConfigSet:
    return load(texts(list(contents)), known=known)


def test_what_did_not_change_is_not_made_again() -> None:
    """The very same objects stand for the documents that stayed as they were."""
    known, one, two = KnownTexts(), PIECES[0], PIECES[2]
    before = reloaded(known, one + "---\n" + two, PIECES[4])
    after = reloaded(known, one + "---\n" + two.replace("1s", "9s"), PIECES[4])
    assert [a is b for a, b in zip(before.resources, after.resources, strict=True)] == [True, False, True]


def test_what_is_gone_is_forgotten() -> None:
    """The memory is that of one load."""
    known = KnownTexts()
    for number in range(5):
        reloaded(known, PIECES[0].replace("1s", f"{number + 1}s"))
    assert [len(text.pieces) for text in known] == [1]


def test_a_document_with_an_error_is_read_anew() -> None:
    """Its finding is there each time."""
    known, wrong = KnownTexts(), PIECES[6]
    first, second = reloaded(known, wrong), reloaded(known, wrong)
    assert first.findings == second.findings != ()
    assert [(text.found, text.pieces) for text in known] == [(None, {})]
