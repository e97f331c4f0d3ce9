"""Records what a running mesh decides, so that other YAML can be tried on real requests (``meshlib replay``).

A file of JSON lines: first who the workload is, then each distinct decision once. It holds
no bodies, and of headers and query parameters only those that some rule looks at; what may
be a secret is left out. It never grows beyond its limit.
"""

from __future__ import annotations

import json
import os
import queue
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Protocol, Self

from meshlib._engine.exchange import Exchange
from meshlib._engine.recording import Recorder, Served
from meshlib._http import RequestHead
from meshlib._runtime import Runtime
from meshlib._snapshot.snapshot import Snapshot
from meshlib.errors import MeshError
from meshlib.events import ConfigPublished
from meshlib.testing.redaction import Interests
from meshlib.testing.replaying import decided_inbound, decided_outbound
from meshlib.workload import Workload

__all__ = ["Recording"]

_WAITING: Final = 10_000  # decisions not written yet; further ones are dropped, requests never wait for a disk
_REMEMBERED: Final = 100_000


class HasRuntime(Protocol):
    """A :class:`meshlib.Mesh`, as far as a recording needs it."""

    workload: Workload
    runtime: Runtime


class Recording:
    """Writes the decisions of ``mesh`` to ``path`` until it is closed; use it as a context.

    ``headers`` are written besides those that rules look at. At ``max_bytes`` it stops
    writing; ``dropped`` counts what was left out for that, or because the disk was slow.
    Raises :class:`meshlib.MeshError` if the mesh is being recorded already.
    """

    def __init__(
        self,
        mesh: HasRuntime,
        path: str | os.PathLike[str],
        *,
        headers: Iterable[str] = (),
        max_bytes: int = 10 << 20,
    ) -> None:
        self._runtime = mesh.runtime
        if isinstance(self._runtime.recorder, _Tap):
            raise MeshError("the mesh is being recorded already; close that recording first")
        self.dropped = 0
        self._headers = tuple(headers)
        self._left = max_bytes
        self._seen: set[str] = set()
        self._queue: queue.Queue[Mapping[str, Any] | None] = queue.Queue(_WAITING)
        self._file = Path(path).open("w", encoding="utf-8")  # noqa: SIM115 - closed by close()
        who = mesh.workload
        self._write(
            {
                "workload": {
                    "namespace": who.namespace,
                    "labels": dict(who.labels),
                    "service_account": who.service_account,
                    "gateway": who.gateway,
                },
                "version": self._runtime.published.snapshot.version,
            }
        )
        self._tap = _Tap(self, self._runtime.recorder)
        self._learn()
        self._forget = self._runtime.observe(lambda _: self._learn(), ConfigPublished)
        self._runtime.recorder = self._tap
        self._thread = threading.Thread(target=self._run, name="meshlib-recording", daemon=True)
        self._thread.start()

    def _learn(self) -> None:
        """Other rules may look at other headers."""
        self._tap.interests = Interests(self._runtime.published.snapshot, self._headers)

    def put(self, entry: Mapping[str, Any]) -> None:
        """Have a decision written; called while a request waits, so it does nothing but hand it over."""
        try:
            self._queue.put_nowait(entry)
        except queue.Full:
            self.dropped += 1

    def _run(self) -> None:
        while (entry := self._queue.get()) is not None:
            made = {key: value for key, value in entry.items() if key not in ("snapshot", "head")}
            if entry["kind"] == "outbound":
                made["decided"] = decided_outbound(entry["snapshot"], entry["head"])
            self._write(made)
            if self._queue.empty():
                self._file.flush()

    def _write(self, entry: Mapping[str, Any]) -> None:
        line = json.dumps(entry, ensure_ascii=False)
        if line in self._seen:
            return
        if len(line) * 4 + 1 > self._left:  # as long as it can be in UTF-8
            self.dropped += 1
            return
        if len(self._seen) < _REMEMBERED:
            self._seen.add(line)
        self._left -= len(line.encode()) + 1
        self._file.write(f"{line}\n")

    def close(self) -> None:
        """Write what is left, and stop. Safe to call again."""
        if self._file.closed:
            return
        if self._runtime.recorder is self._tap:
            self._runtime.recorder = self._tap.inner
        self._forget()
        self._queue.put(None)
        self._thread.join()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Recording {self._file.name} dropped={self.dropped}>"


class _Tap:
    """Stands before the mesh's own recorder, and lets it see everything."""

    interests: Interests

    def __init__(self, recording: Recording, inner: Recorder | None) -> None:
        self._recording = recording
        self.inner = inner
        self._own: set[int] = set()  # what arrived that only this recording wants to know of

    def wants_calls(self, snapshot: Snapshot) -> bool:
        """All of them."""
        return True

    def begin(self, exchange: Exchange) -> None:
        """An exchange starts: what its rules look at is copied before they change it."""
        request, interests = exchange.request, self.interests
        headers, path = interests.of(exchange.headers), interests.path(request.path)
        asked = {
            "method": request.method, "scheme": request.scheme, "host": request.authority, "port": request.port,
            "path": path, "headers": headers,
        }  # fmt: skip
        head = RequestHead(
            request.method, request.scheme, request.authority, path, _headers(headers, request), port=request.port,
            host=request.host,
        )  # fmt: skip
        snapshot = exchange.published.snapshot
        self._recording.put({"kind": "outbound", "request": asked, "snapshot": snapshot, "head": head})
        if self.inner is not None:
            self.inner.begin(exchange)

    def end(self, exchange: Exchange) -> None:
        """Only for those who asked."""

    quiet = None

    def only_counts(self, snapshot: Snapshot) -> bool:
        """Of each request that arrives everything is wanted."""
        return False

    def count_again(self, *_: object) -> bool:
        """Nobody is asked to: see :meth:`only_counts`."""
        return False

    def arrive(self, head: RequestHead, snapshot: Snapshot) -> Served | None:
        """A request arrives."""
        served = self.inner.arrive(head, snapshot) if self.inner is not None else None
        if served is None:
            served = Served(head, snapshot, 0.0)
            self._own.add(id(served))
        return served

    def serve(self, served: Served) -> None:
        """It was answered."""
        head, interests = served.head, self.interests
        asked: dict[str, Any] = {
            "method": head.method, "host": head.authority, "port": head.port, "path": interests.path(head.path),
            "headers": interests.of(head.headers), "principal": served.peer.removeprefix("spiffe://"),
            "source_ip": served.source, "request_principal": served.request_principal,
        }  # fmt: skip
        self._recording.put({"kind": "inbound", "request": asked, "decided": decided_inbound(served)})
        if id(served) in self._own:
            self._own.discard(id(served))
        elif self.inner is not None:
            self.inner.serve(served)

    def __getattr__(self, name: str) -> Any:
        """Whatever else the mesh's recorder has, its figures for one."""
        return getattr(self.inner, name)

    def reset_after_fork(self) -> None:
        """A child is not recorded: the file is its parent's."""
        self._recording._runtime.recorder = self.inner
        if self.inner is not None:
            self.inner.reset_after_fork()


def _headers(kept: Mapping[str, str], request: RequestHead) -> Any:
    from meshlib._http import Headers

    fields = Headers(kept)
    fields.setdefault("host", request.authority)
    return fields
