"""The walk that finds all errors agrees with the decoder that finds the first."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from meshlib._config.check import check
from meshlib._config.decode import decode
from meshlib._config.reader import read
from meshlib.diagnostics import Finding
from meshlib.model.hooks import decode_hook
from meshlib.model.kinds import KINDS, Kind, spec_class
from meshlib.model.shapes import shape_of
from tests.corpus import load_corpus

JUNK: list[Any] = [None, True, 0, -1, 1.5, 10**20, "", "x", "5s", [], {}, [None], {"a": 1}, {"exact": "a"}, "aGk="]


def valid_specs() -> list[tuple[Kind, Any]]:
    """Specs of all kinds that have no error."""
    found = []
    for case in load_corpus("validation/variations.json")["cases"]:
        for document in read(case["yaml"], "", []):
            group, _, _ = document.value["apiVersion"].rpartition("/")
            if case["expect"] == "valid":
                found.append((KINDS[group, document.value["kind"]], document.value.get("spec", {})))
    return found


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each container with a key or index in it."""
    for key in value if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from places(value[key])


@pytest.mark.parametrize("seed", range(8))
def test_both_refuse_the_same_values(seed: int) -> None:
    """Specs with one or two places replaced, removed or renamed at random: refused by both or by none."""
    chance = random.Random(seed)
    for kind, spec in valid_specs():
        broken = copy.deepcopy(spec)
        for _ in range(chance.randint(1, 2)):
            spots = list(places(broken))
            if spots:
                damage(*chance.choice(spots), chance)
        cls = spec_class(kind)
        try:
            msgspec.convert(broken, cls, dec_hook=decode_hook)
            refused = False
        except msgspec.ValidationError:
            refused = True
        assert bool(check(broken, shape_of(cls), ("spec",), kind.name)) == refused, (kind.name, broken)


@pytest.mark.parametrize("seed", range(4))
def test_no_damage_breaks_decoding(seed: int) -> None:
    """Whatever stands anywhere in a document, decoding answers with a resource or with findings."""
    chance = random.Random(seed)
    for case in load_corpus("validation/cases.json")["cases"]:
        for document in read(case["yaml"], "", []):
            damage(*chance.choice(list(places(document.value))), chance)
            findings: list[Finding] = []
            found = decode(document, findings)
            assert found is not None or any(finding.level == "error" for finding in findings), document.value


def damage(container: Any, key: Any, chance: random.Random) -> None:
    """Replace, remove or rename a part."""
    choice = chance.random()
    if choice < 0.6:
        container[key] = chance.choice(JUNK)
    elif choice < 0.8:
        del container[key]
    elif isinstance(container, dict):
        container[f"{key}x"] = container.pop(key)


def test_rules_are_tried_where_the_parts_are_right() -> None:
    """A rule between fields is reported beside an error elsewhere, and not because of it."""
    cls = spec_class(KINDS["networking.istio.io", "ServiceEntry"])
    broken = {"hosts": ["*"], "endpoints": [{"address": "1.2.3.4"}], "location": "Mars"}
    problems = check(broken, shape_of(cls), ("spec",), "ServiceEntry")
    assert [problem.code for problem in problems] == ["MESH027"]
    broken["location"] = "MESH_EXTERNAL"
    problems = check(broken, shape_of(cls), ("spec",), "ServiceEntry")
    assert [problem.message for problem in problems] == [
        "hostname cannot be wildcard",
        "NONE mode cannot set endpoints",
    ]
