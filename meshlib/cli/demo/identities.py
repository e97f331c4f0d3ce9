"""Who the workloads of the demo are: a development CA of the run's own, and short certificates that are renewed."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Final, Self

from meshlib.security import DevelopmentCA, server_context

__all__ = ["Identities", "account_of"]

_LIFETIME: Final = timedelta(hours=1)


def account_of(app: str) -> str:
    """The service account of a workload."""
    return f"bookinfo-{app}"


class Identities:
    """Certificates for the workloads ``apps``, in a directory that goes with the block.

    ``renewals`` counts how often all of them were made anew since.
    """

    def __init__(self, apps: Iterable[str]) -> None:
        self._apps = tuple(apps)
        self._place: tempfile.TemporaryDirectory[str] | None = None
        self._ca: DevelopmentCA | None = None
        self.renewals = 0

    def __enter__(self) -> Self:
        self._place = tempfile.TemporaryDirectory(prefix="meshlib-demo-")
        self._ca = DevelopmentCA.create(Path(self._place.name, "ca"))
        self._issue(self._ca)
        return self

    def __exit__(self, *_: object) -> None:
        if self._place is not None:
            self._place.cleanup()

    def directory(self, app: str) -> Path:
        """Where a workload finds its certificate, its key and its root, as a sidecar's volume would be."""
        if self._place is None:
            raise RuntimeError("certificates are there inside the block")
        return Path(self._place.name, app)

    def context(self, app: str) -> ssl.SSLContext:
        """For the servers of a workload: mutual TLS with the certificates of the moment, whoever connects."""
        return server_context(self.directory(app))

    def client_context(self, app: str) -> ssl.SSLContext:
        """For a caller without a mesh that holds the certificate of a workload."""
        place = self.directory(app)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False  # the certificates have SPIFFE names only
        context.load_verify_locations(place / "root-cert.pem")
        context.load_cert_chain(place / "cert-chain.pem", place / "key.pem")
        return context

    async def renew(self) -> None:
        """Give every workload a new certificate and a new key, while it works."""
        if self._ca is not None:
            await asyncio.to_thread(self._issue, self._ca)
            self.renewals += 1

    def _issue(self, ca: DevelopmentCA) -> None:
        for app in self._apps:
            ca.issue(self.directory(app), service_account=account_of(app), lifetime=_LIFETIME)

    def __repr__(self) -> str:
        return f"<Identities workloads={len(self._apps)} renewals={self.renewals}>"
