"""Who gives the demo's visitors their tokens: an issuer with a key of its own, made anew for every run."""

from __future__ import annotations

import json
import time
from typing import Final

__all__ = ["ISSUER", "Issuer"]

ISSUER: Final = "https://accounts.bookinfo.example"
_LIFETIME: Final = 3600

_AUTHENTICATION: Final = """\
apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata:
  name: productpage
spec:
  selector:
    matchLabels: {{app: productpage}}
  jwtRules:
  - issuer: {issuer}
    jwks: '{keys}'
    outputClaimToHeaders:
    - {{header: x-account, claim: sub}}
"""


class Issuer:
    """Signs tokens, and forges some with another key."""

    def __init__(self) -> None:
        from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

        self._key = generate_private_key(SECP256R1())
        self._other = generate_private_key(SECP256R1())

    def authentication_yaml(self) -> str:
        """The RequestAuthentication that makes productpage accept the issuer's tokens."""
        from jwt.algorithms import ECAlgorithm

        public = json.loads(ECAlgorithm.to_jwk(self._key.public_key()))
        return _AUTHENTICATION.format(issuer=ISSUER, keys=json.dumps({"keys": [{**public, "kid": "demo"}]}))

    def token(self, user: str, *, is_forged: bool = False) -> str:
        """A token of a visitor, good for an hour; a forged one is signed by somebody else."""
        import jwt

        now = int(time.time())
        claims = {"iss": ISSUER, "sub": user, "iat": now, "exp": now + _LIFETIME}
        key = self._other if is_forged else self._key
        return jwt.encode(claims, key, algorithm="ES256", headers={"kid": "demo"})
