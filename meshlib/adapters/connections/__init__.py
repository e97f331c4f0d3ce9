"""Connections that carry no HTTP: databases, queues, anything over TCP or TLS, as the mesh routes them."""

from meshlib.adapters.connections.errors import MeshConnectionError, MeshTimeoutError
from meshlib.adapters.connections.sockets import create_connection
from meshlib.adapters.connections.streams import open_connection

__all__ = ["MeshConnectionError", "MeshTimeoutError", "create_connection", "open_connection"]
