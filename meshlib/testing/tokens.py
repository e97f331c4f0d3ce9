"""An issuer of tokens for every ``issuer`` that the YAML names: its keys stand in for those of ``jwksUri``.

The keys come from the simulation's seed, and Ed25519 signs the same text in the same way,
so that a token is the same bytes in every run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from meshlib._engine.jwt_keys import KeySet, KeySetError, parse_keys
from meshlib._inbound import gate
from meshlib._inbound.keys import KeyManager
from meshlib._snapshot.authentication import Authentication, KeyOrigin

if TYPE_CHECKING:
    from meshlib._runtime import Runtime
    from meshlib.testing.clock import VirtualClock

__all__ = ["Issuer"]


class Issuer:
    """Mints tokens, and hands out the keys that verify them. ``is_down``: its keys cannot be read."""

    def __init__(self, clock: VirtualClock, seed: int) -> None:
        self._clock = clock
        self._seed = seed
        self._generation = 1
        self.is_down = False
        self._sets: dict[tuple[int, str], KeySet] = {}

    def token(
        self,
        issuer: str,
        *,
        subject: str = "somebody",
        audience: str | Sequence[str] | None = None,
        claims: Mapping[str, Any] | None = None,
        expires_in: float = 3600.0,
        forged: bool = False,
    ) -> str:
        """A token as the issuer would sign it now; ``forged``: by a key that nobody knows."""
        import jwt

        now = self._clock.time()
        payload: dict[str, Any] = {"iss": issuer, "sub": subject, "iat": int(now), "exp": int(now + expires_in)}
        if audience is not None:
            payload["aud"] = audience if isinstance(audience, str) else list(audience)
        payload |= claims or {}
        generation = 0 if forged else self._generation
        key_id = f"key-{self._generation}"
        return jwt.encode(payload, _private_key(self._seed, generation), algorithm="EdDSA", headers={"kid": key_id})

    def rotate(self) -> None:
        """Sign with a new key from now on; the one before is withdrawn."""
        self._generation += 1

    def find(self, origin: KeyOrigin) -> KeySet | None:
        """The keys of any origin: ours, and those that are written in the rule."""
        if self.is_down and not origin.inline:
            return None
        known = self._sets.get((self._generation, origin.inline))
        if known is None:
            known = _key_set(self._seed, self._generation)
            if origin.inline:
                with suppress(KeySetError):
                    known = KeySet((*known.keys, *parse_keys(origin.inline).keys))
            self._sets[self._generation, origin.inline] = known
        return known

    def serve(self, runtime: Runtime) -> None:
        """Applications with this runtime's middleware verify tokens with these keys, and fetch none."""
        gate._managers[runtime] = _GivenKeys(self)


class _GivenKeys(KeyManager):
    """In place of what reads keys over the network."""

    def __init__(self, issuer: Issuer) -> None:
        super().__init__()
        self._issuer = issuer

    def find(self, origin: KeyOrigin) -> KeySet | None:
        """The issuer's."""
        return self._issuer.find(origin)

    def hurry(self, origin: KeyOrigin) -> Future[None] | None:
        """Nothing would come of it."""
        return None

    def prepare(self, authentication: Authentication | None) -> None:
        """Nothing is read."""


@lru_cache(maxsize=64)
def _private_key(seed: int, generation: int) -> Any:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"{seed}/{generation}".encode()).digest())


def _key_set(seed: int, generation: int) -> KeySet:
    from jwt.algorithms import OKPAlgorithm

    public = json.loads(OKPAlgorithm.to_jwk(_private_key(seed, generation).public_key()))
    return parse_keys(json.dumps({"keys": [{**public, "kid": f"key-{generation}", "alg": "EdDSA", "use": "sig"}]}))
