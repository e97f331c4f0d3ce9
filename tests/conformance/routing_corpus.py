"""Reading the routing corpora: groups are compiled once, expectations are compared key by key."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import pytest

from meshlib._authorize import GivenKeys, token_check
from meshlib._compile import Config
from meshlib._config.load import load
from meshlib._explain import explain, request_from_json, workload_from_json
from meshlib._snapshot.snapshot import Snapshot
from meshlib.sources.static import SourceText
from tests.corpus import has_corpus, load_corpus

__all__ = ["Case", "differences", "explained", "group", "routing_cases", "snapshot_of"]

Case = tuple[str, str, int]
"""A case by file, group number and case number within its group: the data stays in the cache."""

DURATION = re.compile(r"([\d.]+)(ms|s|m|h)")
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@lru_cache
def groups(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = load_corpus(f"routing/{name}")["groups"]
    return found


def group(case: Case) -> tuple[dict[str, Any], dict[str, Any]]:
    """The group and the case itself."""
    found = groups(case[0])[case[1]]
    return found, found["cases"][case[2]]


def routing_cases(name: str) -> list[Any]:
    """The parameters of one file; none where there is no corpus (another test skips with the reason)."""
    if not has_corpus(f"routing/{name}"):
        return []
    return [
        pytest.param((name, number, position), id=case["id"])
        for number, entry in enumerate(groups(name))
        for position, case in enumerate(entry["cases"])
    ]


@lru_cache(maxsize=4)
def config_of(name: str, number: int) -> Config:
    entry = groups(name)[number]
    loaded = load([SourceText(entry["id"], entry["resources"])])
    assert not [str(finding) for finding in loaded.findings if finding.level == "error"]
    return Config(loaded.resources)


@lru_cache(maxsize=8)
def compiled(name: str, number: int, client: str) -> Snapshot:
    return config_of(name, number).compile(workload_from_json(json.loads(client)))


def snapshot_of(case: Case) -> Snapshot:
    """The snapshot of a case's client, made once for the cases that share it."""
    entry, single = group(case)
    return compiled(case[0], case[1], json.dumps(single.get("from", entry["from"]), sort_keys=True))


def sent(described: dict[str, Any]) -> dict[str, Any]:
    """The request as it is sent: a token stands in its header."""
    if "token" not in described:
        return described
    tokens = {entry["id"]: entry["token"] for entry in load_corpus("jwt/index.json")["tokens"]}
    headers = {**(described.get("headers") or {}), "authorization": f"Bearer {tokens[described['token']]}"}
    return {**described, "headers": headers}


def explained(case: Case, keys: GivenKeys | None = None, now: float = 0.0) -> dict[str, Any]:
    """What explain answers to the request of a case; tokens are judged where there are keys."""
    snapshot = snapshot_of(case)
    request = request_from_json(sent(group(case)[1]["request"]), snapshot)
    check = None if keys is None else token_check(snapshot.security, keys, now)
    return dict(explain(snapshot, request, check).to_json())


def differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """What an answer has otherwise than expected; keys that are not expected do not count."""
    return [text for key, value in expected.items() for text in compare(key, value, found.get(key))]


def compare(path: str, expected: Any, found: Any) -> Iterator[str]:
    """The differences at one path."""
    if path in ("upstream", "response"):
        yield from compare_message(path, expected, found or {})
    elif path in ("policy", "retries") and isinstance(expected, Mapping) and isinstance(found, Mapping):
        for key, value in expected.items():
            yield from compare(f"{path}.{key}", value, found.get(key, "missing"))
    elif path.endswith("retry_on"):
        if set(expected) != set(found):
            yield f"{path}: expected {expected}, found {found}"
    elif not equal(expected, found):
        yield f"{path}: expected {expected!r}, found {found!r}"


def compare_message(path: str, expected: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    """The differences of a request or response: only the headers that are named count."""
    headers = found.get("headers", {})
    for name in expected.get("absent_headers", ()):
        if name.lower() in headers:
            yield f"{path}: header {name} should be absent"
    for name, value in expected.get("headers", {}).items():
        yield from compare(f"{path}.{name}", value, headers.get(name.lower()))
    for key in ("path", "host", "body"):
        if key in expected:
            yield from compare(f"{path}.{key}", expected[key], found.get(key))


def equal(expected: Any, found: Any) -> bool:
    """Equality in which durations may be written as text and numbers differ by rounding."""
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        return expected.keys() == found.keys() and all(equal(expected[key], found[key]) for key in expected)
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(map(equal, expected, found))
    if isinstance(expected, str) and isinstance(found, float):
        match = DURATION.fullmatch(expected)
        return match is not None and abs(float(match[1]) * UNITS[match[2]] - found) < 1e-6
    if isinstance(expected, float | int) and isinstance(found, float | int):
        return abs(expected - found) < 1e-6
    return bool(expected == found)
