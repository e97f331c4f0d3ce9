"""What a careful team puts together without meshlib, each library used as its own documentation shows.

tenacity for retries, pybreaker for the breaker, asyncio.timeout for the per-try timeout, prometheus_client for a
counter and a histogram with labels, the OpenTelemetry API for a span (without an SDK: nothing records).
It does less than the governed session: no routes, no weights, no balancing, one breaker for all endpoints.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pybreaker
from opentelemetry import trace
from prometheus_client import CollectorRegistry, Counter, Histogram
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from benchmarks.memory_client import Session

__all__ = ["hand_made", "only_tenacity"]

Body = Callable[[int], Awaitable[None]]
LABELS = ("service", "method", "code")


class UnavailableError(Exception):
    """A response that is worth another attempt."""


with_retries = retry(
    stop=stop_after_attempt(3),
    wait=wait_random_exponential(multiplier=0.025, max=0.25),
    retry=retry_if_exception_type((UnavailableError, OSError, asyncio.TimeoutError)),
    reraise=True,
)


def only_tenacity(session: Session, url: str) -> Body:
    """A benchmark body: the bare call under a tenacity decorator."""

    @with_retries
    async def get() -> None:
        async with session.get(url) as response:
            if response.status >= 500:
                raise UnavailableError
            await response.read()

    return _body(get)


def hand_made(session: Session, url: str, *, service: str) -> Body:
    """A benchmark body: the call under everything."""
    registry = CollectorRegistry()
    requests = Counter("requests", "Requests by code.", LABELS, registry=registry)
    duration = Histogram("request_duration_seconds", "Duration by code.", LABELS, registry=registry)
    breaker = pybreaker.CircuitBreaker(fail_max=5, reset_timeout=30, exclude=[asyncio.CancelledError])
    tracer = trace.get_tracer("benchmark")

    @with_retries
    async def attempt() -> int:
        with breaker.calling():
            async with asyncio.timeout(2.0), session.get(url) as response:
                if response.status >= 500:
                    raise UnavailableError
                await response.read()
                return response.status

    async def get() -> None:
        start, code = time.perf_counter(), "error"
        attributes = {"http.request.method": "GET", "server.address": service}
        with tracer.start_as_current_span("GET", kind=trace.SpanKind.CLIENT, attributes=attributes) as span:
            try:
                status = await attempt()
                code = str(status)
                span.set_attribute("http.response.status_code", status)
            finally:
                requests.labels(service, "GET", code).inc()
                duration.labels(service, "GET", code).observe(time.perf_counter() - start)

    return _body(get)


def _body(get: Callable[[], Awaitable[None]]) -> Body:
    async def body(calls: int) -> None:
        for _ in range(calls):
            await get()
        await asyncio.sleep(0)  # as in memory_client.gets

    return body
