"""An issuer of tokens for every ``issuer`` that the YAML names: its keys stand in for those of ``jwksUri``.

The keys come from the simulation's seed, and Ed25519 signs the same text in the same way,
so that a token is the same bytes in every run. The mesh reads keys as it does in production
(every twenty minutes, sooner for a key that it does not know), on the simulation's clock.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from meshlib._engine.jwt_keys import KeySet, KeySetError, parse_keys
from meshlib._inbound import gate
from meshlib._inbound.key_store import KeyRecord
from meshlib._inbound.keys import KeyManager
from meshlib._snapshot.authentication import Authentication, KeyOrigin

if TYPE_CHECKING:
    from meshlib._runtime import Runtime
    from meshlib.testing.clock import VirtualClock

__all__ = ["Issuer", "Keys"]


class _Phase(NamedTuple):
    """From ``since`` on the issuer signs with a key, and its keys can be read or not."""

    since: float
    generation: int
    is_down: bool


class Issuer:
    """Mints tokens, and has the keys that verify them."""

    def __init__(self, clock: VirtualClock, seed: int) -> None:
        self._clock = clock
        self._seed = seed
        self._phases = [_Phase(clock.monotonic(), 1, is_down=False)]

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
        current = self._phases[-1].generation
        generation = 0 if forged else current
        key_id = f"key-{current}"
        return jwt.encode(payload, _private_key(self._seed, generation), algorithm="EdDSA", headers={"kid": key_id})

    def rotate(self) -> None:
        """Sign with a new key from now on; the one before is withdrawn."""
        last = self._phases[-1]
        self._phases.append(_Phase(self._clock.monotonic(), last.generation + 1, last.is_down))

    def set_down(self, *, is_down: bool) -> None:
        """Whether its keys cannot be read from now on."""
        self._phases.append(_Phase(self._clock.monotonic(), self._phases[-1].generation, is_down))

    def keys_at(self, instant: float) -> KeySet | None:
        """What a reading at an instant that has come gives; None while it is down."""
        phase = self._phases[max(bisect_right(self._phases, instant, key=lambda one: one.since) - 1, 0)]
        return None if phase.is_down else _key_set(self._seed, phase.generation)

    def keys_beside(self, inline: str) -> KeySet:
        """The current key, and those that are written in a rule."""
        return _keys_beside(self._seed, self._phases[-1].generation, inline)


class Keys(KeyManager):
    """Reads the keys of an issuer when production would, without a thread: what was due is caught up with when asked.

    The readings of all workloads are the same ones, as if one control plane made them.
    """

    def __init__(self, issuer: Issuer, clock: VirtualClock) -> None:
        super().__init__()
        self._issuer = issuer
        self._clock = clock
        self._began: Final = clock.monotonic()
        self._readings: dict[KeyOrigin, KeyRecord] = {}

    def serve(self, runtime: Runtime) -> None:
        """Applications with this runtime's middleware verify tokens with these keys, and fetch none."""
        gate._managers[runtime] = self

    def find(self, origin: KeyOrigin) -> KeySet | None:
        """The keys that the mesh has now."""
        if origin.inline:
            return self._issuer.keys_beside(origin.inline)
        now, record = self._clock.monotonic(), self._record(origin)
        while record.due_at <= now:
            self._read_at(record, record.due_at)
        return record.usable(now)

    def _record(self, origin: KeyOrigin) -> KeyRecord:
        return self._readings.setdefault(origin, KeyRecord(due_at=self._began))

    def _read_at(self, record: KeyRecord, instant: float) -> None:
        keys = self._issuer.keys_at(instant)
        if keys is None:
            record.fail("unreachable", instant)
        else:
            record.succeed(keys, instant)

    def hurry(self, origin: KeyOrigin) -> Future[None] | None:
        """Read them at once, unless that was done a moment ago."""
        now, record = self._clock.monotonic(), self._record(origin)
        if origin.inline or not record.hurry(now):
            return None
        self._read_at(record, now)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def prepare(self, authentication: Authentication | None) -> None:
        """Nothing is read before somebody asks."""


@lru_cache(maxsize=64)
def _private_key(seed: int, generation: int) -> Any:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"{seed}/{generation}".encode()).digest())


@lru_cache(maxsize=64)
def _key_set(seed: int, generation: int) -> KeySet:
    from jwt.algorithms import OKPAlgorithm

    public = json.loads(OKPAlgorithm.to_jwk(_private_key(seed, generation).public_key()))
    return parse_keys(json.dumps({"keys": [{**public, "kid": f"key-{generation}", "alg": "EdDSA", "use": "sig"}]}))


@lru_cache(maxsize=64)
def _keys_beside(seed: int, generation: int, inline: str) -> KeySet:
    own = _key_set(seed, generation)
    with suppress(KeySetError):
        return KeySet((*own.keys, *parse_keys(inline).keys))
    return own
