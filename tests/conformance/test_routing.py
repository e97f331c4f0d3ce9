"""Istio's routing, request by request: Istio's own tests, and configurations of ours answered by Istio."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from meshlib._authorize import GivenKeys
from tests.conformance.routing_corpus import Case, differences, explained, group, routing_cases
from tests.corpus import corpus_path

NOW = datetime(2026, 11, 1, tzinfo=UTC).timestamp()


def test_the_corpus_is_there() -> None:
    """One clear skip where it is not."""
    assert corpus_path("routing").is_dir()


@pytest.mark.parametrize("case", routing_cases("cases.json"))
def test_istio_test(case: Case) -> None:
    """A request of Istio's tests goes where Istio's tests say."""
    assert differences(group(case)[1]["expect"], explained(case, GivenKeys(), NOW)) == []


@pytest.mark.parametrize("case", routing_cases("variations.json"))
def test_variation(case: Case) -> None:
    """A request to a configuration of ours goes where Istio's control plane sends it."""
    assert differences(group(case)[1]["expect"], explained(case)) == []
