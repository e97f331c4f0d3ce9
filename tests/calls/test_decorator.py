"""``@mesh.call`` and ``mesh.run``: what is called, how often, and what comes back."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Iterator
from typing import Any

import pytest

from meshlib.errors import MeshClosedError
from meshlib.testing import VirtualClock, run_virtual
from tests.calls.meshes import (
    BREAKER,
    EITHER,
    EVERY,
    DownError,
    Script,
    assert_at_rest,
    call_sync,
    load,
)


@EVERY
def test_a_result_is_passed_on(call: Any) -> None:
    """Whatever it is, None too."""
    mesh = load(clock=VirtualClock())
    for value in (None, 0, "five", [5]):
        assert call(mesh, Script(value)) == value
    assert_at_rest(mesh)


@EVERY
def test_an_exception_is_retried(call: Any) -> None:
    """As a 5xx is."""
    mesh, script = load(clock=VirtualClock()), Script(OSError("no"), KeyError("x"), 5)
    assert call(mesh, script) == 5
    assert script.calls == 3
    assert_at_rest(mesh)


@EVERY
def test_the_last_exception_is_raised(call: Any) -> None:
    """The function's own, when no retry is left."""
    mesh, script = load(clock=VirtualClock()), Script(DownError("1"), DownError("2"), DownError("3"), DownError("4"))
    with pytest.raises(DownError, match=r"^4$"):
        call(mesh, script)
    assert script.calls == 4
    assert_at_rest(mesh)


class StatusError(Exception):
    def __init__(self, status: int) -> None:
        self.status = status


class OldError(Exception):
    """As urllib's, with its status in ``code``."""

    code = 503


class ResponseError(Exception):
    """As those of requests and httpx."""

    def __init__(self, status: int) -> None:
        self.response = type("Response", (), {"status_code": status})()


@pytest.mark.parametrize(
    ("retry_on", "error", "calls"),
    [
        ("5xx", ValueError(), 2),
        ("gateway-error", ValueError(), 1),
        ("5xx", StatusError(404), 1),
        ("retriable-4xx", StatusError(409), 2),
        ("429", ResponseError(429), 2),
        ("5xx", ResponseError(429), 1),
        ("gateway-error", OldError(), 2),
        ("gateway-error", TimeoutError(), 2),
        ("reset", TimeoutError(), 1),
        ("connect-failure", ConnectionRefusedError(), 2),
        ("connect-failure", OSError(113, "no route"), 2),
        ("connect-failure", ConnectionResetError(), 1),
        ("reset", ConnectionResetError(), 2),
        ("reset", asyncio.IncompleteReadError(b"", 5), 2),
        ("reset", OSError(2, "no file"), 1),
        ("5xx", OSError(2, "no file"), 2),
        ("refused-stream", ConnectionResetError(), 1),
    ],
    ids=repr,
)
def test_what_an_exception_means(retry_on: str, error: Exception, calls: int) -> None:
    """To the conditions of retryOn."""
    mesh = load(f"retries: {{attempts: 1, retryOn: '{retry_on}', backoff: 1ms}}", clock=VirtualClock())
    script = Script(error)
    with pytest.raises(type(error)):
        call_sync(mesh, script)
    assert script.calls == calls


@pytest.mark.parametrize(
    ("library", "raise_error", "retry_on"),
    [
        ("httpx", lambda m: m.ConnectError("x"), "connect-failure"),
        ("httpx", lambda m: m.ReadError("x"), "reset"),
        ("httpx", lambda m: m.ReadTimeout("x"), "gateway-error"),
        ("requests", lambda m: m.exceptions.ConnectTimeout("x"), "connect-failure"),
        ("requests", lambda m: m.exceptions.ConnectionError("x"), "reset"),
        ("requests", lambda m: m.exceptions.ReadTimeout("x"), "gateway-error"),
        ("aiohttp", lambda m: m.ServerDisconnectedError(), "reset"),
        ("aiohttp", lambda m: m.ServerTimeoutError(), "reset"),
    ],
)
def test_the_errors_of_client_libraries_are_known(library: str, raise_error: Any, retry_on: str) -> None:
    """By their class."""
    error = raise_error(pytest.importorskip(library))
    mesh = load(f"retries: {{attempts: 1, retryOn: '{retry_on}', backoff: 1ms}}", clock=VirtualClock())
    script = Script(error)
    with pytest.raises(type(error)):
        call_sync(mesh, script)
    assert script.calls == 2


@EITHER
def test_classify_has_the_first_word(call: Any) -> None:
    """About results and exceptions; None leaves it at the default."""

    def classify(end: object) -> int | None:
        return {"busy": 503, "gone": 404}.get(str(end))

    mesh = load(clock=VirtualClock())
    assert call(mesh, Script("busy", "busy", 5), classify=classify) == 5
    script = Script("busy")
    assert call(mesh, script, classify=classify) == "busy"
    assert script.calls == 4
    script = Script(ValueError("gone"))
    with pytest.raises(ValueError, match="gone"):
        call(mesh, script, classify=classify)
    assert script.calls == 1


