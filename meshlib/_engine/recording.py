"""What telemetry is told: whole exchanges and served requests, with more than public events carry.

At most one recorder listens; it is called on the thread or task of the request and must
neither block nor raise. Without one nothing of this costs anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from meshlib._engine.attempts import Attempts
    from meshlib._engine.decisions import Decision, DryRun
    from meshlib._engine.exchange import Exchange
    from meshlib._http import HeadersView, Outcome, RequestHead
    from meshlib._snapshot.snapshot import Snapshot
    from meshlib._snapshot.telemetry import Telemetry

__all__ = ["SDK", "CountAgain", "Listener", "Recorder", "Served", "Trace", "View"]

SDK: Final = "opentelemetry.sdk.trace"
"""Until somebody imports it there is nobody who records spans, unless a mesh was told of one."""

View: TypeAlias = "Callable[[], Iterable[tuple[str, tuple[tuple[str, str], ...], float]]]"
"""A part of the mesh that has figures to show: names of metrics, their labels and values, as they are now."""

CountAgain: TypeAlias = "Callable[[Telemetry, tuple[int, str, int], float, int], bool]"
"""Count a served request without a body by its port, its peer's identity and its status, the time when it began and the
bytes that were sent. False: none like it was served before, or nobody saw the response (status 0);
:meth:`Recorder.serve` is to be told in full."""


class Trace(Protocol):
    """The span of one exchange that is recorded."""

    def attempt(self, exchange: Attempts, outcome: Outcome) -> None:
        """An attempt has come back. Of one that was good at once it need not be told."""
        ...

    def end_call(self, exchange: Exchange, facts: Any, telemetry: Telemetry) -> None:
        """The exchange is over; ``facts`` are the recorder's, of an exchange that needs them."""
        ...


class Listener(Protocol):
    """Wants to know of the end of an exchange; ``wants_times``: and when the head of its response came."""

    @property
    def wants_times(self) -> bool: ...

    @property
    def end(self) -> Callable[[Exchange], None]:
        """It is over: its body was read or dropped, or its caller went away (``status`` 0)."""
        ...


class Recorder(Protocol):
    """Takes part in every exchange and every served request."""

    def wants_calls(self, snapshot: Snapshot) -> bool:
        """Whether it would take part in an exchange that starts now."""
        ...

    def begin(self, exchange: Exchange) -> None:
        """An exchange starts; who wants its end sets ``exchange.recorder``."""
        ...

    def end(self, exchange: Exchange) -> None:
        """It is over: its body was read or dropped, or its caller went away (``status`` 0)."""
        ...

    @property
    def count_again(self) -> CountAgain:
        """Counts what :meth:`only_counts` allows not to tell of in full."""
        ...

    @property
    def quiet(self) -> Snapshot | None:
        """What :meth:`only_counts` has answered yes to: still true as long as nobody has imported :data:`SDK`."""
        ...

    def only_counts(self, snapshot: Snapshot) -> bool:
        """Whether nobody wants more of a request that arrives now than its count."""
        ...

    def arrive(self, head: RequestHead, snapshot: Snapshot) -> Served | None:
        """A request arrives; None if nobody wants to know of it."""
        ...

    def serve(self, served: Served) -> None:
        """It was answered."""
        ...

    def reset_after_fork(self) -> None:
        """In a forked child: what the parent has counted is the parent's."""
        ...


class Served:
    """One request to the workload and what became of it.

    ``peer`` is the SPIFFE id of a verified peer, ``claimed`` what it says of itself without proof
    (Istio's metadata exchange), ``source`` its address; ``sent`` the bytes
    of the response's body (-1: not known); ``status`` 0: the client saw no response.
    ``started`` and ``ended`` are of the monotonic clock, ``time`` is the Unix time of its
    end. ``verdict`` is what was decided of it. ``leave`` ends what a tracer entered around the
    application. ``is_bare``: the head says nothing of a body, and nothing of who sends it.
    """

    # Most requests leave most of these as they are: defaults of the class cost nothing to set.
    peer = ""
    source = ""
    destination = ""
    request_id = ""
    request_principal = ""
    decision = ""
    details = ""
    dry_runs: tuple[DryRun, ...] = ()
    verdict: Decision | None = None
    claimed = ""
    is_bare = False
    status = 0
    sent = -1
    response_headers: HeadersView | Iterable[tuple[str | bytes, str | bytes]] = ()
    time = 0.0
    span: Any = None
    leave: Callable[[], None] | None = None

    def __init__(self, head: RequestHead, snapshot: Snapshot, started: float) -> None:
        self.head = head
        self.snapshot = snapshot
        self.started = self.ended = started

    def __repr__(self) -> str:
        return f"<Served {self.head.method} {self.head.path_only} {self.status}>"
