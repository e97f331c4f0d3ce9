"""The authorization tables: groups of resources and workloads, and what becomes of single requests."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

import pytest

from meshlib._authorize import GivenKeys, authorize, inbound_from_json, token_check
from meshlib._compile.snapshot import Config
from meshlib._config.load import load
from meshlib._engine.decisions import Decision
from meshlib._snapshot.security import Security
from meshlib.sources import SourceText
from meshlib.workload import Workload
from tests.corpus import corpus_path, has_corpus, load_corpus

__all__ = ["Case", "authz_cases", "decide", "security_of"]


NOW = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
"""The tables say what is valid in 2026."""


class Case(NamedTuple):
    """One request of a table."""

    table: str
    group: int
    number: int


def authz_cases(table: str, groups: str = "groups") -> list[Any]:
    """One parameter for each request of a table; a single skipped one where the table is absent."""
    name = f"authz/{table}"
    if not has_corpus(name):
        return [pytest.param(None, id=table, marks=pytest.mark.skip(reason=f"conformance corpus not found: {name}"))]
    return [
        pytest.param(Case(name, index, number), id=entry["id"])
        for index, group in enumerate(load_corpus(name)[groups])
        for number, entry in enumerate(group["requests"])
    ]


@lru_cache(maxsize=8)
def _table(name: str) -> Any:
    return load_corpus(name)


def entry_of(case: Case) -> tuple[dict[str, Any], dict[str, Any]]:
    """The group and the request of a case."""
    table = _table(case.table)
    group = table.get("groups") or table["cases"]
    return group[case.group], group[case.group]["requests"][case.number]


@lru_cache(maxsize=64)
def _config(table: str, index: int) -> Config:
    group, _ = entry_of(Case(table, index, 0))
    texts = [SourceText("mesh.yaml", mesh_document(group.get("mesh") or {}))]
    if "policy" in group:
        text = (corpus_path(group["policy"])).read_text(encoding="utf-8")
        namespace = group["workload"]["namespace"]
    else:
        text, namespace = group["resources"], "default"
    texts.append(SourceText("policies.yaml", text))
    loaded = load(texts, default_namespace=namespace)
    return Config(loaded.resources)


def mesh_document(mesh: dict[str, Any]) -> str:
    """Mesh configuration as the ConfigMap of Istio."""
    mesh = dict(mesh)
    level = mesh.pop("pathNormalization", None)
    if isinstance(level, str):
        mesh["pathNormalization"] = {"normalization": level}
    elif level is not None:
        mesh["pathNormalization"] = level
    document = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "istio", "namespace": "istio-system"},
        "data": {"mesh": json.dumps(mesh)},
    }
    return json.dumps(document)


@lru_cache(maxsize=256)
def security_of(table: str, index: int, labels: tuple[tuple[str, str], ...] | None) -> Security:
    """The compiled security of the group's workload, with other labels where a request says so."""
    group, _ = entry_of(Case(table, index, 0))
    described = group["workload"]
    workload = Workload(
        namespace=described["namespace"],
        labels=dict(described.get("labels") or {}),
        service_account=described.get("service_account", "default"),
    )
    if labels is not None:
        workload = replace(workload, labels=dict(labels))
    return _config(table, index).compile(workload).security


@lru_cache(maxsize=1)
def _tokens() -> dict[str, str]:
    return {entry["id"]: entry["token"] for entry in load_corpus("jwt/index.json")["tokens"]}


def token_text(name: str) -> str:
    """A token of the corpus."""
    return _tokens()[name]


@lru_cache(maxsize=64)
def given_keys(table: str, index: int) -> GivenKeys:
    """The key sets that can be fetched in a group."""
    group, _ = entry_of(Case(table, index, 0))
    return GivenKeys({uri: corpus_path(path).read_text("utf-8") for uri, path in (group.get("jwks") or {}).items()})


def decide(case: Case) -> tuple[Decision, dict[str, Any], dict[str, Any]]:
    """What becomes of the request, and what the table says of it."""
    group, entry = entry_of(case)
    other = entry.get("workload_labels")
    security = security_of(case.table, case.group, tuple(other.items()) if other is not None else None)
    described = dict(entry["request"])
    if "token" in described:
        described["token"] = token_text(described["token"])
    request = inbound_from_json(described, workload_ip=group["workload"].get("ip", ""))
    check = None
    if "claims" not in described:
        check = token_check(security, given_keys(case.table, case.group), NOW)
    decision = authorize(
        security,
        request,
        authenticate=check,
        answer=entry.get("ext_authz", "allow"),
        transport=described.get("transport"),
    )
    return decision, group, entry
