"""One mesh of those that an admin interface shows, with what is counted of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from meshlib._config.load import Skipped
from meshlib._explain import Explanation
from meshlib._runtime import Runtime
from meshlib.admin.faults import FaultSwitch
from meshlib.admin.tally import Tally
from meshlib.diagnostics import Finding
from meshlib.telemetry.metrics import Metrics
from meshlib.telemetry.peers import UNKNOWN, canonical_service
from meshlib.workload import Workload

__all__ = ["Governed", "Member", "node_of_host"]


class Governed(Protocol):
    """A :class:`meshlib.Mesh`, as far as the admin interface needs it."""

    @property
    def runtime(self) -> Runtime:
        """Where the configuration in force and its state are."""
        ...

    @property
    def workload(self) -> Workload:
        """Who the process is."""
        ...

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is worth saying about the configuration in force."""
        ...

    @property
    def skipped(self) -> tuple[Skipped, ...]:
        """The documents of kinds that are not applied."""
        ...

    def explain(self, method: str, url: str, *, headers: Mapping[str, str] | None = None) -> Explanation:
        """What would become of a request."""
        ...

    def source(self, name: str) -> str | None:
        """The text in force that was read under a name; None if there is none."""
        ...


class Member:
    """A mesh with the counts of its calls and the switch of its faults. ``name`` tells it from the others."""

    def __init__(self, mesh: Governed, name: str) -> None:
        self.mesh = mesh
        self.name = name
        runtime = mesh.runtime
        self.runtime = runtime
        self.started = runtime.clock.time()
        self.tally = Tally(runtime.observe, runtime.clock)
        self.faults = FaultSwitch(runtime)

    @property
    def metrics(self) -> Metrics | None:
        """The metrics of the mesh, if they are on."""
        found = getattr(self.runtime.recorder, "metrics", None)
        return found if isinstance(found, Metrics) else None

    def __repr__(self) -> str:
        return f"<Member {self.name} {self.tally!r}>"


def member_name(workload: Workload) -> str:
    """``reviews.default``: the node of a workload in the graph, the same that calls to its service lead to."""
    service = canonical_service(workload.labels, workload.name)
    if service == UNKNOWN:
        service = workload.service_account if workload.service_account != "default" else "this-process"
    return f"{service}.{workload.namespace}"


def name_members(meshes: list[Governed]) -> list[Member]:
    """Each mesh with a name of its own."""
    members: list[Member] = []
    for mesh in meshes:
        name = base = member_name(mesh.workload)
        number = 1
        while any(member.name == name for member in members):
            number += 1
            name = f"{base}#{number}"
        members.append(Member(mesh, name))
    return members


def node_of_host(host: str) -> str:
    """The node of the graph that a host belongs to: ``reviews.default`` for a service of the cluster."""
    name, dot, _ = host.partition(".svc.")
    return name if dot and name.count(".") == 1 else host
