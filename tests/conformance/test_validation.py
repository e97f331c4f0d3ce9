"""What Istio's admission says of single resources: the verdicts of its own tests, and of our variations."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from tests.config.loading import errors, load_text
from tests.corpus import CORPUS, load_corpus

ISTIO_WARNS: Final = "MESH085"
# The webhook decodes the content of a patch by Envoy's own protocol buffers, of which there are thousands; meshlib
# applies no EnvoyFilter and says so of each.
ENVOYS_OWN: Final = ("can't unmarshal Any nested proto", "json: cannot unmarshal")


def judged(name: str) -> list[Any]:
    """The cases of a table that have one verdict."""
    return [
        pytest.param(case, id=case["id"])
        for case in load_corpus(f"validation/{name}.json")["cases"]
        if case["expect"] != "either" and not is_envoys_own(case)
    ]


def is_envoys_own(case: dict[str, Any]) -> bool:
    """Whether the refusal is one of Envoy's protocol buffers."""
    messages = case.get("errors") or ()
    return any(one.startswith("Envoy filter: ") and part in one for one in messages for part in ENVOYS_OWN)


@pytest.mark.parametrize("case", [*judged("cases"), *judged("variations")])
def test_a_resource_is_judged_as_by_istio(case: dict[str, Any]) -> None:
    """Refused where the API server or the webhook refuses it, and warned about where Istio warns."""
    config = load_text(case["yaml"])
    found = errors(config)
    assert ("invalid" if found else "valid") == case["expect"], found or case.get("errors")
    refused_by_schema = any(one.code < "MESH070" for one in found)
    if case.get("warning") is not None and not refused_by_schema:
        assert any(one.code == ISTIO_WARNS for one in config.findings) == case["warning"], config.findings


def test_few_verdicts_are_left_out() -> None:
    """Envoy's own protocol buffers, and nothing else."""
    cases = load_corpus("validation/variations.json")["cases"]
    left_out = [case["id"] for case in cases if is_envoys_own(case)]
    assert len(left_out) <= len(cases) / 200


def refused_by_the_webhook() -> list[Any]:
    """The cases that no schema refuses."""
    return [case for case in judged("variations") if case.values[0].get("errors") and not case.values[0].get("schema")]


@pytest.mark.parametrize("case", refused_by_the_webhook())
def test_a_refusal_says_what_istio_says(case: dict[str, Any]) -> None:
    """The first words of a message are Istio's, unless our schema is where the rule is."""
    said = " ".join(" ".join(case["errors"]).split())
    rules = [one.message for one in errors(load_text(case["yaml"])) if one.code >= "MESH070"]
    assert not rules or any(" ".join(message.split()[:3]) in said for message in rules), (said, rules)


def pinned() -> list[Any]:
    """The pinned cases about validation."""
    path = CORPUS.parent / "semantics-cases.json"
    cases = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    return [pytest.param(case, id=case["id"]) for case in cases if case["area"] == "validate"]


@pytest.mark.parametrize("case", pinned())
def test_pinned_cases_of_validation(case: dict[str, Any]) -> None:
    """Every listed text is in a finding of its level; an empty list means that there is none."""
    findings = load_text(case["config"]).findings
    for level, codes in (("error", None), ("warning", ISTIO_WARNS)):
        wanted = case["expect"].get(f"{level}s")
        said = [one.message for one in findings if one.level == level and codes in (None, one.code)]
        assert wanted or not said
        for text in wanted or ():
            assert any(text in message for message in said)
