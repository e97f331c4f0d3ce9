"""The pinned cases of retries, faults and outlier detection: real YAML, scripted upstreams, virtual time."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meshlib import Mesh
from meshlib._drivers import adrive
from meshlib._engine.commands import LocalReply
from meshlib._engine.outliers import record_locked, sweep_locked
from meshlib._engine.state import LiveCluster
from meshlib._http import Failure, FailureKind, Headers, Outcome, Response
from meshlib.events import RetryScheduled
from meshlib.mesh import request_head
from meshlib.testing import Answer, ScriptedTransport, VirtualClock, run_virtual
from tests.corpus import CORPUS, corpus_path

FAILURES = {
    "connect-failure": FailureKind.CONNECT_FAILURE,
    "reset": FailureKind.TERMINATION,
    "refused-stream": FailureKind.REFUSED_STREAM,
    "timeout": FailureKind.TIMEOUT,
}

# The cases name destinations that their configuration does not declare.
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
  endpoints: [{endpoints}]
"""


def cases(area: str) -> list[Any]:
    if not CORPUS.is_dir():
        return []
    every = json.loads((CORPUS.parent / "semantics-cases.json").read_text(encoding="utf-8"))
    return [pytest.param(case, id=case["id"]) for case in every if case["area"] == area]


def load(config: str, hosts: int, clock: VirtualClock) -> Mesh:
    endpoints = ", ".join(f"{{address: 10.0.0.{number + 1}}}" for number in range(hosts))
    return Mesh.load(config + REGISTRY.format(endpoints=endpoints), clock=clock)


def test_the_corpus_is_there() -> None:
    """One clear skip where it is not."""
    assert corpus_path("../semantics-cases.json").is_file()


def answer(entry: Any) -> int | Answer | FailureKind:
    if isinstance(entry, str):
        return FAILURES[entry]
    if isinstance(entry, int):
        return entry
    headers = tuple(entry.get("headers", {}).items())
    return Answer(status=entry.get("status", 200), headers=headers, delay=entry.get("delay_ms", 0) / 1000)


@pytest.mark.parametrize("case", [*cases("retry"), *cases("fault")])
def test_retry_and_fault(case: dict[str, Any]) -> None:
    """Status, body, attempts, flags, waits."""
    request, expect = case["request"], case["expect"]
    clock = VirtualClock()
    mesh = load(case["config"], 1, clock)
    retries: list[RetryScheduled] = []
    mesh.observe(retries.append, RetryScheduled)  # type: ignore[arg-type]
    script = request.get("upstream", [request.get("upstream_response", 200)])
    transport = ScriptedTransport(*map(answer, script))
    head = request_head(request["method"], request["url"], request["headers"])
    headers = Headers(head.headers)
    exchange = mesh.runtime.begin(head, headers, lambda: True)
    reply = run_virtual(adrive(exchange.steps(), transport), clock)
    exchange.finish()
    got = {
        "status": reply.status,
        "attempts": exchange.attempts,
        "upstream_calls": len(transport.sends),
        "flags": sorted(exchange.flags),
        "details": exchange.details,
    }
    if isinstance(reply, LocalReply):
        got["body"] = reply.body.decode()
    for name in got.keys() & expect.keys():
        wanted = expect[name]
        assert got[name] == (sorted(wanted) if name == "flags" else wanted), name
    if "elapsed_ms" in expect:
        assert clock.monotonic() * 1000 == pytest.approx(expect["elapsed_ms"], abs=300)
    if "delay_ms" in expect:
        assert clock.monotonic() * 1000 == pytest.approx(expect["delay_ms"])
    for retry, bound in zip(retries, expect.get("backoff_upper_bounds_ms", ()), strict=False):
        assert 0 <= retry.backoff * 1000 < bound
    if "attempts_at_most" in expect:
        assert exchange.attempts <= expect["attempts_at_most"]
    if "upstream_attempt_headers" in expect:
        assert exchange.attempts == len(expect["upstream_attempt_headers"])
        assert headers["x-envoy-attempt-count"] == expect["upstream_attempt_headers"][-1]


@pytest.mark.parametrize("case", [case for case in cases("outlier") if "events" in case.values[0]["given"]])
def test_outlier(case: dict[str, Any]) -> None:
    """Which hosts are ejected when."""
    given = case["given"]
    mesh = load(case["config"], len(given["hosts"]), VirtualClock())
    live = next(one for name, one in mesh.runtime.clusters().items() if name.endswith("||a.example.com"))
    steps = [(event["t"], 0, event) for event in given["events"]]
    steps += [(query["t"], 1, query) for query in case["expect"]["ejected_at"]]
    for now, is_query, step in sorted(steps, key=lambda one: one[:2]):
        sweep_locked(live, now)
        if is_query:
            assert ejected(live, given["hosts"]) == step["hosts"], f"at {now}"
        elif step["result"] != "overflow":
            host = live.endpoints[given["hosts"].index(step["host"])]
            record_locked(live, host, outcome(step["result"]), now)


def ejected(live: LiveCluster, names: list[str]) -> list[str]:
    return [name for name, host in zip(names, live.endpoints, strict=True) if host.is_ejected]


def outcome(result: Any) -> Outcome:
    if isinstance(result, str):
        return Failure(FAILURES[result], sent=True)
    return Response(result, Headers())
