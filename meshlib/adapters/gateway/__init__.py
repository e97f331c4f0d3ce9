"""An ingress gateway as an ASGI application, and the TLS that its servers end."""

from meshlib.adapters.gateway.app import MeshGateway
from meshlib.adapters.gateway.tls import gateway_context

__all__ = ["MeshGateway", "gateway_context"]
