"""What this workload tells its peers of itself: the headers of Istio's metadata exchange.

``x-envoy-peer-metadata`` is base64 of a ``google.protobuf.Struct`` with the names that
Istio's metrics use, ``x-envoy-peer-metadata-id`` the name of the proxy, by which Envoy
remembers what it has read: it must differ wherever the metadata do. A process that does
not know who it is says nothing.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from typing import Final
from zlib import crc32

from meshlib._snapshot.peers import PEER_ID, PEER_METADATA
from meshlib.telemetry.peers import canonical_revision, canonical_service
from meshlib.workload import Workload

__all__ = ["peer_headers"]

_CANONICAL_NAME: Final = "service.istio.io/canonical-name"
_CANONICAL_REVISION: Final = "service.istio.io/canonical-revision"
_NOT_IN_NAMES: Final = re.compile(r"[^A-Za-z0-9~.:_-]")


def peer_headers(workload: Workload) -> dict[str, str]:
    """The headers; none for a workload without name and labels."""
    if not workload.name and not workload.labels:
        return {}
    service = canonical_service(workload.labels, workload.name)
    labels = {_CANONICAL_NAME: service, _CANONICAL_REVISION: canonical_revision(workload.labels)}
    labels |= {name: workload.labels[name] for name in ("app", "version") if workload.labels.get(name)}
    texts = {"CLUSTER_ID": workload.cluster, "NAMESPACE": workload.namespace, "WORKLOAD_NAME": workload.name}
    fields = {name: _text(text) for name, text in texts.items() if text}
    fields["LABELS"] = _field(5, _struct({name: _text(text) for name, text in labels.items()}))
    data = _struct(fields)
    namespace = workload.namespace
    instance = f"{workload.name or service}-{crc32(data):08x}.{namespace}"
    proxy = f"sidecar~{workload.address}~{instance}~{namespace}.svc.cluster.local"
    return {
        PEER_ID: _NOT_IN_NAMES.sub("_", proxy),  # a Workload may be given anything, a header not
        PEER_METADATA: b64encode(data).decode("ascii"),
    }


# -- google.protobuf.Struct on the wire, fields in the order of their names as Envoy writes them ----------


def _struct(fields: Mapping[str, bytes]) -> bytes:
    return b"".join(_field(1, _field(1, name.encode()) + _field(2, fields[name])) for name in sorted(fields))


def _text(text: str) -> bytes:
    return _field(3, text.encode())


def _field(number: int, content: bytes) -> bytes:
    length, size = bytearray(), len(content)
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes((number << 3 | 2, *length, size)) + content
