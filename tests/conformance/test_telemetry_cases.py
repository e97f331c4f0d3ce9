"""The cases of area telemetry in semantics-cases.json."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meshlib import Mesh, Workload
from meshlib.telemetry.peers import canonical_revision, canonical_service
from tests.corpus import CORPUS

CASES = CORPUS.parent / "semantics-cases.json"


def cases() -> list[Any]:
    if not CASES.is_file():
        return [pytest.param(None, marks=pytest.mark.skip(reason=f"conformance corpus not found at {CORPUS}"))]
    entries = json.loads(CASES.read_text(encoding="utf-8"))
    return [pytest.param(entry, id=entry["id"]) for entry in entries if entry["area"] == "telemetry"]


@pytest.mark.parametrize("case", cases())
def test_telemetry(case: dict[str, Any]) -> None:
    """Sampling, merged overrides, access logs, canonical names."""
    given = case["given"]["workload"]
    workload = Workload(namespace=given["namespace"], labels=given["labels"], name=given.get("name", ""))
    found = Mesh.load(case["config"], workload=workload).snapshot.telemetry
    expect = case["expect"]
    metric = expect.get("metric", "istio_requests_total").removeprefix("istio_")
    tags = found.client_metrics.change(metric).tags
    answers = {
        "sampling_percent": found.client_tracing.sampling,
        "metric": f"istio_{metric}",
        "added_tags": {name: value for name, value in tags.items() if value is not None},
        "removed_tags": [name for name, value in tags.items() if value is None],
        "metrics_filter_present": found.client_metrics.enabled,
        "access_log_enabled": bool(found.client_logs),
        "canonical_service": canonical_service(workload.labels, workload.name),
        "canonical_revision": canonical_revision(workload.labels),
    }
    assert {name: answers[name] for name in expect} == expect
