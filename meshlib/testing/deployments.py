"""Services that stand in no YAML: what a cluster would know of them, as its own resources."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from meshlib._compile.hosts import is_address

__all__ = ["Deployments"]


class Deployments:
    """The services, endpoints and pods that a simulation adds to the configuration."""

    def __init__(self) -> None:
        self._services: dict[tuple[str, str], dict[str, Any]] = {}
        self._others: list[dict[str, Any]] = []
        self._addresses = 0

    @property
    def resources(self) -> list[dict[str, Any]]:
        """As the API server would list them."""
        return [*self._services.values(), *self._others]

    def add(
        self,
        name: str,
        *,
        namespace: str,
        port: int,
        protocol: str,
        labels: Mapping[str, str],
        service_account: str,
        addresses: Sequence[str] | int,
        is_known: bool,
    ) -> list[str]:
        """One more group of pods behind a service; returns their ``address:port``. ``is_known``: the YAML has it.

        Raises ValueError for what no cluster would take, TypeError for a text in place of a list of addresses.
        """
        _check(name, port, addresses)
        if not is_known:
            self._services[namespace, name] = {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name, "namespace": namespace},
                "spec": {
                    "clusterIP": "10.255.0.1",
                    "selector": {"app": labels.get("app", name)},
                    "ports": [{"name": protocol, "port": port, "targetPort": port}],
                },
            }
        places = [self._next() for _ in range(addresses)] if isinstance(addresses, int) else list(addresses)
        group = len(self._others)
        pods = [f"{name}-{group}-{number}" for number in range(len(places))]
        for pod, place in zip(pods, places, strict=True):
            self._others.append(_pod(pod, namespace, labels, service_account, place))
        self._others.append(
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": f"{name}-{group}",
                    "namespace": namespace,
                    "labels": {"kubernetes.io/service-name": name},
                },
                "addressType": "IPv4",
                "ports": [{"name": protocol, "port": port}],
                "endpoints": [
                    {"addresses": [place], "targetRef": {"kind": "Pod", "name": pod, "namespace": namespace}}
                    for pod, place in zip(pods, places, strict=True)
                ],
            }
        )
        return [f"{place}:{port}" for place in places]

    def _next(self) -> str:
        self._addresses += 1
        return f"10.244.{self._addresses // 250}.{self._addresses % 250 + 1}"


_LABEL = re.compile("[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def _check(name: str, port: int, addresses: Sequence[str] | int) -> None:
    """A slip would make a service that no call reaches, or endpoints that nobody meant."""
    if not _LABEL.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a service: lower case letters, digits and -; namespace= is apart")
    if port not in range(1, 65536):
        raise ValueError(f"the port is {port!r}, it is to be a number from 1 to 65535")
    if isinstance(addresses, str):
        raise TypeError(f"replicas is {addresses!r}: give how many, or a list of addresses, [{addresses!r}]")
    if isinstance(addresses, int):
        if addresses < 0:
            raise ValueError(f"replicas is {addresses}, it is to be 0 or more")
    elif wrong := [one for one in addresses if not is_address(one)]:
        raise ValueError(f"{wrong[0]!r} is no address of a pod, such as '10.0.0.1'; the port is apart, in port=")


def _pod(name: str, namespace: str, labels: Mapping[str, str], service_account: str, address: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {**labels, "security.istio.io/tlsMode": "istio"},
        },
        "spec": {"serviceAccountName": service_account},
        "status": {"podIP": address, "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }
