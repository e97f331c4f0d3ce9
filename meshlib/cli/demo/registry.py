"""The servers of the demo as a cluster would list them: an EndpointSlice and a Pod for each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from meshlib.cli.demo.identities import account_of
from meshlib.cli.demo.servers import Server

__all__ = ["registry_yaml"]

# Each server has its own port, so each has its own slice: the ports of a slice are
# those of all its endpoints.
_ENDPOINT: Final = """\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {name}
  labels: {{kubernetes.io/service-name: {service}}}
addressType: IPv4
ports:
- {{name: http, port: {port}, protocol: TCP}}
endpoints:
- addresses: [127.0.0.1]
  conditions: {{ready: true}}
  targetRef: {{kind: Pod, name: {name}, namespace: default}}
---
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  labels: {{app: {service}, version: {version}, security.istio.io/tlsMode: istio}}
spec:
  serviceAccountName: {account}
status:
  podIP: 127.0.0.1
  phase: Running
"""


def registry_yaml(servers: Iterable[Server]) -> str:
    """YAML that says where the servers listen, as ordinary Kubernetes resources."""
    return "---\n".join(
        _ENDPOINT.format(
            name=server.name,
            service=server.service,
            version=server.version,
            port=server.port,
            account=account_of(server.service),
        )
        for server in servers
    )
