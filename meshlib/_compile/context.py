"""Who and where routes are compiled for: the workload, the port, and what it can see there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from meshlib._compile.findings import Findings
from meshlib._compile.mesh import MeshSettings
from meshlib.model.load_balancer import ConsistentHashLB
from meshlib.model.traffic_policy import RetryPolicy

__all__ = ["ClusterKeys", "DestinationDefaults", "RouteContext"]


@dataclass(frozen=True, slots=True)
class DestinationDefaults:
    """What a DestinationRule gives the routes to its host that ask for nothing (our extension)."""

    timeout: float | None = None
    retry: RetryPolicy | None = None


class ClusterKeys:
    """``outbound|port|subset|host``: one text for all routes and clusters that have the key, and one for the host."""

    __slots__ = ("_found", "_hosts")

    def __init__(self) -> None:
        self._found: dict[tuple[str, int, str], str] = {}
        self._hosts: dict[str, str] = {}

    def of(self, host: str, port: int, subset: str) -> tuple[str, str]:
        """The key, and the host."""
        host = self._hosts.setdefault(host, host)
        place = (host, port, subset)
        found = self._found.get(place)
        if found is None:
            found = self._found[place] = f"outbound|{port}|{subset}|{host}"
        return found, host


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteContext:
    """Everything a rule is compiled against.

    ``gateway`` is ``mesh`` for a sidecar. ``locate`` gives the host that a destination's
    host stands for (an ExternalName service is another one) and the port to use where
    the destination names none, if that is not the dialled one. ``find_hash`` tells what
    a destination (host, subset, port if it names one) is hashed by, ``find_defaults``
    what our extension of DestinationRule gives it; neither is asked where ``rules`` is
    false, because there are no DestinationRules at all.
    """

    namespace: str
    labels: Mapping[str, str]
    mesh: MeshSettings
    findings: Findings
    locate: Callable[[str], tuple[str, int | None]]
    find_hash: Callable[[str, str, int | None], ConsistentHashLB | None]
    find_defaults: Callable[[str, str, int], DestinationDefaults | None]
    rules: bool = True
    port: int = 80
    gateway: str = "mesh"
    is_tls: bool = False
    keys: ClusterKeys

    def cluster_key(self, host: str, port: int, subset: str) -> tuple[str, str]:
        """The key of a cluster and its host, each one text wherever it occurs."""
        return self.keys.of(host, port, subset)
