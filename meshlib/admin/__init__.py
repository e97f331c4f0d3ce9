"""The admin interface of a running mesh: its state as JSON after Envoy's admin shapes, and one live page.

``mesh.admin_app()`` is an ASGI application to mount, or to serve on a port of its own;
:func:`admin_wsgi` makes a WSGI application of it. Nobody but this machine is answered,
and nothing can be changed, unless that is asked for.
"""

from meshlib.admin.app import AdminApp
from meshlib.admin.wsgi import admin_wsgi

__all__ = ["AdminApp", "admin_wsgi"]
