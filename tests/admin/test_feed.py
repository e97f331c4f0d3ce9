"""Events for those who listen, bounded on both sides."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meshlib._runtime import Runtime
from meshlib._snapshot.snapshot import Snapshot
from meshlib.admin.feed import Feed, wanted_kinds
from meshlib.admin.messages import BadAskError
from meshlib.diagnostics import Finding
from meshlib.events import ConfigRejected, EndpointEjected, Event, RequestServed, RetryScheduled
from meshlib.testing import VirtualClock


@pytest.fixture
def runtime() -> Runtime:
    return Runtime(Snapshot(), clock=VirtualClock())


@pytest.fixture
def feed(runtime: Runtime) -> Feed:
    made = Feed(runtime.clock.time)
    made.add("web.shop", runtime.observe)
    return made


def ejected(number: int) -> Event:
    return EndpointEjected(cluster="c", endpoint=f"10.0.0.{number}:80", reason="consecutive5xxErrors", seconds=30.0)


RETRY = RetryScheduled(cluster="c", attempt=2, backoff=0.025, reason="5xx")


def parsed(messages: list[bytes]) -> list[dict[str, Any]]:
    found = []
    for message in messages:
        fields = dict(line.split(": ", 1) for line in message.decode().strip().splitlines())
        found.append({"id": fields.get("id"), "event": fields["event"], **json.loads(fields["data"])})
    return found


def test_a_listener_gets_what_was_and_what_comes(runtime: Runtime, feed: Feed) -> None:
    """Rare events are kept for those who come later."""
    runtime.notify(ejected(1))
    listener = feed.open(lambda: None, (), None)
    runtime.notify(ejected(2))
    found = parsed(listener.take())
    assert [one["endpoint"] for one in found] == ["10.0.0.1:80", "10.0.0.2:80"]
    assert [one["id"] for one in found] == ["1", "2"]
    assert {one["member"] for one in found} == {"web.shop"}
    assert listener.take() == []


def test_a_stream_goes_on_where_it_ended(runtime: Runtime, feed: Feed) -> None:
    """``Last-Event-ID`` of a client that comes back; one of another process means nothing."""
    for number in range(5):
        runtime.notify(ejected(number))
    assert [one["id"] for one in parsed(feed.open(lambda: None, (), 3).take())] == ["4", "5"]
    assert len(feed.open(lambda: None, (), 99).take()) == 5


def test_what_comes_with_requests_must_be_asked_for(runtime: Runtime, feed: Feed) -> None:
    """Nobody asks: the event is not made. It is not kept for others either."""
    assert RetryScheduled not in runtime.published.observers
    listener = feed.open(lambda: None, wanted_kinds("RetryScheduled"), None)
    runtime.notify(RETRY)
    assert [one["event"] for one in parsed(listener.take())] == ["RetryScheduled"]
    feed.close(listener)
    assert RetryScheduled not in runtime.published.observers


def test_a_slow_listener_loses_the_oldest_and_is_told(runtime: Runtime, feed: Feed) -> None:
    """A queue of 256; wake is called once until the queue is read."""
    woken: list[int] = []
    listener = feed.open(lambda: woken.append(1), wanted_kinds("RetryScheduled"), None)
    for _ in range(1_000):
        runtime.notify(RETRY)
    found = parsed(listener.take())
    assert found[0]["event"] == "lost"
    assert found[0]["count"] == 1_000 - 256
    assert len(found) == 257
    assert woken == [1]


def test_listeners_are_bounded(feed: Feed) -> None:
    """Sixteen streams; the next one is told so, until one ends."""
    listeners = [feed.open(lambda: None, (), None) for _ in range(16)]
    with pytest.raises(BadAskError, match="16 event streams") as error:
        feed.open(lambda: None, (), None)
    assert error.value.status == 503
    feed.close(listeners[0])
    feed.open(lambda: None, (), None)


def test_an_unknown_kind_is_named_with_those_there_are() -> None:
    """No silence for a misspelt name."""
    with pytest.raises(BadAskError, match=r"'Ejected'; known are AttemptFinished, .*RetryScheduled"):
        wanted_kinds("Ejected")


def test_no_secret_is_in_an_event(runtime: Runtime, feed: Feed) -> None:
    """Not in the query of a served path, nor in the reason of a rejected configuration."""
    listener = feed.open(lambda: None, wanted_kinds("RequestServed"), None)
    runtime.notify(
        RequestServed(
            method="GET", host="h", path="/a?session=hunter2", status=200, duration=0.1, decision="allow", policy="",
            rule="", reason="", details="", principal="", request_principal="", protocol="http", is_mtls=False,
        )
    )  # fmt: skip
    finding = Finding(code="MESH001", level="error", message="password: 'x', Bearer hunter2hunter2")
    runtime.notify(ConfigRejected(findings=(finding,), reason="Bearer hunter2hunter2"))
    served, rejected = parsed(listener.take())
    assert served["path"] == "/a"
    assert "hunter2" not in json.dumps(rejected)
    assert rejected["findings"][0]["code"] == "MESH001"


def test_a_forked_child_has_no_streams(runtime: Runtime, feed: Feed) -> None:
    """They are the parent's; listening begins anew."""
    feed.open(lambda: None, wanted_kinds("RetryScheduled"), None)
    feed.reset_after_fork()
    assert RetryScheduled not in runtime.published.observers
    listener = feed.open(lambda: None, (), None)
    runtime.notify(ejected(1))
    assert len(listener.take()) == 1
