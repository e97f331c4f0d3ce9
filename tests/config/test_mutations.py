"""Valid resources, changed at random: whatever comes of it is findings, never a crash."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from typing import Any, Final

import pytest

from meshlib._analyze.analysis import analyze
from meshlib._config.load import load
from meshlib._config.reader import read
from meshlib.sources.files import expand
from meshlib.sources.static import SourceText
from tests.config.loading import load_text
from tests.corpus import load_corpus

MUTATIONS: Final = 400
SEEDS: Final = range(4)
VALUES: Final[tuple[Any, ...]] = (
    *("", "*", "*.a.com", "a..b", "-a", "a" * 300, "10.0.0.0/33", "fe80::1%eth0", "unix://", "ns/", "~/*", "/{**}/{*}"),
    *("(", "[a-z", "a{9999}", "%", "%REQ(", "%%", "1 +", "'x", "5xx,,", "0s", "-1s", "1e9h", "é", "\u0000", "\ud800"),
    *(None, True, 0, -1, 1.5, 2**64, 1e308, [], {}, [[]], {"a": {"b": []}}, [None], {"": ""}),
)


def valid_resources() -> list[Any]:
    """The valid cases that Istio's tests and our variations have."""
    cases = load_corpus("validation/variations.json")["cases"]
    return [case["yaml"] for case in cases if case["expect"] == "valid"]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in items:
        yield (*path, key)
        yield from places(one, (*path, key))


def changed(document: Any, chance: random.Random) -> Any:
    """Up to three values replaced, removed, repeated or renamed."""
    document = copy.deepcopy(document)
    for _ in range(chance.randint(1, 3)):
        path = chance.choice(list(places(document)))
        parent = document
        for key in path[:-1]:
            parent = parent[key]
        match chance.randrange(4):
            case 0 | 1:
                parent[path[-1]] = chance.choice(VALUES)
            case 2 if isinstance(parent, list):
                parent.append(copy.deepcopy(parent[path[-1]]))
            case 2:
                parent[f"{path[-1]}x"] = parent.pop(path[-1])
            case _:
                del parent[path[-1]]
        if not document:
            return document
    return document


def as_text(document: Any) -> bytes:
    """The document as JSON, in which half a character is written as an escape."""
    return json.dumps(document, ensure_ascii=False).encode("utf-8", "backslashreplace")


@pytest.mark.parametrize("seed", SEEDS)
def test_mutations_of_valid_resources_give_findings_at_most(seed: int) -> None:
    """Each finding says what is wrong and what to do; run by hand with 20,000 before a release."""
    chance = random.Random(seed)
    documents = [load_yaml(text) for text in chance.sample(valid_resources(), 100)]
    for _ in range(MUTATIONS):
        config = load_text(as_text(changed(chance.choice(documents), chance)))
        assert all(one.message and one.hint and one.code for one in config.findings)


@pytest.mark.parametrize("seed", SEEDS)
def test_mutations_as_values_give_findings_at_most(seed: int) -> None:
    """Resources as mappings, which may hold what no text does."""
    chance = random.Random(seed)
    documents = [load_yaml(text) for text in chance.sample(valid_resources(), 100)]
    for _ in range(MUTATIONS):
        (text,) = expand([changed(chance.choice(documents), chance)])
        config = load([text])
        assert all(one.message and one.hint and one.code for one in config.findings)


@pytest.mark.parametrize("seed", SEEDS)
def test_mutations_are_analyzed(seed: int) -> None:
    """What cannot be decoded is analyzed as far as it goes."""
    chance = random.Random(seed)
    documents = [load_yaml(text) for text in chance.sample(valid_resources(), 100)]
    for _ in range(MUTATIONS // 10):
        chosen = [changed(chance.choice(documents), chance) for _ in range(5)]
        findings = analyze([SourceText("a.yaml", b"\n---\n".join(map(as_text, chosen)))]).findings
        assert all(one.message and one.hint and one.code for one in findings)


def load_yaml(text: str) -> Any:
    """The plain values of a resource, as our own reader reads them."""
    (document,) = read(text.encode(), "a", [])
    return document.value


REGEX = (
    '{"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "a"}, "spec": '
    '{"hosts": ["a"], "http": [{"match": [{"uri": {"regex": "%s"}}], "route": [{"destination": {"host": "a"}}]}]}}'
)


def test_half_a_character_in_json_crashed() -> None:
    """Escaped it is U+FFFD, as to Go; a byte that is no UTF-8 is an error, and so is a value that holds half of one."""
    assert load_text(REGEX % r"\ud83d").findings == ()
    assert [one.code for one in load_text((REGEX % "?").encode().replace(b"?", b"\xff")).findings] == ["MESH002"]
    (text,) = expand([json.loads(REGEX % r"\ud83d")])
    assert [one.code for one in load([text]).findings] == ["MESH003"]
