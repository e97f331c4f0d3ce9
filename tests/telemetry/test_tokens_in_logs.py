"""Tokens never stand in access logs (design 10), wherever in a request they stood."""

from __future__ import annotations

import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from meshlib import Mesh, Workload
from meshlib.telemetry.access_log import LOGGER
from tests.telemetry.calls import serve

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ISSUER = "https://issuer.test"
TOKEN = jwt.encode({"iss": ISSUER, "sub": "ann"}, KEY, algorithm="RS256")
FORGED = f"{TOKEN[:-8]}AAAAAAAA"
RULES = """
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: tokens, namespace: shop}
spec:
  jwtRules:
  - issuer: ISSUER
    jwks: 'KEYS'
    fromHeaders: [{name: x-tok, prefix: "Key "}]
    fromParams: [access_token]
    fromCookies: [session]
    forwardOriginalToken: FORWARDS
    outputClaimToHeaders: [{header: x-user, claim: sub}]
---
accessLogFile: /dev/stdout
accessLogFormat: "%REQ(:PATH)% %REQ(X-TOK)% %REQ(X-USER)% %CEL(request.query)% %CEL(request.headers['cookie'])%\\n"
"""


def mesh(*, forwards: bool) -> Mesh:
    keys = json.dumps({"keys": [json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key()))]})
    text = RULES.replace("ISSUER", ISSUER).replace("KEYS", keys).replace("FORWARDS", str(forwards).lower())
    return Mesh.load(text, workload=Workload(namespace="shop", labels={"app": "web"}))


@pytest.mark.parametrize(
    ("forwards", "token", "query", "headers", "line"),
    [
        (False, TOKEN, "a=1&access_token={}", {}, "/a?a=1 - ann a=1 unknown"),
        (True, TOKEN, "access_token={}&b", {}, "/a?access_token=[redacted]&b - ann access_token=[redacted]&b unknown"),
        (False, FORGED, "access%5Ftoken={}", {}, "/a?access%5Ftoken=[redacted] - - access%5Ftoken=[redacted] unknown"),
        (False, TOKEN, "", {"x-tok": "Key {}"}, "/a - ann unknown unknown"),
        (True, TOKEN, "", {"x-tok": "Key {}"}, "/a [redacted] ann unknown unknown"),
        (False, FORGED, "", {"x-tok": "Key {}"}, "/a [redacted] - unknown unknown"),
        (True, TOKEN, "", {"cookie": "a=1; session={}; b"}, "/a - ann unknown [redacted]"),
        (False, TOKEN, "", {"x-user": "root"}, "/a - - unknown unknown"),
    ],
)  # fmt: skip
def test_a_line_has_no_token(
    forwards: bool, token: str, query: str, headers: dict[str, str], line: str, caplog: pytest.LogCaptureFixture
) -> None:
    """As the application got the request, which is Envoy's line too; what is left of the token is not shown.

    The third is let in as the second was.
    """
    served = mesh(forwards=forwards)
    fields = tuple((name, value.format(token)) for name, value in headers.items())
    with caplog.at_level("INFO", LOGGER.name):
        serve(served, path="/a", query=query.format(token), headers=fields, times=3)
    lines = [record.getMessage() for record in caplog.records if record.name == LOGGER.name]
    assert lines == [line] * 3
