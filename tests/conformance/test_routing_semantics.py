"""The pinned cases of host resolution, selection, matching and mutation: real YAML, one request each."""

from __future__ import annotations

import json
from typing import Any

import pytest
from multidict import CIMultiDict

from meshlib import Mesh, Workload
from meshlib._explain import Explanation
from meshlib._explain.policy_view import policy_view
from meshlib._snapshot.clusters import Cluster, Discovery
from tests.corpus import CORPUS, corpus_path

ROUTED = ("hosts", "vs-select", "match", "rewrite", "redirect", "headers", "delegate", "cors", "mirror", "fault")


def cases(*areas: str) -> list[Any]:
    """The cases of some areas; those about validation belong elsewhere."""
    if not CORPUS.is_dir():
        return []
    every = json.loads((CORPUS.parent / "semantics-cases.json").read_text(encoding="utf-8"))
    wanted = [case for case in every if case["area"] in areas and "errors" not in case["expect"]]
    return [pytest.param(case, id=case["id"]) for case in wanted]


def mesh_of(case: Any, client: Any) -> Mesh:
    return Mesh.load(case["config"], workload=Workload(namespace=client["namespace"], labels=client["labels"]))


def explained(case: Any, given: Any, client: Any) -> Explanation:
    """What the mesh says of a request."""
    fields = given.get("headers") or {}
    headers = CIMultiDict(fields if isinstance(fields, dict) else [tuple(pair) for pair in fields])
    return mesh_of(case, client).explain(given["method"], given["url"], headers=headers)


def cluster_key(found: Explanation) -> str | None:
    return (
        "PassthroughCluster" if found.outcome == "passthrough" else found.targets[0].cluster if found.targets else None
    )


def failure(found: Explanation) -> tuple[int | None, set[str]]:
    """Status and flags of what explain says will fail, as the engine would answer it."""
    if found.outcome == "not_found":
        return 404, {"NR"}
    if found.outcome == "abort":
        return found.status, {"FI"}
    if found.targets and found.targets[0].endpoints is None:
        return 503, {"NC"}
    if found.targets and found.targets[0].endpoints == 0:
        return 503, {"UH"}
    return found.status, set()


def test_the_corpus_is_there() -> None:
    """One clear skip where it is not."""
    assert corpus_path("../semantics-cases.json").is_file()


@pytest.mark.parametrize("case", cases(*ROUTED, "direct"))
def test_request(case: Any) -> None:
    """The request goes where the case says, changed as it says."""
    found = explained(case, case["request"], case["request"]["client"])
    expect = case["expect"]
    if "cluster" in expect:
        assert cluster_key(found) == expect["cluster"]
    if "route" in expect:
        assert found.route == expect["route"]
    if "flags" in expect and "DI" not in expect["flags"]:
        assert failure(found) == (expect["status"], set(expect["flags"]))
    elif found.outcome in ("redirect", "direct_response", "cors_preflight"):
        assert found.status == expect["status"]
    check_mutations(expect, found)
    check_reply(expect, found)


def check_mutations(expect: Any, found: Explanation) -> None:
    """What the destination sees, and how long it may take."""
    if "path" in expect:
        assert found.targets[0].upstream.path == expect["path"]
    if "host" in expect:
        assert found.targets[0].upstream.host == expect["host"]
    sent = found.targets[0].upstream.headers if found.targets else {}
    for name in {name for name, _ in expect.get("upstream_headers", ())}:
        assert sent[name] == tuple(value for key, value in expect["upstream_headers"] if key == name)
    assert not set(expect.get("upstream_headers_absent", ())) & set(sent)
    if "timeout_ms" in expect:
        assert found.timeout is not None
        assert found.timeout * 1000 == pytest.approx(expect["timeout_ms"])
    if "delay_ms" in expect:
        seconds = found.fault.delay.seconds if found.fault is not None and found.fault.delay is not None else 0.0
        assert seconds * 1000 == pytest.approx(expect["delay_ms"])


def check_reply(expect: Any, found: Explanation) -> None:
    """What the mesh answers itself."""
    if "body" in expect and found.body is not None:
        assert found.body.decode() == expect["body"]
    for name, value in expect.get("headers", {}).items() if found.response_headers is not None else ():
        assert found.response_headers is not None
        assert found.response_headers.get(name) == (value,)
    if found.response_headers is not None:
        assert not set(expect.get("headers_absent", ())) & set(found.response_headers)


@pytest.mark.parametrize("case", cases("weights"))
def test_weights(case: Any) -> None:
    """The shares of the destinations in the long run."""
    request = {"method": "GET", "url": "http://shop.example.com/"}
    found = explained(case, request, {"namespace": "default", "labels": {}})
    total = sum(target.weight for target in found.targets)
    assert {target.cluster: target.weight / total for target in found.targets} == pytest.approx(
        case["expect"]["distribution"]
    )


def cluster_of(case: Any) -> Cluster:
    """The cluster that a case asks about."""
    given = case["given"]
    service = given["service"]
    snapshot = mesh_of(case, given["client"]).snapshot
    return snapshot.clusters[f"outbound|{service['port']}|{given.get('subset', '')}|{service['host']}"]


@pytest.mark.parametrize("case", cases("dr-select", "dr-policy"))
def test_destination_policy(case: Any) -> None:
    """The rule that is chosen, and what comes of it."""
    cluster, expect = cluster_of(case), case["expect"]
    if "subset_labels" in expect:
        assert cluster.subset_labels == expect["subset_labels"]
    if "endpoints" in expect:
        assert [endpoint.key for endpoint in cluster.endpoints] == expect["endpoints"]
    view = policy_view(cluster)
    for path, value in expect.get("policy", {}).items():
        assert view[path] == (10.0 if value == "10s" else value)


@pytest.mark.parametrize("case", cases("registry"))
def test_registry(case: Any) -> None:
    """What the configuration knows of services, and what a workload sees of them."""
    given, expect = case["given"], case["expect"]
    if "request" in given:
        found = explained(case, given["request"], given["client"])
        assert cluster_key(found) == expect.get("cluster", cluster_key(found))
        assert found.route == expect.get("route", found.route)
        assert found.status == expect.get("status", found.status)
        return
    cluster = cluster_of(case)
    addresses = [endpoint.key for endpoint in cluster.endpoints]
    assert cluster.protocol == expect.get("protocol", cluster.protocol)
    assert addresses == expect.get("endpoints", expect.get("resolve", addresses))
    assert "resolve" not in expect or cluster.discovery is Discovery.DNS
