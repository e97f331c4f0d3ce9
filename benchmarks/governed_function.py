"""What ``@mesh.call`` adds to a function that does nothing, beside tenacity and pybreaker put together by hand.

The governed function has a route with weights, two subsets, three endpoints, retries, a timeout and outlier
detection, as in governed_call.py. By hand it has tenacity's decorator around pybreaker's ``calling()`` (its ``call()``
would let one thread in at a time), and around ``asyncio.timeout`` where it is asynchronous. Refusals are those of the
breaker of a ClientPolicy and of ``http2MaxRequests``, with the raise; what making and raising such an error costs by
itself is measured too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack, suppress

import pybreaker
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from benchmarks.governed_call import CONFIG
from benchmarks.harness import AsyncBody, Comparison, SyncBody, arguments, compare, compare_async, emit, emit_figure
from meshlib import Mesh
from meshlib.errors import BreakerOpenError, RefusedError

__all__ = ["main"]

BARE, AGAIN, HAND_MADE, GOVERNED = "bare", "bare again", "hand-made", "meshlib"
REFUSED, OVERFLOWN, RAISED = "meshlib, breaker open", "meshlib, overflow", "the raise alone"
POLICY = """
---
apiVersion: meshlib.dev/v1alpha1
kind: ClientPolicy
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews]
  circuitBreaker: {consecutiveFailures: 1, openFor: 1h}
"""

with_retries = retry(
    stop=stop_after_attempt(3),
    wait=wait_random_exponential(multiplier=0.025, max=0.25),
    retry=retry_if_exception_type(OSError),
    reraise=True,
)


def nothing(value: int) -> int:
    """The function."""
    return value


async def nothing_async(value: int) -> int:
    """The asynchronous one."""
    return value


def broken(value: int) -> int:
    """What opens a breaker."""
    raise OSError(value)


def by_hand() -> Callable[[int], int]:
    """The function under tenacity and pybreaker."""
    breaker = pybreaker.CircuitBreaker(fail_max=5, reset_timeout=30)

    @with_retries
    def call(value: int) -> int:
        with breaker.calling():
            return nothing(value)

    return call


def by_hand_async() -> Callable[[int], Awaitable[int]]:
    """The asynchronous function under tenacity, pybreaker and a timeout."""
    breaker = pybreaker.CircuitBreaker(fail_max=5, reset_timeout=30, exclude=[asyncio.CancelledError])

    @with_retries
    async def call(value: int) -> int:
        with breaker.calling():
            async with asyncio.timeout(2.0):
                return await nothing_async(value)

    return call


def refused() -> Callable[[int], int]:
    """A function behind an open breaker."""
    mesh = Mesh.load(CONFIG + POLICY)
    call = mesh.call("reviews")(broken)
    try:
        call(1)
    except OSError:
        return call
    raise AssertionError("the breaker did not open")


def full_host(full: ExitStack) -> Callable[[int], int]:
    """A function of a host that is busy with its one request."""
    mesh = Mesh.load(CONFIG.replace("http2MaxRequests: 1024", "http2MaxRequests: 1"))
    for _ in range(2):  # one in each subset
        with suppress(RefusedError):
            while True:
                full.enter_context(mesh.attempt("reviews"))
    return mesh.call("reviews")(nothing)


def raising(value: int) -> int:
    """The raise."""
    raise BreakerOpenError(
        status=503, body="circuit breaker open", flags=("UO",), details="client_policy_breaker_open", host="reviews"
    )


def plainly(function: Callable[[int], int]) -> SyncBody:
    """A benchmark body."""

    def body(calls: int) -> None:
        for number in range(calls):
            try:  # noqa: SIM105 - suppress() would cost as much as what is measured
                function(number)
            except RefusedError:
                pass

    return body


def awaiting(function: Callable[[int], Awaitable[int]]) -> AsyncBody:
    """A benchmark body that awaits."""

    async def body(calls: int) -> None:
        for number in range(calls):
            await function(number)
        await asyncio.sleep(0)

    return body


def measure(*, rounds: int, calls: int) -> Comparison:
    """The plain functions."""
    governed = Mesh.load(CONFIG).call("reviews")(nothing)
    with ExitStack() as full:
        variants = {
            BARE: plainly(nothing),
            AGAIN: plainly(nothing),
            HAND_MADE: plainly(by_hand()),
            GOVERNED: plainly(governed),
            REFUSED: plainly(refused()),
            OVERFLOWN: plainly(full_host(full)),
            RAISED: plainly(raising),
        }
        return compare("governed_function", variants, rounds=rounds, calls=calls, again=AGAIN)


async def measure_async(*, rounds: int, calls: int) -> Comparison:
    """The asynchronous ones."""
    governed = Mesh.load(CONFIG).call("reviews")(nothing_async)
    variants = {
        BARE: awaiting(nothing_async),
        AGAIN: awaiting(nothing_async),
        HAND_MADE: awaiting(by_hand_async()),
        GOVERNED: awaiting(governed),
    }
    return await compare_async("governed_function_async", variants, rounds=rounds, calls=calls, again=AGAIN)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print JSON lines and the tables."""
    options = arguments(__doc__ or "", rounds=101, calls=500, argv=argv)
    plain = measure(rounds=options.rounds, calls=options.calls)
    emit(plain)
    emit_figure("decorated call, plain: added", plain.added(GOVERNED), "µs", noise=plain.noise)
    refused, overflown = plain.added(REFUSED, over=RAISED), plain.added(OVERFLOWN, over=RAISED)
    emit_figure("refusal by an open breaker: beyond the raise", refused, "µs", noise=plain.noise)
    emit_figure("refusal by an overflow: beyond the raise", overflown, "µs", noise=plain.noise)
    awaited = asyncio.run(measure_async(rounds=options.rounds, calls=options.calls))
    emit(awaited)
    emit_figure("decorated call, async: added", awaited.added(GOVERNED), "µs", noise=awaited.noise)


if __name__ == "__main__":
    main()
