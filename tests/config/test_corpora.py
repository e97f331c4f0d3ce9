"""All YAML of the corpus loads: with the resources that are promised, and without errors where Istio has none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from meshlib._config.decode import decode
from meshlib._config.reader import read
from meshlib.diagnostics import Finding
from tests.config.loading import errors, load_text
from tests.corpus import CORPUS, corpus_path, load_corpus

SEED = load_corpus("seed/index.json")["documents"]
SAMPLES = load_corpus("samples/index.json")["files"]
FOREIGN = {"ServiceMonitor", "NetworkPolicy", "HorizontalPodAutoscaler"}
READ_AS = {"seed/25-configmap-istio.yaml": {"MeshConfig": 1}}


@pytest.mark.parametrize("document", SEED, ids=lambda document: document["file"])
def test_the_founding_article_loads(document: dict[str, Any]) -> None:
    """Each of its 27 documents is read without an error, or skipped by name."""
    config = load_text(corpus_path(document["file"]).read_bytes())
    kinds = Counter(resource.kind for resource in config.resources) + Counter(one.kind for one in config.skipped)
    assert errors(config) == []
    assert kinds == READ_AS.get(document["file"], Counter(document["kinds"]))
    assert {one.kind for one in config.skipped} <= FOREIGN


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample["file"])
def test_istios_samples_load(sample: dict[str, Any]) -> None:
    """Every document of a sample is a resource or is skipped, and each skipped one is said to be."""
    config = load_text(corpus_path(sample["file"]).read_bytes())
    kinds = Counter(resource.kind for resource in config.resources) + Counter(one.kind for one in config.skipped)
    assert errors(config) == []
    assert kinds == Counter(sample["kinds"])
    assert sum(finding.code == "MESH029" for finding in config.findings) == len(config.skipped)


def documents() -> Iterator[Any]:
    """The documents of the files that Istio has judged."""
    for entry in load_corpus("validation/files.json")["files"]:
        read_documents = read(corpus_path(entry["file"]).read_bytes(), entry["file"], [])
        for document, expected in zip(read_documents, entry["docs"], strict=True):
            yield pytest.param(document, expected, id=f"{entry['file']}:{expected['doc']}")


@pytest.mark.parametrize(("document", "expected"), list(documents()))
def test_documents_of_files_are_judged_as_by_the_schema(document: Any, expected: dict[str, Any]) -> None:
    """All 88 documents of Istio's own schema tests get Istio's verdict."""
    document.value.pop("_err", None)
    findings: list[Finding] = []
    decode(document, findings)
    found = [finding for finding in findings if finding.level == "error"]
    assert expected["expect"] == "either" or ("invalid" if found else "valid") == expected["expect"], found


def test_no_file_of_the_corpus_breaks_the_loader() -> None:
    """Every YAML file there is, resource or not, gives findings at most."""
    corpus_path()
    for path in sorted(CORPUS.rglob("*.yaml")):
        config = load_text(path.read_bytes(), path.name)
        assert all(finding.message and finding.hint for finding in config.findings)


@pytest.mark.parametrize("name", ["routing/cases", "routing/variations", "routing/policies", "authz/variations"])
def test_configurations_of_the_tables_have_no_errors(name: str) -> None:
    """What Istio routes and authorizes by is decoded whole."""
    for text in texts(load_corpus(f"{name}.json")):
        assert errors(load_text(text)) == []


def texts(value: Any) -> Iterator[str]:
    """Every string in a table that is a resource."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from texts(part)
    elif isinstance(value, str) and "apiVersion:" in value:
        yield value
