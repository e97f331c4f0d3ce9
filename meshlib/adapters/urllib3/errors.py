"""Refusals as exceptions: each is a :class:`meshlib.errors.RefusedError` and of urllib3's own family."""

from __future__ import annotations

import urllib3

from meshlib._outbound.refusals import RefusalKinds
from meshlib.errors import MeshError, RefusedError

__all__ = ["KINDS", "ConsumedBodyError", "MeshConnectionError", "MeshResponseError", "MeshTimeoutError"]


class MeshResponseError(RefusedError, urllib3.exceptions.HTTPError):
    """The mesh answered with an error status: no route, no endpoint, overflow, injected abort."""


class MeshConnectionError(RefusedError, urllib3.exceptions.ProtocolError):
    """No attempt got a response from the upstream."""


class MeshTimeoutError(RefusedError, urllib3.exceptions.TimeoutError, TimeoutError):
    """A timeout of the route or of its attempts was over; also a :class:`TimeoutError`."""


class ConsumedBodyError(MeshError, urllib3.exceptions.HTTPError):
    """The body of a request was read to its end before, so that an empty one would be sent."""


class PendingOverflowError(urllib3.exceptions.HTTPError):
    """Too many requests wait for a connection (http1MaxPendingRequests)."""


KINDS = RefusalKinds(MeshResponseError, MeshConnectionError, MeshTimeoutError)
