"""What type checkers see of governed functions. Checked by mypy and pyright, never run."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, assert_type

import pybreaker
import tenacity

from meshlib import LastGood, Mesh

mesh = Mesh.load("mesh/")


@mesh.call("ratings", fallback=lambda *_: [], stop=tenacity.stop_after_attempt(3), wait=tenacity.wait_fixed(1))
async def ratings(product_id: str, *, limit: int = 5) -> list[int]:
    """An asynchronous function stays one."""
    return [int(product_id), limit]


@mesh.call("ratings", subset="v2", port=9080, method="GET", classify=lambda end: 503 if end is None else None)
def stars(product_id: str) -> int | None:
    """And a plain one."""
    return len(product_id)


class Client:
    """Methods keep their self."""

    @mesh.call("ratings", fallback=LastGood(60), breaker=pybreaker.CircuitBreaker())
    def get(self, product_id: str) -> bytes:
        """By id."""
        return product_id.encode()


async def calls() -> None:
    """Arguments and results are those of the function that was wrapped."""
    assert_type(await ratings("1", limit=3), list[int])
    assert_type(stars("1"), int | None)
    assert_type(Client().get("1"), bytes)
    assert_type(mesh.run("ratings", stars, "1"), int | None)
    assert_type(await mesh.run("ratings", ratings, "1", limit=2), list[int])
    with mesh.attempt("ratings") as attempt:
        assert_type(attempt.endpoint, str)
    async with mesh.attempt("ratings") as attempt:
        assert_type(attempt.timeout, float | None)
    await ratings(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    stars()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    mesh.run("ratings", stars, 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Client().get(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


plain: Callable[[str], int | None] = stars
asynchronous: Callable[[str], Coroutine[Any, Any, list[int]]] = ratings
