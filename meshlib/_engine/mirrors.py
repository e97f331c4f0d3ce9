"""Copies of a request whose replies are dropped (semantics 2.8): each mirror is drawn by itself."""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

from meshlib._engine.commands import Command, Copy
from meshlib._engine.published import Published
from meshlib._engine.request_headers import ATTEMPT_COUNT
from meshlib._http import Headers, Outcome, RequestHead
from meshlib._snapshot.routes import Mirror

__all__ = ["draw_copies"]

_FORWARDED_FOR: Final = "x-forwarded-for"


def draw_copies(
    mirrors: tuple[Mirror, ...],
    published: Published,
    request: RequestHead,
    headers: Headers,
    path: str | None,
    authority: str | None,
) -> Generator[Command, Outcome | None, None]:
    """A copy for each mirror that the draw hits and that has an endpoint; CONNECT is never mirrored.

    A copy has no connection of the application, so nothing was dialled for it: Envoy 1.40 finds no host for it
    in a cluster of discovery ORIGINAL (``upstream_cx_none_healthy``), and nor is one picked here. ``headers``,
    ``path`` and ``authority`` are those that are sent.
    """
    if request.method == "CONNECT":
        return
    marks = _marks(headers, authority, published.snapshot.address)
    for mirror in mirrors:
        if mirror.ratio < 1.0 and published.chance.random() >= mirror.ratio:
            continue
        live = published.clusters.get(mirror.cluster)
        if live is None or live.is_original:
            continue
        with live.state.lock:
            host = live.balancer.pick()
            live.state.mirrored += host is not None
        if host is not None:
            yield Copy(live.cluster, host.endpoint, path, marks)


def _marks(headers: Headers, authority: str | None, own: str) -> dict[str, str]:
    """What a copy has besides what is sent: Envoy makes it a request of its own, from the address ``own``."""
    marks = {"x-envoy-internal": "true", ATTEMPT_COUNT: "1"}
    if authority is not None:
        marks["host"] = authority
    if own:
        marks[_FORWARDED_FOR] = ",".join([*headers.getall(_FORWARDED_FOR, ()), own])
    return marks
