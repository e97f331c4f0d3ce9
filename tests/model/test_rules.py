"""Rules between the fields of one message, in the words of Istio where Istio has them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from meshlib.model.hooks import decode_hook
from meshlib.model.kinds import kind_named, spec_class
from meshlib.model.request_authentication import JWTRule
from meshlib.model.virtual_service import HTTPRoute

JWT = {"issuer": "a"}
BOTH = {"simple": "RANDOM", "consistentHash": {}}
REFUSED: list[tuple[str, Any, str]] = [
    ("ServiceEntry", {"hosts": ["*"]}, "hostname cannot be wildcard"),
    ("ServiceEntry", {"hosts": ["a"], "endpoints": []}, "NONE mode cannot set endpoints"),
    ("ServiceEntry", {"hosts": ["a"], "resolution": "DNS", "addresses": ["1.0.0.0/8"]}, "CIDR addresses are allowed"),
    ("WorkloadEntry", {}, "Address is required"),
    ("WorkloadEntry", {"address": "unix://a"}, "UDS must be an absolute path"),
    ("WorkloadEntry", {"address": "unix:///a", "ports": {"a": 1}}, "UDS may not include ports"),
    ("WorkloadGroup", {"template": {}, "probe": {"grpc": {}, "exec": {"command": ["a"]}}}, "at most one of httpGet"),
    ("DestinationRule", {"host": "a", "trafficPolicy": {"loadBalancer": BOTH}}, "at most one of simple"),
    ("PeerAuthentication", {"portLevelMtls": {"80": {}}}, "portLevelMtls requires selector"),
    ("RequestAuthentication", {"jwtRules": [{**JWT, "jwks": "a", "jwks_uri": "https://a"}]}, "only one of jwks"),
    ("RequestAuthentication", {"selector": {}, "targetRefs": []}, "only one of targetRefs or selector"),
    (
        "Telemetry",
        {"metrics": [{"overrides": [{"tagOverrides": {"a": {"operation": "UPSERT"}}}]}]},
        "value must be set when operation is UPSERT",
    ),
    ("EnvoyFilter", {"configPatches": [{"match": {"waypoint": {}}}]}, "only support waypointMatch"),
    ("WasmPlugin", {"url": "a", "vmConfig": {"env": [{"name": "a"}, {"name": "a"}]}}, "must be unique"),
    ("TrafficExtension", {}, "exactly one of wasm or lua"),
    ("ClientPolicy", {"hosts": ["a"], "fallback": {}}, "a fallback needs response or lastGood"),
    ("ClientPolicy", {"hosts": ["a"], "hedging": {"delay": "1s", "quantile": 0.9}}, "at most one of delay, quantile"),
    ("ServerPolicy", {"circuitBreaker": {"window": "1s"}}, "a circuit breaker needs"),
]
TAKEN: list[tuple[str, Any]] = [
    (
        "Gateway",
        {"servers": [{"hosts": ["a"], "bind": "unix:///a", "port": {"number": 0, "protocol": "x", "name": "x"}}]},
    ),
    ("ServiceEntry", {"hosts": ["a"], "resolution": "STATIC", "endpoints": [{"address": "unix:///a"}]}),
    ("RequestAuthentication", {"jwtRules": [{**JWT, "jwks_uri": "https://a"}]}),
    ("PeerAuthentication", {"selector": {"matchLabels": {"a": "b"}}, "portLevelMtls": {"65535": {"mode": "STRICT"}}}),
    (
        "ClientPolicy",
        {
            "hosts": ["a"],
            "fallback": {"lastGood": {"maxAge": "1h"}, "response": {"status": 200, "body": "[]"}},
            "hedging": {"quantile": 0.95, "budget": {"value": 5}},
            "retrySafety": "idempotent",
            "faultsUnderRetries": True,
            "circuitBreaker": {"failureRate": 50, "minimumCalls": 20, "openFor": "30s"},
            "deadline": {"propagate": True, "default": "5s"},
        },
    ),
    ("ServerPolicy", {"selector": {"matchLabels": {"app": "a"}}, "deadline": {"propagate": True}}),
]


def convert(kind: str, spec: Any) -> object:
    found = kind_named(kind)
    assert found is not None
    return msgspec.convert(spec, spec_class(found), dec_hook=decode_hook)


@pytest.mark.parametrize(("kind", "spec", "message"), REFUSED, ids=[f"{row[0]}: {row[2]}" for row in REFUSED])
def test_what_makes_no_sense_together_is_refused(kind: str, spec: Any, message: str) -> None:
    """Each field is right by itself; the combination is not."""
    with pytest.raises(msgspec.ValidationError, match=message):
        convert(kind, spec)


@pytest.mark.parametrize(("kind", "spec"), TAKEN, ids=[row[0] for row in TAKEN])
def test_what_makes_sense_is_taken(kind: str, spec: Any) -> None:
    """The neighbours of the refused combinations."""
    assert convert(kind, spec)


def test_old_spellings_are_found_under_the_new_name() -> None:
    """``jwks_uri`` and ``mirror_percent`` are also read as jwksUri and mirrorPercent."""
    rule = msgspec.convert({**JWT, "jwks_uri": "https://a"}, JWTRule, dec_hook=decode_hook)
    assert (rule.jwks_uri, rule.legacy_jwks_uri) == ("https://a", "https://a")
    route = msgspec.convert({"mirror_percent": 5}, HTTPRoute, dec_hook=decode_hook)
    assert (route.mirror_percent, route.legacy_mirror_percent) == (5, 5)
