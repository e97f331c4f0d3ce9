"""The names of the headers in which workloads tell each other who they are (Istio's metadata exchange)."""

from __future__ import annotations

from typing import Final

from multidict import istr

from meshlib._snapshot.routes import HeaderOps

__all__ = ["NO_PEER_HEADERS", "PEER_HEADERS", "PEER_ID", "PEER_METADATA"]

PEER_METADATA: Final = istr("x-envoy-peer-metadata")
PEER_ID: Final = istr("x-envoy-peer-metadata-id")
PEER_HEADERS: Final = (PEER_ID, PEER_METADATA)

NO_PEER_HEADERS: Final = HeaderOps(remove=PEER_HEADERS)
"""Takes them out of what an application sees."""
