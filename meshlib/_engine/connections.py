"""One connection that carries no HTTP the mesh may look into: limit, pick, connect, record (semantics 2.13).

Rules, after Envoy's TCP proxy and its connection pool:

* The host and port that are dialled select the routes; the server name of the TLS
  inside (if any), the port and the workload select one, its weights the destination.
* A cluster at ``maxConnections`` refuses (flag UO), and so does one without a healthy
  endpoint (UH), a port without a route (NR) and a host that the mesh does not let out.
* There is one try. Outlier detection sees a failure to connect as a 503, a connection
  as a 200, or both as results of local origin where these are told apart.
* A connection counts until it is closed, among its endpoint's active requests too.

Sans-IO: an adapter connects where :meth:`Connection.open` says, and tells what came of it.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import NamedTuple

from meshlib._engine.limits import leave_locked
from meshlib._engine.outliers import record_locked, sweep_locked
from meshlib._engine.published import Published
from meshlib._engine.state import EndpointState, LiveCluster
from meshlib._http import NO_HEADERS, Failure, Outcome, RequestHead, Response
from meshlib._snapshot.clusters import Cluster
from meshlib._snapshot.routes import Forward, Route
from meshlib.errors import MeshError
from meshlib.events import ConnectionClosed, ConnectionOpened

__all__ = ["Connection", "Refused", "Target"]


class Target(NamedTuple):
    """Where to connect."""

    host: str
    port: int


class Refused(NamedTuple):
    """Why there is no connection: Envoy's response flag and detail, and a sentence."""

    flag: str
    details: str
    reason: str


