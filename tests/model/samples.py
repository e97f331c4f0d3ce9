"""Smallest specs that hold one given field of the CRDs: all required neighbours are there, and nothing else."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.corpus import load_corpus

__all__ = ["crd_fields", "sample", "spec_paths"]

_BASES: Mapping[str, Any] = {
    "DestinationRule": {"host": "a.com"},
    "ServiceEntry": {"hosts": ["a.com"], "resolution": "STATIC"},
    "WorkloadEntry": {"network": "a"},
    "WorkloadGroup": {"template": {}},
    "PeerAuthentication": {"selector": {"matchLabels": {"a": "b"}}},
    "WasmPlugin": {"url": "http://a.b"},
}
_NAMED: Mapping[str, Any] = {
    "address": "1.2.3.4",
    "portLevelMtls": {"8080": {}},
    "tlsCertificates": [{}],
    "bytes": "aGk=",
    "httpStatus": 418,
    "status": 418,
    "jwksUri": "https://a.b",
    "jwks_uri": "https://a.b",
    "url": "http://a.b",
    "namespace": "",
    "outlierDetectionHttpErrorCodes[]": 500,
    "scheme": "HTTP",
    "sha256": "a" * 64,
}
_TYPED: Mapping[str, Any] = {"string": "abc", "integer": 80, "number": 50.0, "boolean": True, "object": {}, "array": []}


def crd_fields(kind: str) -> dict[str, Mapping[str, Any]]:
    """The fields of a kind's schema by path."""
    fields = load_corpus("crds/fields.json")["kinds"][kind]["fields"]
    return {field["path"]: field for field in fields}


def spec_paths() -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Every ``spec`` path of every kind, with its schema."""
    for kind in load_corpus("crds/fields.json")["kinds"]:
        for path, field in crd_fields(kind).items():
            if path == "spec" or path.startswith("spec."):
                yield kind, path, field


def sample(kind: str, path: str) -> dict[str, Any]:
    """A spec with a value at ``path``."""
    schema = crd_fields(kind)
    spec = copy.deepcopy(_BASES.get(kind, {}))
    if kind == "TrafficExtension" and not path.startswith(("spec.wasm", "spec.lua")):
        spec["lua"] = {"inlineCode": "x"}
    node: Any = spec
    place = "spec"
    steps = _steps(path)
    _add_required(schema, place, node)
    for number, step in enumerate(steps):
        place += step if step == "[]" else f".{step}"
        is_last = number == len(steps) - 1
        node = _enter(node, step, _value(schema[place], place), is_last=is_last)
        if isinstance(node, dict):
            _add_required(schema, place, node)
    if "match.waypoint" in path:
        spec["configPatches"][0]["match"]["context"] = "WAYPOINT"
    return spec


def _steps(path: str) -> list[str]:
    return re.findall(r"\[\]|[^.\[\]]+", path)[1:]


def _enter(node: Any, step: str, value: Any, *, is_last: bool) -> Any:
    if step == "[]":
        if is_last or not node:
            node[:] = [value]
        return node[0]
    key = "8080" if step == "*" else step
    if is_last and not isinstance(value, dict):
        node[key] = value
    return node.setdefault(key, value)


def _value(field: Mapping[str, Any], path: str) -> Any:
    name = path.rpartition(".")[2]
    if name in _NAMED and type(_NAMED[name]) is type(_TYPED[field["type"]]):
        return copy.deepcopy(_NAMED[name])
    if "enum" in field:
        return field["enum"][0] if name == "context" else field["enum"][-1]
    if field["type"] == "string" and any("duration" in rule["rule"] for rule in field.get("cel", ())):
        return "5000000000ns"
    if field["type"] == "string" and name in ("idleTimeout", "ttl", "budgetInterval"):
        return "5000000000ns"
    return ["abc"] if field.get("minItems") else copy.copy(_TYPED[field["type"]])


def _add_required(schema: Mapping[str, Mapping[str, Any]], place: str, node: dict[str, Any]) -> None:
    if place.endswith(("destination.port", "mirror.port", "egressProxy.port")):
        node.setdefault("number", 80)
    if place.endswith("endpoints[]"):
        node.setdefault("network", "a")
    for path, field in schema.items():
        name = path.removeprefix(f"{place}.")
        if field["required"] and name != path and "." not in name and "[" not in name and name not in node:
            node[name] = _value(field, path)
            if field["type"] == "array":
                node[name] = [_value(schema[f"{path}[]"], f"{path}[]")]
            for part in node[name] if field["type"] == "array" else [node[name]]:
                if isinstance(part, dict):
                    _add_required(schema, f"{path}[]" if field["type"] == "array" else path, part)
