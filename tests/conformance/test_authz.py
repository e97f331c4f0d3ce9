"""Authorization as Istio decides it: its golden policies, its integration tests, and policies of ours."""

from __future__ import annotations

from typing import Any

import pytest

from meshlib._engine.path_normalization import BadPathError, normalize_path
from tests.conformance.authz_corpus import Case, authz_cases, decide, token_text
from tests.corpus import has_corpus, load_corpus


@pytest.mark.parametrize("case", authz_cases("requests.json", "cases"))
def test_golden_policy(case: Case) -> None:
    """A request to a workload with one of Istio's golden policies."""
    decision, _, entry = decide(case)
    assert decision.allowed == (entry["expect"] == "allow"), decision.reason
    if "audited" in entry:
        assert decision.audited == entry["audited"]


@pytest.mark.parametrize("case", authz_cases("variations.json"))
def test_variation(case: Case) -> None:
    """A request to a workload with policies of ours is decided as by the RBAC that Istio makes of them."""
    decision, _, entry = decide(case)
    assert decision.allowed == (entry["expect"] == "allow"), decision.reason


@pytest.mark.parametrize("case", authz_cases("integration.json"))
def test_integration(case: Case) -> None:
    """A request of Istio's integration tests."""
    decision, _, entry = decide(case)
    if "expect_status" in entry:
        assert (decision.status if not decision.allowed else 200) == entry["expect_status"], decision.reason
    else:
        assert decision.allowed == (entry["expect"] == "allow"), decision.reason
    changed = dict(decision.set_headers)
    sent = {**{name.lower(): value for name, value in (entry["request"].get("headers") or {}).items()}, **changed}
    if "token" in entry["request"]:
        sent["authorization"] = f"Bearer {token_text(entry['request']['token'])}"
    left = {name: value for name, value in sent.items() if name in changed or name not in decision.remove_headers}
    for name, value in (entry.get("expect_request_headers") or {}).items():
        assert left.get(name.lower()) == value
    for name in entry.get("expect_absent_request_headers") or ():
        assert name.lower() not in left


def normalizations() -> list[Any]:
    if not has_corpus("authz/normalization.json"):
        return [pytest.param(None, marks=pytest.mark.skip(reason="conformance corpus not found"))]
    return [pytest.param(entry, id=entry["id"]) for entry in load_corpus("authz/normalization.json")["cases"]]


@pytest.mark.parametrize("entry", normalizations())
def test_path_normalization(entry: dict[str, Any]) -> None:
    """The path that policies and the application see."""
    if "expect_status" in entry:
        with pytest.raises(BadPathError):
            normalize_path(entry["path"], entry["normalization"])
    else:
        assert normalize_path(entry["path"], entry["normalization"]) == entry["expect"]
