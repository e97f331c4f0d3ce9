"""Failover tiers and locality weights: what Istio generates, and what Envoy makes of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meshlib import Mesh, Workload
from meshlib._compile.localities import arrange, viewpoint
from meshlib._engine.balancing.loads import TierSize, effective_weight, spread
from meshlib._engine.picks import pick_locked
from meshlib._engine.state import State
from meshlib._engine.xxh64 import xxh64
from meshlib._random import system_chance
from meshlib._snapshot.clusters import Cluster, Endpoint, Locality, LocalityShare, Maglev, RingHash, TrafficPolicy
from meshlib._snapshot.snapshot import Snapshot
from meshlib.testing import VirtualClock
from tests.corpus import CORPUS, load_own

TABLE = load_own("localities.json")["cases"]

REGISTRY = """
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: zz-registry, namespace: default}}
spec:
  hosts: [a.example.com]
  location: MESH_EXTERNAL
  resolution: STATIC
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  endpoints: {endpoints}
"""


def with_mesh(resources: str, mesh: str) -> str:
    if not mesh:
        return resources
    body = "".join(f"    {line}\n" for line in mesh.splitlines())
    head = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata:\n  mesh: |\n"
    return f"{resources}\n---\n{head}{body}"


@pytest.mark.parametrize("case", TABLE, ids=lambda case: case["id"])
@pytest.mark.filterwarnings("ignore")
def test_tiers_and_weights(case: dict[str, Any]) -> None:
    """As Istio's control plane generates them for the workload, for every subset."""
    mesh = Mesh.load(with_mesh(case["resources"], case["mesh"]), workload=Workload(**case["workload"]))
    clusters = mesh.runtime.published.snapshot.clusters
    got = {
        name: {
            "priorities": {one.address: one.priority for one in clusters[name].endpoints},
            "weights": sorted(
                [share.priority, str(share.locality), share.weight] for share in clusters[name].localities
            ),
        }
        for name in case["expect"]
    }
    assert got == case["expect"]


def semantics() -> list[Any]:
    if not CORPUS.is_dir():
        return []
    every = json.loads((CORPUS.parent / "semantics-cases.json").read_text(encoding="utf-8"))
    return [pytest.param(case, id=case["id"]) for case in every if case["area"] == "locality"]


def compiled(config: str, endpoints: list[dict[str, Any]], client: dict[str, Any]) -> Cluster:
    written = [{name: value for name, value in one.items() if name != "name" and value} for one in endpoints]
    workload = Workload(locality=client.get("locality", ""), labels=client.get("labels", {}))
    mesh = Mesh.load(config + REGISTRY.format(endpoints=json.dumps(written)), workload=workload)
    return next(one for name, one in mesh.runtime.published.snapshot.clusters.items() if name.endswith("a.example.com"))


@pytest.mark.parametrize("case", semantics())
def test_pinned_case(case: dict[str, Any]) -> None:
    """Priorities, loads, locality weights."""
    given, expect = case["given"], case["expect"]
    if "load_percent" in expect:
        assert (
            spread([TierSize(tier["healthy"], tier["total"]) for tier in given["priorities"]]) == expect["load_percent"]
        )
    if "priorities" in expect:
        endpoints = [{"address": f"10.0.0.{n + 1}", **one} for n, one in enumerate(given["endpoints"])]
        cluster = compiled(case["config"], endpoints, given["client"])
        tiers = {one.address: one.priority for one in cluster.endpoints}
        assert {one["name"]: tiers[one["address"]] for one in endpoints} == expect["priorities"]
    if "locality_weights" in expect:
        endpoints = [{"address": f"10.0.0.{n + 1}", **one} for n, one in enumerate(given["groups"])]
        cluster = compiled(case["config"], endpoints, given["client"])
        weights = {str(share.locality): share.weight for share in cluster.localities}
        assert weights == {name: weight for name, weight in expect["locality_weights"].items() if weight is not None}
    if "effective_weights" in expect:
        weights = {"x": 34, "y": 66}
        got = {
            group["locality"]: effective_weight(weights[group["locality"]], group["available"], group["total"])
            for group in given["groups"]
        }
        assert {name: value * 100 for name, value in got.items()} == pytest.approx(expect["effective_weights"])


@pytest.mark.parametrize(
    ("tiers", "threshold", "loads"),
    [
        ([(72, 100), (100, 100)], 0, [100, 0]),
        ([(71, 100), (100, 100)], 0, [99, 1]),
        ([(50, 100), (100, 100)], 0, [70, 30]),
        ([(25, 100), (100, 100)], 0, [35, 65]),
        ([(0, 100), (100, 100)], 0, [0, 100]),
        ([(25, 100), (25, 100)], 0, [50, 50]),
        ([(25, 100), (25, 100), (100, 100)], 0, [35, 35, 30]),
        ([(1, 10), (1, 10), (1, 10)], 0, [34, 33, 33]),
        ([(0, 4), (0, 4)], 0, [0, 0]),
        ([(0, 4), (0, 12)], 50, [25, 75]),
        ([(1, 10), (1, 10)], 50, [50, 50]),
        ([(0, 1), (0, 2)], 1, [34, 66]),
    ],
)
def test_the_load_of_each_tier(tiers: list[tuple[int, int]], threshold: float, loads: list[int]) -> None:
    """Overprovisioning 1.4, spill, rounding to the first that is available, panic by size (semantics 4.6, 4.9)."""
    assert spread([TierSize(*tier) for tier in tiers], threshold) == loads


def test_a_workload_says_where_it_is_by_locality_or_by_label() -> None:
    """The label wins, with dots for slashes, as in Istio."""
    endpoints = (Endpoint(address="10.0.0.1", port=1, locality=Locality("a", "b", "")),)
    here = viewpoint(Workload(locality="r/z/s", labels={"istio-locality": "a.b"}))
    assert here.locality == Locality("a", "b", "")
    assert here.labels["topology.kubernetes.io/region"] == "a"
    assert arrange(endpoints, None, here) == (endpoints, ())


@pytest.mark.parametrize("group", load_own("locality_hash.json")["groups"], ids=lambda group: group["id"])
def test_hashing_over_localities_and_tiers_picks_as_envoy_does(group: dict[str, Any]) -> None:
    """Weights of localities within one table, unhealthy endpoints, and tiers chosen by the hash."""
    places = group["localities"]
    cluster = Cluster(
        name="c",
        host="c",
        port=80,
        endpoints=tuple(
            Endpoint(
                address="127.0.0.1",
                port=25100 + number,
                locality=Locality("r", place["zone"], ""),
                priority=place["priority"],
                healthy=place["healthy"],
            )
            for place in places
            for number in place["endpoints"]
        ),
        localities=tuple(
            LocalityShare(one["priority"], Locality("r", one["zone"], ""), one["weight"]) for one in places
        ),
        policy=TrafficPolicy(balancer=RingHash() if group["policy"] == "RING_HASH" else Maglev()),
    )
    live = State(system_chance(1), VirtualClock()).bind(Snapshot(clusters={"c": cluster}), {}, 0.0)["c"]
    got = {}
    for user in group["picks"]:
        host = pick_locked(live, xxh64(user.encode()))
        assert host is not None
        got[user] = host.endpoint.port - 25100
    assert got == group["picks"]
