"""The index of rules by path finds the rule that looking at all of them finds."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from meshlib import Mesh, Workload
from meshlib._http import NO_HEADERS, RequestHead
from meshlib._snapshot.inbound import InboundRequest
from meshlib._snapshot.security import Policy

PATHS = ("/", "/a", "/a/b", "/a/b/c", "/b", "/ab", "")
written = st.sampled_from([*PATHS[:-1], "/a*", "/a/*", "/*", "*", "*b", "/{*}", "/a/{**}", "/ab*", "/b/{*}/c"])
operations = st.fixed_dictionaries(
    {},
    optional={
        "paths": st.lists(written, min_size=1, max_size=3),
        "notPaths": st.lists(written, min_size=1, max_size=1),
        "methods": st.just(["GET"]),
    },
).filter(bool)
rules = st.lists(
    st.fixed_dictionaries(
        {},
        optional={"to": st.lists(st.fixed_dictionaries({"operation": operations}), min_size=1, max_size=2)},
    ),
    min_size=1,
    max_size=8,
)


def policy(spec: list[dict[str, Any]]) -> Policy:
    resource = {
        "apiVersion": "security.istio.io/v1",
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "p", "namespace": "shop"},
        "spec": {"rules": spec},
    }
    return Mesh.load(json.loads(json.dumps([resource])), workload=Workload(namespace="shop")).snapshot.security.allow[0]


@given(rules, st.sampled_from([*PATHS, "/b/x/c", "/abc", "/A"]), st.sampled_from(["GET", "POST"]))
def test_it_finds_the_first_rule_that_matches(spec: list[dict[str, Any]], path: str, method: str) -> None:
    """Whatever rules say of paths."""
    made = policy(spec)
    request = InboundRequest(RequestHead(method, "http", "a", f"{path}?q=/a", NO_HEADERS, port=80), port=80)
    assert made.find(request) == replace(made, index=None).find(request)


def test_a_request_looks_at_the_rules_of_its_path_only() -> None:
    """And at those that say nothing of paths, in their order."""
    spec = [{"to": [{"operation": {"paths": [f"/v{number}/*", f"/x{number}"]}}]} for number in range(20)]
    spec[7] = {}
    made = policy(spec)
    assert made.index is not None
    assert made.index.candidates("/v3/a") == bits(3, 7)
    assert made.index.candidates("/v12/a") == bits(7, 12)
    assert made.index.candidates("/x19") == bits(7, 19)
    assert made.index.candidates("/") == bits(7)


def test_rules_without_paths_have_no_index() -> None:
    """It would find all of them for every path."""
    assert policy([{"to": [{"operation": {"methods": ["GET"]}}]}] * 9).index is None
    assert policy([{"to": [{"operation": {"paths": ["/a"]}}]}] * 3).index is None


def bits(*numbers: int) -> int:
    """The rules of these numbers, as the index has them."""
    return sum(1 << number for number in numbers)