class Connection:
    """One connection to ``host:port``; ``server_name`` is that of the TLS which the application starts itself."""

    __slots__ = (
        "_is_counted",
        "_lock",
        "_published",
        "flag",
        "host",
        "live",
        "port",
        "route",
        "server_name",
        "started",
        "upstream",
    )

    def __init__(self, published: Published, host: str, port: int, server_name: str = "") -> None:
        self._published = published
        self._is_counted = False
        self._lock: object = None
        self.host = host
        self.port = _number(port)
        self.server_name = server_name
        self.route: Route | None = None
        self.live: LiveCluster | None = None
        self.upstream: EndpointState | None = None
        self.flag = ""
        self.started = published.clock.monotonic()

    @property
    def cluster(self) -> Cluster:
        """The destination; there is one after :meth:`open` has given a target."""
        assert self.live is not None
        return self.live.cluster

    def open(self) -> Target | Refused:
        """Take a place among the connections of an endpoint; raises MeshError for a port that carries HTTP."""
        live = self._destination()
        if isinstance(live, Refused):
            return self._refuse(live)
        self.live = live
        published, state, events = self._published, live.state, None
        now = published.clock.monotonic()
        with state.lock:
            if state.next_sweep is not None and now >= state.next_sweep:
                events = sweep_locked(live, now)
            host = None if live.is_original else live.balancer.pick()
            has_room = state.connections < live.max_connections
            if has_room and (host is not None or live.is_original):
                self._count_in_locked(live, host)
        for event in events or ():
            published.notify(event)
        if self._is_counted:
            return self._target(live, host)
        if has_room:
            return self._refuse(Refused("UH", "no_healthy_upstream", "no healthy upstream"))
        return self._refuse(Refused("UO", "upstream_overflow", "maxConnections are open"))

    def _count_in_locked(self, live: LiveCluster, host: EndpointState | None) -> None:
        self._is_counted, self._lock = True, live.state.lock
        live.state.connections += 1
        live.state.active += 1
        if host is not None:
            self.upstream = host
            host.connections += 1
            host.active += 1

    def _target(self, live: LiveCluster, host: EndpointState | None) -> Target:
        if host is not None:
            return Target(host.endpoint.address, host.endpoint.port)
        return Target(self.host, live.cluster.original_port or self.port)

    def _destination(self) -> LiveCluster | Refused:
        """The cluster that the routes send the connection to."""
        published = self._published
        dialled = f"[{self.host}]" if ":" in self.host else self.host
        head = RequestHead("", "tcp", dialled, "", NO_HEADERS, port=self.port, host=self.server_name)
        host = published.find_host(head)
        if host is None:
            return Refused("NR", "route_not_found", "nothing listens on this port")
        if host.is_http:
            raise MeshError(
                f"{self.host}:{self.port} carries HTTP in this configuration, whose requests the mesh must see; use "
                "one of its HTTP clients, or name the protocol of the port (tcp-…, appProtocol: tcp)"
            )
        route = self.route = host.match(head)
        if route is None:
            name = f"server name {self.server_name}" if self.server_name else "a connection without server name"
            return Refused("NR", "route_not_found", f"no route for {name}")
        action = route.action
        if not isinstance(action, Forward):
            return Refused(
                "UH", "blackhole", "outboundTrafficPolicy is REGISTRY_ONLY, and no service or route is for this name"
            )
        destinations = action.destinations
        draw = published.chance.random() * action.sums[-1] if len(destinations) > 1 else 0.0
        live = published.clusters.get(destinations[bisect_right(action.sums, draw)].cluster)
        return live if live is not None else Refused("NC", "cluster_not_found", "the route names no known service")

    def _refuse(self, refused: Refused) -> Refused:
        self.flag = refused.flag
        self._tell_opened()
        self._tell_closed(0, 0)
        return refused

    def establish(self) -> None:
        """It is there."""
        self._judge(Response(200, NO_HEADERS))
        self._tell_opened()

    def fail(self, failure: Failure) -> None:
        """It did not come."""
        self.flag = "UF"
        self._judge(failure)
        self._tell_opened()
        self.close()

    def abandon(self) -> None:
        """Nobody wants it any more, before it was there."""
        self._count_out()

    def close(self, sent: int = 0, received: int = 0) -> None:
        """It is over, after so many bytes each way. Safe to call again."""
        if self._count_out():
            self._tell_closed(sent, received)

    def _count_out(self) -> bool:
        """False if it does not count: any more, or in a forked child, whose counters have new locks."""
        live, host, heir = self.live, self.upstream, None
        if not self._is_counted or live is None or live.state.lock is not self._lock:
            return False
        self._is_counted = False
        with live.state.lock:
            live.state.active -= 1
            if host is None:
                live.state.connections -= 1
            else:
                host.active -= 1
                heir = leave_locked(live.state, host)
        if heir is not None:
            heir.tell()
        return True

    def _judge(self, outcome: Outcome) -> None:
        """Tell outlier detection."""
        live, host = self.live, self.upstream
        if live is None or host is None or live.cluster.policy.outlier is None:
            return
        with live.state.lock:
            event = record_locked(live, host, outcome, self._published.clock.monotonic())
        if event is not None:
            self._published.notify(event)

    def _tell_opened(self) -> None:
        if ConnectionOpened in self._published.observers:
            self._published.notify(ConnectionOpened(**self._names()))

    def _tell_closed(self, sent: int, received: int) -> None:
        if ConnectionClosed in self._published.observers:
            duration = self._published.clock.monotonic() - self.started
            self._published.notify(ConnectionClosed(sent=sent, received=received, duration=duration, **self._names()))

    def _names(self) -> dict[str, str]:
        return {
            "host": self.host,
            "cluster": self.live.cluster.name if self.live is not None else "",
            "endpoint": self.upstream.key if self.upstream is not None else "",
            "flag": self.flag,
        }

    def __repr__(self) -> str:
        where = self.upstream.key if self.upstream is not None else "-"
        return f"<Connection {self.host}:{self.port} → {where}>"


def _number(port: int | str) -> int:
    """The port as the rules have it: as text, which the standard library takes too, it would be under none of them."""
    try:
        number = int(port)
    except ValueError:
        number = 0
    if not 0 < number < 65536:
        raise ValueError(f"port is {port!r}, it is to be a number from 1 to 65535")
    return number
