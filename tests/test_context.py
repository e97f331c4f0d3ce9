"""What the request being served hands on to the calls made while serving it."""

from __future__ import annotations

import contextvars
import threading

from meshlib._context import Carried, carried_headers, carried_of, serving
from meshlib._engine.commands import Send
from meshlib._inbound.shapes import Shape
from tests.mesh_builders import begin, make_cluster, make_runtime, make_snapshot

INCOMING = [("x-request-id", "r-1"), ("traceparent", "00-a-b-01"), ("cookie", "secret=1"), ("traceparent", "second")]


def outgoing(**headers: str) -> dict[str, str]:
    """The headers of a call made now, in lower case."""
    runtime = make_runtime(make_snapshot(make_cluster(1)))
    exchange = begin(runtime, **headers)
    assert isinstance(next(exchange.steps()), Send)
    return {name.lower(): value for name, value in exchange.headers.items()}


def test_only_trace_headers_are_carried_and_of_a_repeated_one_the_first() -> None:
    """Cookies and credentials are the application's to pass on."""
    assert carried_headers(INCOMING) == {"x-request-id": "r-1", "traceparent": "00-a-b-01"}


def test_a_call_made_while_serving_carries_them_on() -> None:
    """The request id and the trace context of the request being served."""

    def serve() -> dict[str, str]:
        serving.set(Carried(carried_headers(INCOMING)))
        return outgoing()

    seen = contextvars.copy_context().run(serve)
    assert (seen["x-request-id"], seen["traceparent"]) == ("r-1", "00-a-b-01")


def test_what_the_caller_sets_wins() -> None:
    """An instrumentation that has written its own span is not overruled."""

    def serve() -> dict[str, str]:
        serving.set(Carried(carried_headers(INCOMING)))
        return outgoing(traceparent="00-own-span-01")

    assert contextvars.copy_context().run(serve)["traceparent"] == "00-own-span-01"


def test_what_no_client_library_takes_is_left_out() -> None:
    """Bytes that are no ASCII made errors of encoding in the handler's calls, of whoever sent them."""
    came = {"x-request-id": "r-\udcff", "baggage": "user=\u00e4", "tracestate": "a=\x01", "b3": "0"}
    shape = Shape(tuple(name.encode() for name in came))
    values = tuple(value.encode("utf-8", "surrogateescape") for value in came.values())
    for carried in (carried_headers(came.items()), carried_of(came), shape.carried_of(values, came["x-request-id"])):
        assert carried == {"b3": "0"}


def test_a_thread_with_the_context_carries_them_on_and_another_does_not() -> None:
    """Starlette's thread pool copies the context; a bare thread is nobody's request."""
    seen: list[str] = []

    def call() -> None:
        seen.append(outgoing()["x-request-id"])

    def serve() -> None:
        serving.set(Carried(carried_headers(INCOMING)))
        inherited = contextvars.copy_context()
        for target in (lambda: inherited.run(call), call):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()

    contextvars.copy_context().run(serve)
    assert seen[0] == "r-1"
    assert seen[1] != "r-1"
