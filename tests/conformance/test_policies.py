"""The effective traffic policy of destinations, as Istio's control plane computes it."""

from __future__ import annotations

import pytest

from tests.conformance.routing_corpus import Case, differences, explained, group, routing_cases
from tests.corpus import corpus_path


def test_the_corpus_is_there() -> None:
    """One clear skip where it is not."""
    assert corpus_path("routing").is_dir()


@pytest.mark.parametrize("case", routing_cases("policies.json"))
def test_policy(case: Case) -> None:
    """The destination of a request has the policy that Istio gives it."""
    assert differences(group(case)[1]["expect"], explained(case)) == []
