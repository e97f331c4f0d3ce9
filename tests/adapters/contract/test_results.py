"""The same YAML and the same scripted upstream give the same observable result, whichever client makes the calls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from meshlib.errors import RefusedError
from tests.adapters.contract.conftest import URL, Kit
from tests.patience import PACES
from tests.ports import closed_port

ROWS: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("results.yaml").read_text(encoding="utf-8"))
ANSWERS: dict[object, Any] = {
    "reset": {"reset": True},
    "garbage": {"garbage": b"SSH-2.0-OpenSSH_9.2\r\n\r\n"},
    "silent": {"hang": True},
    "cut": {"cut": 5, "body": b"helloworld"},
    "slow-body": {"pause": 100, "body": b"helloworld"},
}
KINDS = {"MeshTimeoutError": "timeout", "MeshConnectionError": "connection", "MeshResponseError": "response"}


def at_pace(row: dict[str, Any], pace: float) -> dict[str, Any]:
    """The row with another timeout than a second, before which something else has to happen."""
    found: dict[str, Any] = json.loads(json.dumps(row).replace('"1s"', f'"{pace}s"'))
    return found


def prepare(kit: Kit, row: dict[str, Any]) -> Any:
    """The client of a row, with its upstreams and its YAML."""
    ports = []
    for script in row["upstreams"]:
        if script == "dead":
            ports.append(closed_port())
        else:
            ports.append(kit.upstream(*[ANSWERS.get(answer, answer) for answer in script]).port)
    resources = kit.resources(*ports or (1,), http=row.get("http"), policy=row.get("policy"))
    if not ports:
        resources[0]["spec"]["endpoints"] = []
    return kit.client(kit.load(resources), raise_on_refusal=row.get("raise", False))


def call(client: Any, request: dict[str, str]) -> dict[str, Any]:
    """What the caller sees of one call."""
    body = request["body"].encode() if "body" in request else None
    try:
        reply = client.request(request.get("method", "GET"), URL, body=body)
    except client.family as error:
        kind = KINDS.get(type(error).__name__, "own")
        return {"raises": kind, "flags": list(error.flags) if isinstance(error, RefusedError) else []}
    seen = {"status": reply.status, "flags": list(reply.flags), "attempts": reply.attempts}
    return {**seen, "body": reply.text, "x-mesh": reply.headers.get("x-mesh")}


@pytest.mark.parametrize("row", ROWS, ids=[row["rule"] for row in ROWS])
def test_every_client_sees_the_same(plain_kit: Kit, row: dict[str, Any]) -> None:
    """What the table says."""
    for pace in PACES if at_pace(row, 2) != row else PACES[:1]:
        client = prepare(plain_kit, at_pace(row, pace))
        for _ in range(row.get("calls", 1)):
            seen = call(client, row.get("request", {}))
        if seen.get("status") != 504:  # before what the row is about
            break
    assert {name: seen.get(name) for name in row["caller"]} == row["caller"]
    if "upstream" in row:
        requests = [one for upstream in plain_kit.upstreams for one in upstream.seen]
        assert [f"{one.method} {one.path} {one.body.decode()}".strip() for one in requests] == row["upstream"]
    plain_kit.settle()
