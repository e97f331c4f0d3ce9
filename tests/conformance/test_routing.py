"""Istio's routing, request by request: Istio's own tests, and configurations of ours answered by Istio."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.routing_corpus import Case, differences, explained, group, routing_cases
from tests.corpus import corpus_path, load_corpus

# RequestAuthentication decides these: whether the token is good, and which claims become headers.
NEEDS_AUTHENTICATION = {
    "jwt-claim-to-header-nested",
    "jwt-claim-to-header-both",
    "jwt-claim-to-header-missing-claim",
    "jwt-route-dot-invalid-token",
}


def claims_of(token: str) -> dict[str, Any]:
    """The claims of a token of the corpus, as if it had been verified."""
    for entry in load_corpus("jwt/index.json")["tokens"]:
        if entry["id"] == token:
            return dict(entry["claims"])
    raise LookupError(token)


def test_the_corpus_is_there() -> None:
    """One clear skip where it is not."""
    assert corpus_path("routing").is_dir()


@pytest.mark.parametrize("case", routing_cases("cases.json"))
def test_istio_test(case: Case) -> None:
    """A request of Istio's tests goes where Istio's tests say."""
    entry, single = group(case)
    if entry["id"] in NEEDS_AUTHENTICATION:
        pytest.skip("decided by RequestAuthentication, before routing")
    token = single["request"].get("token")
    assert differences(single["expect"], explained(case, claims_of(token) if token else None)) == []


@pytest.mark.parametrize("case", routing_cases("variations.json"))
def test_variation(case: Case) -> None:
    """A request to a configuration of ours goes where Istio's control plane sends it."""
    assert differences(group(case)[1]["expect"], explained(case)) == []
