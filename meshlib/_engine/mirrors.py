"""Copies of a request whose replies are dropped (semantics 2.8): each mirror is drawn by itself."""

from __future__ import annotations

from collections.abc import Generator

from meshlib._engine.commands import Command, Copy
from meshlib._engine.published import Published
from meshlib._http import Outcome, RequestHead
from meshlib._snapshot.routes import Mirror

__all__ = ["draw_copies"]


def draw_copies(
    mirrors: tuple[Mirror, ...], published: Published, request: RequestHead, path: str | None
) -> Generator[Command, Outcome | None, None]:
    """A copy for each mirror that the draw hits and that has an endpoint; CONNECT is never mirrored.

    A copy has no connection of the application, so nothing was dialled for it: Envoy 1.40 finds no host for it
    in a cluster of discovery ORIGINAL (``upstream_cx_none_healthy``), and nor is one picked here.
    """
    if request.method == "CONNECT":
        return
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
            yield Copy(live.cluster, host.endpoint, path)
