"""A server with policies that are worth attacking, and tokens that are good."""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
import time
from functools import partial
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.adapters.inbound_servers import SERVERS
from tests.patience import PATIENCE

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
JWK = {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key())), "kid": "k"}
ISSUER = "https://issuer.test"

POLICIES = f"""
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {{name: tokens, namespace: shop}}
spec:
  jwtRules:
  - issuer: {ISSUER}
    audiences: [shop]
    jwks: '{json.dumps({"keys": [JWK]})}'
    outputPayloadToHeader: x-payload
    outputClaimToHeaders:
    - {{header: x-user, claim: sub}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: guard, namespace: shop}}
spec:
  action: DENY
  rules:
  - to:
    - operation: {{paths: [/vault, /vault/*]}}
    from:
    - source: {{notRequestPrincipals: ["{ISSUER}/ann"]}}
  - to:
    - operation: {{paths: [/internal*]}}
    from:
    - source: {{notPrincipals: [cluster.local/ns/shop/sa/client]}}
  - to:
    - operation: {{paths: [/office*]}}
    from:
    - source: {{notRemoteIpBlocks: [10.9.0.0/16]}}
  - to:
    - operation: {{paths: [/home*]}}
    from:
    - source: {{notIpBlocks: [10.9.0.0/16]}}
  - to:
    - operation: {{paths: [/club*]}}
    when:
    - {{key: "request.headers[x-user]", notValues: [ann]}}
  - to:
    - operation: {{methods: [DELETE]}}
  - to:
    - operation: {{hosts: [admin.test, "admin.test:*"]}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{name: known, namespace: shop}}
spec:
  rules:
  - to:
    - operation: {{notPaths: [/list*]}}
  - to:
    - operation: {{paths: [/list/open], hosts: [public.test], methods: [GET]}}
"""


class Target:
    """A server with the policies above."""

    def __init__(self, port: int) -> None:
        self.port = port

    def get(self, path: str, *headers: tuple[str, str], method: str = "GET") -> tuple[int, bytes]:
        """Status and body of a request that a client library would make."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        connection.putrequest(method, path, skip_host=any(name.lower() == "host" for name, _ in headers))
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders()
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response.status, body

    def send(self, data: bytes) -> bytes:
        """All that comes back for bytes that no client library would send."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as connection:
            parts = []
            try:
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                while part := connection.recv(65536):
                    parts.append(part)
            except OSError:
                pass  # a server may drop what it does not understand
        return b"".join(parts)

    def open_paths(self, data: bytes) -> list[str]:
        """The paths that the application served for these bytes."""
        return re.findall(r'"path": ?"([^"]*)"', self.send(data).decode("latin-1"))


KINDS: dict[str, Any] = {**SERVERS, "asgi-h11": partial(SERVERS["asgi"], http="h11")}


def encoded(part: Any) -> str:
    raw = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def claims(**changes: Any) -> dict[str, Any]:
    """Those of a good token; a change to None leaves a claim out."""
    made = {"iss": ISSUER, "sub": "ann", "aud": "shop", "exp": int(time.time()) + 86_400, **changes}
    return {name: value for name, value in made.items() if value is not None}


def signed(header: Any, payload: Any, key: Any = KEY) -> str:
    """A token with any header and payload, whose RS256 signature is right."""
    text = f"{encoded(header)}.{encoded(payload)}"
    algorithm = jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256)
    return f"{text}.{encoded(algorithm.sign(text.encode(), key))}"


def good(**changes: Any) -> str:
    return signed({"alg": "RS256", "kid": "k"}, claims(**changes))
