"""TLS handshakes in memory: no socket is needed for them."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path


def client_context(own: Path, version: ssl.TLSVersion) -> ssl.SSLContext:
    """Of a client that shows the certificate in ``own`` and takes any of the server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode, context.maximum_version = False, ssl.CERT_NONE, version
    context.load_cert_chain(own / "cert-chain.pem", own / "key.pem")
    return context


class Visit:
    """A connection from its handshake to its end, with the session of the visit before."""

    def __init__(
        self, server: ssl.SSLContext, client: ssl.SSLContext, before: Visit | None = None, *, name: str = "one.test"
    ) -> None:
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = None if before is None else before.client.session
        self.client = client.wrap_bio(to_client, to_server, server_hostname=name, session=session)
        self.server = server.wrap_bio(to_server, to_client, server_side=True)
        for end in (self.client, self.server, self.client, self.server):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
        with contextlib.suppress(ssl.SSLWantReadError):
            self.server.unwrap()  # a session is kept only of a connection that ends well
        with contextlib.suppress(ssl.SSLZeroReturnError):
            self.client.read()  # takes what else came, such as tickets
