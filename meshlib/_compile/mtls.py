"""The mTLS mode of a namespace, as far as clients go by it (semantics 4.13)."""

from __future__ import annotations

from meshlib._compile.index import Index
from meshlib._compile.mesh import MeshSettings
from meshlib._compile.order import by_age
from meshlib.model.peer_authentication import PeerAuthenticationSpec

__all__ = ["PeerModes"]


class PeerModes:
    """PeerAuthentication of whole namespaces; that of the root namespace is the mesh's."""

    def __init__(self, index: Index, mesh: MeshSettings) -> None:
        self._root = mesh.root_namespace
        self._modes: dict[str, str] = {}
        for entry in sorted(index.of("PeerAuthentication", PeerAuthenticationSpec), key=by_age):
            spec = entry.spec
            if spec.selector is None or not spec.selector.match_labels:
                mode = (spec.mtls.mode if spec.mtls is not None else None) or "UNSET"
                self._modes.setdefault(entry.meta.namespace, mode)

    def mode(self, namespace: str) -> str:
        """DISABLE, PERMISSIVE or STRICT: of the namespace, else of the mesh, else PERMISSIVE."""
        for place in (namespace, self._root):
            mode = self._modes.get(place, "UNSET")
            if mode != "UNSET":
                return mode
        return "PERMISSIVE"
