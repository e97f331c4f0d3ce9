"""What every balancing algorithm offers."""

from __future__ import annotations

from typing import Protocol, TypeVar

from meshlib._snapshot.clusters import Endpoint

__all__ = ["Balancer", "Host", "HostT"]


class Host(Protocol):
    """An endpoint that may be picked, with the number of its requests on their way.

    ``added_at`` is when it came, by the clock; None if it needs no warm-up.
    """

    endpoint: Endpoint
    active: int
    added_at: float | None


HostT = TypeVar("HostT", bound=Host)
HostT_co = TypeVar("HostT_co", bound=Host, covariant=True)


class Balancer(Protocol[HostT_co]):
    """Picks among the hosts it was built for. Called under the lock of its cluster."""

    def pick(self) -> HostT_co | None:
        """The next host; None if there is none."""
        ...
