"""Requests and clients as the JSON of the routing corpus writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from multidict import CIMultiDict

from meshlib._http import Headers, RequestHead
from meshlib._snapshot.snapshot import Snapshot
from meshlib.workload import Workload

__all__ = ["request_from_json", "workload_from_json"]


def request_from_json(entry: Mapping[str, object], snapshot: Snapshot | None = None) -> RequestHead:
    """The request of a line.

    Its keys are ``method``, ``host``, ``port``, ``path``, ``headers``, ``scheme``,
    ``protocol`` (http or tls) and ``sni``; a header value may be a list. Without a scheme
    it is https on ports where the snapshot's gateway speaks TLS, and for ``protocol: tls``;
    else http. Raises ValueError.
    """
    protocol = text(entry, "protocol", "http")
    sni = text(entry, "sni", "")
    authority = text(entry, "host", sni)
    port = entry.get("port")
    speaks_tls = protocol == "tls" or (snapshot is not None and port in snapshot.servers)
    scheme = text(entry, "scheme", "https" if speaks_tls else "http")
    if port is None:
        port = 443 if scheme == "https" else 80
    if not isinstance(port, int) or isinstance(port, bool):
        raise ValueError(f"port: expected a number, got {port!r}")
    headers: Headers = CIMultiDict()
    fields = entry.get("headers") or {}
    if not isinstance(fields, Mapping):
        raise ValueError("headers: expected a map of names and values")
    for name, value in cast("Mapping[str, object]", fields).items():
        for item in value if isinstance(value, list) else [value]:
            headers.add(name, str(item))
    return RequestHead(
        text(entry, "method", "GET").upper(),
        scheme,
        authority,
        text(entry, "path", "/") or "/",
        headers,
        port=port,
        host=sni or None,
    )


def workload_from_json(entry: Mapping[str, object], default: Workload | None = None) -> Workload:
    """The client of a line: ``kind`` (sidecar or gateway), ``namespace`` and ``labels``. Raises ValueError."""
    base = default if default is not None else Workload()
    labels = entry.get("labels", base.labels)
    if not isinstance(labels, Mapping):
        raise ValueError("labels: expected a map of names and values")
    kind = text(entry, "kind", "gateway" if base.gateway else "sidecar")
    if kind not in ("sidecar", "gateway"):
        raise ValueError(f"kind: expected sidecar or gateway, got {kind!r}")
    return Workload(
        namespace=text(entry, "namespace", base.namespace),
        labels={str(key): str(value) for key, value in labels.items()},
        service_account=base.service_account,
        name=base.name,
        cluster=base.cluster,
        network=base.network,
        locality=base.locality,
        trust_domain=base.trust_domain,
        gateway=kind == "gateway",
    )


def text(entry: Mapping[str, object], key: str, default: str) -> str:
    """A value that must be text."""
    value = entry.get(key)
    if value is None:
        return default
    if not isinstance(value, str):
        raise ValueError(f"{key}: expected text, got {value!r}")
    return value
