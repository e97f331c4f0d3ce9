"""Two configurations, compared."""

from __future__ import annotations

from collections.abc import Iterable

from meshlib._compile import Config
from meshlib._diff.access import access_changes
from meshlib._diff.change import Change, grouped
from meshlib._diff.traffic import probes, traffic_changes
from meshlib.model.resource import Resource
from meshlib.workload import Workload

__all__ = ["compare"]


def compare(old: Iterable[Resource], new: Iterable[Resource], client: Workload | None = None) -> list[Change]:
    """What requests meet in the new configuration and did not in the old one; traffic first, then access.

    ``client`` is who sends the requests (default: a workload of namespace ``default``).
    """
    before, after = tuple(old), tuple(new)
    everything = (*before, *after)
    configs = Config(before), Config(after)
    hosts = dict.fromkeys(
        (service.host, port.number)
        for config in configs
        for service in config.registry.services
        for port in service.ports
        if port.is_http
    )
    asked = {repr(probe): probe for probe in probes(everything, hosts, client or Workload())}
    changes = [*traffic_changes(*configs, asked.values()), *access_changes(*configs, (before, after))]
    return grouped(changes)
