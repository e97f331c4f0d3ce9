"""Retry headers that a route sets: read by the router and taken off (each row played on Envoy 1.40)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meshlib import Mesh

TARGET = {"destination": {"host": "a.example.com"}}


def told(*routes: dict[str, Any], **rule: Any) -> dict[str, Any]:
    """What explain says of a route with such a rule."""
    resource = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "a", "namespace": "default"},
        "spec": {"hosts": ["a.example.com"], "http": [{"route": list(routes) or [TARGET], **rule}]},
    }
    mesh = Mesh.load(f"# one resource\n{json.dumps(resource)}\n")
    return dict(mesh.explain("GET", "http://a.example.com/").to_json())


def set_headers(**fields: str) -> dict[str, Any]:
    return {"request": {"set": {f"x-envoy-{name.replace('_', '-')}": value for name, value in fields.items()}}}


OFF = {"attempts": 0}
RESET = {"attempts": 4, "retryOn": "reset"}


@pytest.mark.parametrize(
    ("fields", "retries", "attempts", "conditions"),
    [
        ({"retry_on": "5xx"}, OFF, 1, {"5xx"}),
        ({"retry_on": "foo, 5xx"}, OFF, 1, {"5xx"}),
        ({"retry_on": "retriable-4xx"}, RESET, 4, {"reset", "retriable-4xx"}),
        ({"retry_grpc_on": "internal"}, RESET, 4, {"reset", "internal"}),
        ({"retry_on": "internal"}, RESET, 4, {"reset"}),
        ({"max_retries": "1"}, RESET, 1, {"reset"}),
        ({"max_retries": "x"}, RESET, 4, {"reset"}),
        ({"max_retries": "4294967296"}, RESET, 4, {"reset"}),
        ({"max_retries": "9" * 5000}, RESET, 4, {"reset"}),
        ({"retriable_status_codes": "9" * 5000}, RESET, 4, {"reset"}),
        ({"max_retries": "7", "retry_on": "5xx"}, OFF, 7, {"5xx"}),
    ],
)
def test_a_route_asks_for_retries_by_headers(
    fields: dict[str, str], retries: dict[str, Any], attempts: int, conditions: set[str]
) -> None:
    """They are added to its policy, and the number takes the place of the policy's."""
    found = told(headers=set_headers(**fields), retries=retries)
    assert (found["retries"]["attempts"], set(found["retries"]["retry_on"])) == (attempts, conditions)
    assert not [name for name in found["upstream"]["headers"] if name.startswith("x-envoy-")]


def test_a_number_of_retries_alone_asks_for_none() -> None:
    """Without any condition there is nothing to repeat."""
    assert told(headers=set_headers(max_retries="3"), retries=OFF)["retries"] is None


def test_status_codes_need_their_condition() -> None:
    """Istio's default policy has it, one that is written may not."""
    assert told(headers=set_headers(retriable_status_codes="404, 409"))["retries"]["retriable_status_codes"] == [
        404,
        409,
    ]
    written = told(headers=set_headers(retriable_status_codes="404"), retries=RESET)
    assert written["retries"]["retriable_status_codes"] == []


def test_a_destination_asks_too() -> None:
    """One of several, as long as all ask for the same."""
    asking = {**TARGET, "headers": set_headers(retry_on="5xx"), "weight": 50}
    for routes in ([asking], [asking, asking]):
        assert told(*routes, retries=OFF)["retries"]["retry_on"] == ["5xx"]


def test_what_is_added_counts_beside_what_is_set() -> None:
    """The two values of a field are one list."""
    headers = {"request": {"set": {"x-envoy-retry-on": "reset"}, "add": {"x-envoy-retry-on": "5xx"}}}
    assert set(told(headers=headers, retries=OFF)["retries"]["retry_on"]) == {"reset", "5xx"}
