"""A small mesh with real upstreams, and its admin interface on a real server, for the tests beside."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from meshlib import Mesh
from meshlib.workload import Workload
from tests.patience import PATIENCE, wait_until

__all__ = ["WEB", "load", "rules", "served"]

WEB = Workload(namespace="shop", labels={"app": "web", "version": "v1"}, service_account="web")

_RULES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: reviews, namespace: shop}}
spec:
  hosts: [reviews]
  http:
  - name: secret-header
    match:
    - headers:
        x-api-key: {{exact: hunter2-in-a-match}}
    headers: {{request: {{set: {{authorization: Bearer hunter2-in-a-header}}}}}}
    route: [{{destination: {{host: reviews, subset: v1}}}}]
  - name: gone
    match: [{{uri: {{prefix: /gone}}}}]
    directResponse: {{status: 410}}
  - name: all
    retries: {{attempts: 2, retryOn: 5xx}}
    route:
    - {{destination: {{host: reviews, subset: v1}}, weight: 75}}
    - {{destination: {{host: reviews, subset: v2}}, weight: 25}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: reviews, namespace: shop}}
spec:
  host: reviews
  trafficPolicy:
    outlierDetection: {{consecutive5xxErrors: 2, interval: 1s, baseEjectionTime: 600s, maxEjectionPercent: 100}}
  subsets:
  - {{name: v1, labels: {{version: v1}}}}
  - {{name: v2, labels: {{version: v2}}}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: reviews, namespace: shop}}
spec:
  hosts: [reviews.shop.svc.cluster.local]
  ports: [{{number: 9080, name: http, protocol: HTTP}}]
  resolution: STATIC
  location: MESH_INTERNAL
  endpoints:
  - {{address: 127.0.0.1, ports: {{http: {first}}}, labels: {{version: v1}}}}
  - {{address: 127.0.0.1, ports: {{http: {second}}}, labels: {{version: v2}}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: shop, namespace: shop}}
stringData:
  password: hunter2-in-a-secret
"""


def rules(first: int = 1, second: int = 2) -> str:
    """Reviews of two versions, each on a port of loopback."""
    return _RULES.format(first=first, second=second)


@contextmanager
def served(app: Any) -> Iterator[str]:
    """An ASGI application on a real uvicorn in a thread of its own; gives its URL."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", lifespan="off", ws="none")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join(PATIENCE)


def load(first: int = 1, second: int = 2) -> Mesh:
    """The mesh of the web workload."""
    return Mesh.load(rules(first, second), workload=WEB)
