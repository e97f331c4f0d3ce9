"""What the documentation shows is true: its code runs, its links lead somewhere, its tables are current."""

from __future__ import annotations

import contextvars
import re
from pathlib import Path

import pytest

from docs import generate
from tests.documents import PAGES, ROOT, opened

IDS = [str(page.relative_to(ROOT)) for page in PAGES]
TEXTS = sorted([*PAGES, ROOT / "CONTRIBUTING.md", *ROOT.glob("examples/*/*.md"), *ROOT.glob("benchmarks/*.md")])
LINK = re.compile(r"\]\((?!https?://|mailto:|#)([^)#\s]+)")
FEATURES = sorted(ROOT.glob("docs/features/*.md"))
HEADINGS = ["Usage", "Defaults", "Events", "Differences from Istio", "Pitfalls"]


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_code_of_the_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every Python block of a page runs, on the YAML that the page shows."""
    monkeypatch.chdir(tmp_path)
    with opened(page, tmp_path) as document:
        contextvars.copy_context().run(document.run)  # a request that a page never leaves is nobody else's


@pytest.mark.parametrize("page", TEXTS, ids=[str(page.relative_to(ROOT)) for page in TEXTS])
def test_links_of_the_page_lead_to_files(page: Path) -> None:
    """Every relative link names a file of the repository."""
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", FEATURES, ids=[page.stem for page in FEATURES])
def test_feature_pages_have_the_same_headings(page: Path) -> None:
    """Usage, defaults, events, differences, pitfalls: in this order on every feature page."""
    headings = re.findall(r"^## (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == HEADINGS


@pytest.mark.parametrize("name", generate.PAGES)
def test_generated_pages_are_current(name: str) -> None:
    """The committed page is what the code says now; after a change run `python docs/generate.py`."""
    assert (generate.REFERENCE / name).read_text(encoding="utf-8") == generate.render(name)


def test_readme_has_two_set_up_commands() -> None:
    """One for the demo, one for the tests; `.ci/run` runs the latter as it stands."""
    commands = re.findall(r"^python3 .*nox.*$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert [command.rpartition(" nox -s ")[2] for command in commands] == ["demo", "tests"]
