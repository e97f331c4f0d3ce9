"""requests: a governed :class:`requests.Session`, and the transport adapter for sessions of your own.

requests stands on urllib3: the adapter gives it the mesh's pool manager, and translates
refusals into requests' own family of errors.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from meshlib._outbound.packages import require

require("requests", "2.32.4", extra="requests", purpose="a governed requests session")

import requests  # noqa: E402 - a package that is missing is named by our error
from requests.adapters import DEFAULT_POOLBLOCK, DEFAULT_POOLSIZE, HTTPAdapter  # noqa: E402

from meshlib._outbound.refusals import RefusalKinds  # noqa: E402
from meshlib._outbound.tls import HasRuntime  # noqa: E402
from meshlib.adapters.urllib3 import ConsumedBodyError, MeshPoolManager  # noqa: E402
from meshlib.errors import MeshError, RefusedError  # noqa: E402

__all__ = ["MeshAdapter", "MeshConnectionError", "MeshResponseError", "MeshTimeoutError", "governed_session"]


class MeshResponseError(RefusedError, requests.HTTPError):
    """The mesh answered with an error status: no route, no endpoint, overflow, injected abort."""


class MeshConnectionError(RefusedError, requests.ConnectionError):
    """No attempt got a response from the upstream."""


class MeshTimeoutError(RefusedError, requests.Timeout, TimeoutError):
    """A timeout of the route or of its attempts was over; also a :class:`TimeoutError`."""


_KINDS = RefusalKinds(MeshResponseError, MeshConnectionError, MeshTimeoutError)


class MeshAdapter(HTTPAdapter):
    """A transport adapter governed by ``mesh``: ``session.mount("http://", MeshAdapter(mesh))``.

    ``raise_on_refusal`` makes a refusal of the mesh an exception instead of the response
    that Envoy would send. ``pool_maxsize`` is the number of idle connections kept for
    each endpoint. Retries are the mesh's: ``max_retries`` must stay 0. Proxies of the
    environment or of a call are not used: the mesh connects to the endpoints.
    """

    def __init__(
        self,
        mesh: HasRuntime,
        *,
        raise_on_refusal: bool = False,
        pool_connections: int = 1024,
        pool_maxsize: int = DEFAULT_POOLSIZE,
        pool_block: bool = DEFAULT_POOLBLOCK,
        max_retries: int = 0,
    ) -> None:
        if max_retries != 0:
            raise MeshError(
                f"max_retries={max_retries!r} would repeat what the mesh repeats; "
                "leave it out and write spec.http[].retries in a VirtualService"
            )
        self._mesh = mesh
        self._raise_on_refusal = raise_on_refusal
        super().__init__(pool_connections, pool_maxsize, 0, pool_block)

    def __getstate__(self) -> dict[str, Any]:
        raise MeshError("a governed adapter cannot be pickled: its mesh belongs to this process; make one in the other")

    def init_poolmanager(
        self,
        connections: int,
        maxsize: int,
        block: bool = DEFAULT_POOLBLOCK,  # noqa: FBT001 - as in requests
        **pool_kwargs: Any,
    ) -> None:
        """Make the pool manager of the mesh."""
        self.poolmanager = MeshPoolManager(
            self._mesh,
            connections,
            raise_on_refusal=self._raise_on_refusal,
            refusals=_KINDS,
            maxsize=maxsize,
            block=block,
            **pool_kwargs,
        )

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,  # noqa: FBT001, FBT002 - as in requests
        timeout: Any = None,
        verify: bool | str = True,  # noqa: FBT001, FBT002
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        """One exchange. ``timeout`` holds for each attempt; the shorter one of it and of the mesh's wins."""
        try:
            response = super().send(request, stream=stream, timeout=timeout, verify=verify, cert=cert, proxies=None)
        except requests.RequestException as error:
            refusal = error.args[0] if error.args else None
            if isinstance(error, RefusedError):
                refusal = error
            if not isinstance(refusal, RefusedError):
                raise
            assert isinstance(refusal, requests.RequestException)
            refusal.request, refusal.response = request, None
            raise refusal from refusal.__cause__
        except ConsumedBodyError as error:
            raise ConsumedError(str(error), request=request) from None
        response.mesh = getattr(response.raw, "mesh", None)  # type: ignore[attr-defined]
        return response


class ConsumedError(MeshError, requests.RequestException):
    """The body of a request was read to its end before, so that an empty one would be sent."""


class _Session(requests.Session):
    """requests' session, which does not look for proxies where none is used.

    requests goes through all variables of the environment twice for that, a third of what a call costs.
    """

    def merge_environment_settings(self, url: Any, proxies: Any, stream: Any, verify: Any, cert: Any) -> Any:
        """As in requests; proxies only where an adapter of another kind was mounted."""
        if not isinstance(self.get_adapter(url), MeshAdapter):
            return super().merge_environment_settings(url, proxies, stream, verify, cert)
        if self.trust_env and (verify is True or verify is None):
            verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or verify
        return {
            "proxies": proxies or self.proxies,
            "stream": self.stream if stream is None else stream,
            "verify": self.verify if verify is None else verify,
            "cert": self.cert if cert is None else cert,
        }


def governed_session(mesh: HasRuntime, *, raise_on_refusal: bool = False, **arguments: Any) -> requests.Session:
    """A :class:`requests.Session` governed by ``mesh``; ``arguments`` are those of :class:`MeshAdapter`."""
    session = _Session()
    adapter = MeshAdapter(mesh, raise_on_refusal=raise_on_refusal, **arguments)
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return session
