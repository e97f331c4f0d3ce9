"""The keys of issuers while they, or the configuration, change under requests."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from meshlib import Mesh
from meshlib._engine.jwt_keys import KeySet, parse_keys
from meshlib._inbound.gate import Gate, _managers
from meshlib._inbound.keys import KeyManager
from meshlib._snapshot.authentication import KeyOrigin
from meshlib._snapshot.inbound import InboundRequest
from meshlib._snapshot.snapshot import Snapshot
from meshlib.adapters.wsgi import MeshMiddleware
from tests.patience import PATIENCE
from tests.security.remembering import KEYS
from tests.security.targets import ISSUER, JWK, claims, signed


def text_of(*uris: str) -> str:
    """A configuration with an issuer for each of these places of keys."""
    rules = [{"issuer": uri, "jwksUri": uri} for uri in uris]
    return json.dumps(
        {
            "apiVersion": "security.istio.io/v1",
            "kind": "RequestAuthentication",
            "metadata": {"name": "tokens", "namespace": "default"},
            "spec": {"jwtRules": rules},
        }
    )


class World:
    """A mesh with a gate, and what was read."""

    def __init__(self) -> None:
        self.readings: list[str] = []
        self.mesh = Mesh.load(text_of("http://old.test"))
        self.keys = _managers[self.mesh.runtime] = KeyManager(fetch=self.fetch, now=lambda: 0.0)
        self.gate = Gate(self.mesh.runtime)

    def fetch(self, origin: KeyOrigin) -> KeySet:
        self.readings.append(origin.uri)
        return parse_keys(KEYS)

    def ask(self, snapshot: Snapshot) -> None:
        """A request that goes on with the configuration with which it began."""
        assert self.gate.decide(snapshot, InboundRequest(None, port=80)) is not None
        for reading in list(self.keys._running.values()):
            self.keys.wait(reading, PATIENCE)

    def has_keys(self, uri: str) -> bool:
        return self.keys.find(KeyOrigin(uri=uri, issuer=uri)) is not None


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.keys.close()


def test_a_request_from_before_a_reload_forgets_no_keys(world: World) -> None:
    """It once had those of new issuers read again, and tokens of these refused meanwhile."""
    before = world.mesh.snapshot
    world.mesh.publish(text_of("http://old.test", "http://new.test"))
    for snapshot in (world.mesh.snapshot, before, before):
        world.ask(snapshot)
        assert world.has_keys("http://new.test")
    assert sorted(world.readings) == ["http://new.test", "http://old.test"]


@pytest.mark.parametrize("rest", [text_of("http://new.test"), text_of()], ids=["other rules", "no rules"])
def test_keys_of_issuers_that_are_gone_are_read_no_more(world: World, rest: str) -> None:
    """Also where no rules are left."""
    world.ask(world.mesh.snapshot)
    assert world.has_keys("http://old.test")
    world.mesh.publish(rest)
    world.ask(world.mesh.snapshot)
    assert not world.has_keys("http://old.test")


def test_all_keys_that_may_help_are_read() -> None:
    """Of several rules for an issuer, the one that has its new key may be any."""
    texts = {"http://one.test": KEYS, "http://two.test": json.dumps({"keys": [{**JWK, "kid": "before"}]})}
    rules = [{"issuer": ISSUER, "jwksUri": uri} for uri in texts]
    mesh = Mesh.load(text_of().replace('"jwtRules": []', f'"jwtRules": {json.dumps(rules)}'))
    keys = _managers[mesh.runtime] = KeyManager(fetch=lambda origin: parse_keys(texts[origin.uri]), now=lambda: 0.0)
    app = MeshMiddleware(lambda _, start: (start("200 OK", []), [b""])[1], mesh)
    for reading in list(keys._running.values()):
        keys.wait(reading, PATIENCE)
    texts["http://two.test"] = json.dumps({"keys": [{**JWK, "kid": "new"}]})
    token = signed({"alg": "RS256", "kid": "new"}, claims())
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_HOST": "a", "HTTP_AUTHORIZATION": f"Bearer {token}"}
    statuses: list[str] = []
    list(app(environ, lambda status, _: statuses.append(status)))
    keys.close()
    assert statuses == ["200 OK"]