@pytest.mark.parametrize("answer", [7, "timeout", 1000])
def test_classify_must_answer_what_there_is(answer: object) -> None:
    """The error says what that is."""
    mesh = load(clock=VirtualClock())
    with pytest.raises(ValueError, match="a status"):
        call_sync(mesh, Script(1), classify=lambda _: answer)
    assert_at_rest(mesh)


@EITHER
def test_a_cancellation_passes_through(call: Any) -> None:
    """It is no answer: nothing is retried or counted as failed."""
    mesh, script = load(policy=BREAKER, clock=VirtualClock()), Script(asyncio.CancelledError())
    for _ in range(3):
        with pytest.raises(asyncio.CancelledError):
            call(mesh, script)
    assert script.calls == 3
    assert_at_rest(mesh)


def test_methods_keep_their_self_and_functions_their_names() -> None:
    """And their docstrings and kinds."""
    mesh = load(clock=VirtualClock())

    class Client:
        def __init__(self, value: int) -> None:
            self.value = value

        @mesh.call("ratings")
        def get(self, more: int = 0) -> int:
            """Documented."""
            return self.value + more

        @classmethod
        @mesh.call("ratings")
        def name(cls) -> str:
            return cls.__name__

        @staticmethod
        @mesh.call("ratings")
        async def wait() -> int:
            return 7

    assert (Client(5).get(more=2), Client(1).get(), Client.name()) == (7, 1, "Client")
    assert Client.get.__doc__ == "Documented."
    assert inspect.iscoroutinefunction(Client.wait)
    assert asyncio.run(Client.wait()) == 7


def test_partials_and_callable_objects_are_functions_too() -> None:
    """By what calling them gives."""
    clock = VirtualClock()
    mesh = load(clock=clock)

    class Asynchronous:
        async def __call__(self, value: int) -> int:
            return value

    assert mesh.run("ratings", functools.partial(int, "5")) == 5
    assert run_virtual(mesh.run("ratings", Asynchronous(), 6), clock) == 6
    assert run_virtual(mesh.run("ratings", functools.partial(Asynchronous().__call__, 7)), clock) == 7


def test_generators_are_refused() -> None:
    """At once, with what to do instead."""
    mesh = load(clock=VirtualClock())

    def pages() -> Iterator[int]:
        yield 1

    async def pages_async() -> AsyncIterator[int]:
        yield 1

    for one in (pages, pages_async):
        with pytest.raises(TypeError, match="is a generator"):
            mesh.call("ratings")(one)
        with pytest.raises(TypeError, match="is a generator"):
            mesh.run("ratings", one)
    with pytest.raises(TypeError, match="below @classmethod"):
        mesh.call("ratings")(classmethod(pages))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not callable"):
        mesh.call("ratings")(5)  # type: ignore[arg-type]


def test_a_function_may_have_arguments_of_any_name() -> None:
    """Those of ``run`` itself too."""

    def connect(host: str, function: str, target: str) -> tuple[str, str, str]:
        return host, function, target

    mesh = load(clock=VirtualClock())
    assert mesh.run("ratings", connect, host="a", function="b", target="c") == ("a", "b", "c")


@pytest.mark.parametrize("host", ["", "http://ratings:9080", "ratings/v1", "my ratings"])
def test_what_is_no_host_is_refused(host: str) -> None:
    """No rule can be for it, so that calls would be governed by nothing."""
    mesh = load(clock=VirtualClock())
    for ask in (mesh.call, mesh.attempt, lambda host: mesh.run(host, str)):
        with pytest.raises(ValueError, match="is no host; write it as"):
            ask(host)


def test_the_decorator_needs_its_host() -> None:
    """It says so where it was written without one, rather than when the function is called."""
    mesh = load(clock=VirtualClock())
    with pytest.raises(TypeError, match=r"is no host; write @mesh\.call"):

        @mesh.call  # type: ignore[arg-type]
        def ratings() -> None:
            """Never called."""


def test_what_runs_later_is_refused() -> None:
    """A plain function that returns a coroutine or a generator would be ungoverned."""
    mesh = load(clock=VirtualClock())

    async def ratings() -> None:
        """Never awaited, so closed by the mesh."""

    def lazy() -> Awaitable[None]:
        return ratings()

    with pytest.raises(TypeError, match="returned a coroutine"):
        mesh.run("ratings", lazy)
    with pytest.raises(TypeError, match="returned a generator"):
        mesh.run("ratings", lambda: (one for one in ()))
    assert_at_rest(mesh)


def test_a_closed_mesh_decorates_nothing() -> None:
    """What was decorated before goes on working."""
    mesh = load(clock=VirtualClock())
    governed = mesh.call("ratings")(lambda: 5)
    mesh.close()
    assert governed() == 5
    with pytest.raises(MeshClosedError):
        mesh.call("ratings")
