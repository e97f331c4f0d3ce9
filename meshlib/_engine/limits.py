"""Caps of a cluster: how much may be on its way at once, and who waits (semantics 3.6, 4.10).

Rules, after Envoy's HTTP/1.1 connection pool:

* A request on its way holds a connection. It gets one if the cluster is below
  ``maxConnections``, or if its endpoint has none: each may always have one.
* Otherwise it waits, first come first served, for a connection of its endpoint;
  waiting and connecting requests are pending. Above ``http1MaxPendingRequests`` it is
  refused (503, flag UO), and so is a request above ``http2MaxRequests``.
* Concurrent retries are capped by ``maxRetries``, or by a budget: a share of the requests
  on their way, with ``budgetInterval`` of the attempts started within that time, those that
  are retries among them (seen on Envoy 1.40).
* Who leaves hands its connection to the first who waits, under the lock, so that
  none gets lost when one of them is cancelled.
"""

from __future__ import annotations

from collections import deque

from meshlib._engine.commands import Ticket
from meshlib._engine.state import ClusterState, EndpointState, LiveCluster

__all__ = ["connect_locked", "leave_locked", "retry_limit", "take_locked", "wait_locked", "withdraw"]


def retry_limit(live: LiveCluster) -> int:
    """How many retries may be outstanding to a cluster at once."""
    budget = live.cluster.policy.retry_budget
    if budget is None:
        return live.cluster.policy.connection_pool.max_retries
    recent = live.state.recent
    base = live.state.active + live.state.pending if recent is None else recent.count(live.now())
    return max(budget.minimum, int(budget.ratio * base))


def take_locked(live: LiveCluster, host: EndpointState) -> bool:
    """Take a connection to ``host``; False if there is none."""
    state = live.state
    if state.connections >= live.max_connections and host.connections:
        return False
    state.connections += 1
    host.connections += 1
    return True


def wait_locked(live: LiveCluster, host: EndpointState) -> Ticket | None:
    """A place in the queue of ``host``; None if it is full."""
    if live.state.pending >= live.max_pending:
        return None
    ticket = Ticket()
    live.state.pending += 1
    if host.waiting is None:
        host.waiting = deque()
    host.waiting.append(ticket)
    return ticket


def connect_locked(live: LiveCluster, *, is_let_in: bool) -> bool:
    """Count a request as pending while its connection is made; False if too many are and it is not let in anyway."""
    if live.state.pending >= live.max_pending and not is_let_in:
        return False
    live.state.pending += 1
    return True


def leave_locked(state: ClusterState, host: EndpointState) -> Ticket | None:
    """Give a connection back: the ticket of who has it now, to be told without the lock."""
    if host.waiting:
        state.pending -= 1
        ticket = host.waiting.popleft()
        ticket.is_granted = True
        return ticket
    state.connections -= 1
    host.connections -= 1
    return None


def withdraw(state: ClusterState, host: EndpointState, ticket: Ticket) -> None:
    """Leave the queue; a connection that was granted meanwhile goes to the next."""
    heir = None
    with state.lock:
        if ticket.is_granted:
            heir = leave_locked(state, host)
        else:
            if host.waiting is not None:  # it is there, since the ticket waits in it
                host.waiting.remove(ticket)
            state.pending -= 1
    if heir is not None:
        heir.tell()
