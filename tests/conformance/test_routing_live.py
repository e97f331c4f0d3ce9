"""The pinned cases of routing as an application meets them: real YAML, a governed client, servers on loopback."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.conformance.live import Place, Played, play
from tests.conformance.test_routing_semantics import cases
from tests.corpus import corpus_path

NOWHERE: Place = ("", 0)
ROUTED = ("hosts", "vs-select", "match", "rewrite", "redirect", "headers", "delegate", "cors", "fault", "direct")


def place_of(cluster: str, dialled: Place) -> Place:
    """Where the requests of a cluster arrive."""
    if cluster == "PassthroughCluster":
        return dialled
    _, port, _, host = cluster.split("|")
    return host, int(port)


def test_the_corpus_is_there() -> None:
    """One clear skip where it is not."""
    assert corpus_path("../semantics-cases.json").is_file()


@pytest.mark.parametrize("case", cases(*ROUTED))
def test_request(case: Any) -> None:
    """The request arrives where the case says, as it says, and the caller sees what it says."""
    played = play(case)
    check_arrival(case, played)
    check_request(case["expect"], played)
    check_reply(case["expect"], played)


def check_arrival(case: Any, played: Played) -> None:
    """Which server, how often, and when."""
    expect, (answer,) = case["expect"], played.answers
    failed = set(expect.get("flags", ())) & {"NC", "UH", "NR", "FI"}
    if "cluster" in expect and not failed:
        host, _, port = case["request"]["url"].split("/")[2].partition(":")
        assert [one.place for one in played.seen] == [place_of(expect["cluster"], (host, int(port or 80)))]
        assert answer.event.cluster == expect["cluster"]
    if failed or "upstream_calls" in expect:
        assert len(played.seen) == expect.get("upstream_calls", 0)
    if "timeout_ms" in expect:
        assert (answer.status, answer.seconds * 1000) == (504, pytest.approx(expect["timeout_ms"], abs=1))
    if "delay_ms" in expect:
        assert answer.seconds * 1000 == pytest.approx(expect["delay_ms"], abs=1)


def check_request(expect: Any, played: Played) -> None:
    """What the server sees."""
    if not {"path", "host", "upstream_headers", "upstream_headers_absent"} & expect.keys():
        return
    (seen,) = played.seen
    assert seen.path == expect.get("path", seen.path)
    assert seen.headers["host"] == expect.get("host", seen.headers["host"])
    for name in {name for name, _ in expect.get("upstream_headers", ())}:
        assert seen.headers.getall(name) == [value for key, value in expect["upstream_headers"] if key == name]
    assert not [name for name in expect.get("upstream_headers_absent", ()) if name in seen.headers]


def check_reply(expect: Any, played: Played) -> None:
    """What the caller sees."""
    (answer,) = played.answers
    assert answer.status == expect.get("status", answer.status)
    assert answer.body == expect.get("body", answer.body)
    for name, value in expect.get("headers", {}).items():
        assert answer.headers.getall(name) == [value]
    assert not [name for name in expect.get("headers_absent", ()) if name in answer.headers]
    if "timeout_ms" not in expect:
        assert set(answer.event.flags) == set(expect.get("flags", ()))
    assert answer.event.route == expect.get("route", answer.event.route)
    assert answer.event.details == expect.get("details", answer.event.details)


@pytest.mark.parametrize("case", [one for one in cases("registry") if "request" in one.values[0]["given"]])
def test_registry(case: Any) -> None:
    """What a workload sees of services is where its requests arrive."""
    given = case["given"]
    request = {"headers": {}, **given["request"], "client": given["client"]}
    made = {**case, "request": request}
    played = play(made)
    check_arrival(made, played)
    check_reply(case["expect"], played)


@pytest.mark.parametrize("case", [one for one in cases("registry") if "resolve" in one.values[0]["expect"]])
def test_registry_by_name(case: Any) -> None:
    """An endpoint that is a name is asked for by that name and port."""
    given, (place,) = case["given"], case["expect"]["resolve"]
    service = given["service"]
    request = {"method": "GET", "url": f"http://{service['host']}:{service['port']}/", "headers": {}}
    played = play({**case, "request": {**request, "client": given["client"]}})
    host, _, port = place.partition(":")
    assert [one.place for one in played.seen] == [(host, int(port))]


@pytest.mark.parametrize("case", cases("weights"))
def test_weights(case: Any) -> None:
    """The shares of the destinations over 600 requests."""
    found = Counter(one.place for one in play(case, times=600).seen)
    expected = {place_of(cluster, NOWHERE): share for cluster, share in case["expect"]["distribution"].items()}
    assert found.keys() == expected.keys()
    assert {place: count / 600 for place, count in found.items()} == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize("case", cases("mirror"))
def test_mirrors(case: Any) -> None:
    """Copies in the shares that the case says, beside each request, with its Host header."""
    expect, played = case["expect"], play(case, times=200)
    assert {answer.status for answer in played.answers} == {200}
    (main,) = {answer.event.cluster for answer in played.answers}
    copies = Counter(one.place for one in played.seen)
    assert copies.pop(place_of(main, NOWHERE)) == 200
    if "mirrors" in expect:
        expected = {place_of(cluster, NOWHERE): share for cluster, share in expect["mirrors"].items()}
        assert {place: count / 200 for place, count in copies.items()} == pytest.approx(expected, abs=0.08)
    if "mirror_host" in expect:
        assert {one.headers["host"] for one in played.seen if one.place in copies} == {expect["mirror_host"]}
