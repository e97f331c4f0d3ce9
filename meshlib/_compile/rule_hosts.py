"""The VirtualServices that have to do with some services."""

from __future__ import annotations

from collections.abc import Iterable

from meshlib._compile.hosts import is_wildcard, overlaps
from meshlib._compile.virtual_services import BoundVirtualService
from meshlib._compile.visibility import EgressListener

__all__ = ["RuleHosts"]


class RuleHosts:
    """The VirtualServices of a listener by host, to find those that have a host among some services."""

    def __init__(self, listener: EgressListener) -> None:
        self._rules = listener.rules
        self._exact: dict[str, int] = {}
        self._further: dict[str, list[int]] = {}  # of hosts that several have
        self._wildcards: list[tuple[str, int]] = []
        exact, further = self._exact, self._further
        for number, rule in enumerate(listener.rules):
            for host in rule.lower_hosts:
                if host[:1] == "*":  # a call of is_wildcard for each would be a quarter of all this
                    self._wildcards.append((host, number))
                elif exact.setdefault(host, number) != number:
                    further.setdefault(host, []).append(number)

    def matching(self, services: Iterable[str]) -> list[BoundVirtualService]:
        """Those with a host that is a service, or overlaps one, in their order."""
        found: set[int] = set()
        for host in services:
            self._add(host, found)
            found.update(number for pattern, number in self._wildcards if overlaps(pattern, host))
            if is_wildcard(host):
                for name in self._exact:
                    if overlaps(name, host):
                        self._add(name, found)
        return [self._rules[number] for number in sorted(found)]

    def _add(self, host: str, found: set[int]) -> None:
        """Add those that have the very host."""
        first = self._exact.get(host)
        if first is not None:
            found.add(first)
            found.update(self._further.get(host, ()))
