"""The kit of the contract: a client, upstreams and the YAML between them, plain and with mutual TLS."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from meshlib import Mesh
from meshlib._clock import Clock
from meshlib.security import DevelopmentCA
from tests.adapters.contract.clients import CLIENTS
from tests.adapters.contract.servers import Loop, Upstream, tls_for
from tests.patience import PATIENCE, until, wait_until

HOST = "reviews.example.com"
URL = f"http://{HOST}/"


class Authority:
    """One development CA for the run, with the certificates of the two sides."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.ca = DevelopmentCA.create(place / "ca")
        self.server = self.ca.issue(place / "server", service_account="reviews")
        self.client = self.ca.issue(place / "client", service_account="web")
        self.named = self.ca.issue(place / "named", service_account="reviews", names=[HOST, "127.0.0.1"])


@pytest.fixture(scope="session")
def loop() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.close()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


class Kit:
    """``upstream`` starts a server, ``mesh`` loads the YAML that leads to all of them, ``client`` makes the client."""

    def __init__(self, make: Callable[..., Any], loop: Loop, authority: Authority, *, is_secure: bool) -> None:
        self._make = make
        self._loop = loop
        self.authority = authority
        self.is_secure = is_secure
        self.upstreams: list[Upstream] = []
        self.loaded: Mesh | None = None
        self._open: list[Any] = []

    def upstream(self, *script: Any, name: str = "", tls: Any = None) -> Upstream:
        if tls is None and self.is_secure:
            tls = tls_for(self.authority.server)
        made = Upstream(self._loop, tls or None, *script, name=name)
        self.upstreams.append(made)
        return made

    def resources(
        self,
        *ports: int,
        route: dict[str, Any] | None = None,
        policy: dict[str, Any] | None = None,
        http: list[Any] | None = None,
        more: list[Any] | None = None,
        host: str = HOST,
    ) -> list[dict[str, Any]]:
        """A host with an endpoint for each port (default: all upstreams), a route and a traffic policy."""
        chosen = ports or tuple(one.port for one in self.upstreams)
        name = host.partition(".")[0]
        traffic = {"tls": {"mode": "ISTIO_MUTUAL"}} if self.is_secure else {}
        traffic.update(policy or {})
        entry = {
            "hosts": [host],
            "location": "MESH_INTERNAL",
            "resolution": "STATIC",
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
            "endpoints": [
                {"address": "127.0.0.1", "ports": {"http": port}, "serviceAccount": "reviews"} for port in chosen
            ],
        }
        if not self.is_secure and "tls" not in traffic:
            traffic["tls"] = {"mode": "DISABLE"}
        forward = {"route": [{"destination": {"host": host}}], "retries": {"attempts": 0}, **(route or {})}
        return [
            _resource("ServiceEntry", name, entry),
            _resource("DestinationRule", name, {"host": host, "trafficPolicy": traffic}),
            _resource("VirtualService", name, {"hosts": [host], "http": http or [forward]}),
            *(more or []),
        ]

    def mesh(self, *ports: int, **arguments: Any) -> Mesh:
        if not ports and not self.upstreams:
            self.upstream()
        return self.load(self.resources(*ports, **arguments))

    def load(self, resources: list[dict[str, Any]], clock: Clock | None = None) -> Mesh:
        self.loaded = Mesh.load(resources, certificates=self.authority.client.chain.parent, clock=clock)
        return self.loaded

    def client(self, mesh: Mesh | None = None, **arguments: Any) -> Any:
        made = self._make(mesh or self.loaded or self.mesh(), **arguments)
        self._open.append(made)
        return made

    def client_trusting(self, mesh: Mesh) -> Any:
        """A client whose own TLS trusts the authority."""
        made = self._make(mesh, roots=str(self.authority.server.root))
        self._open.append(made)
        return made

    def at_rest(self) -> bool:
        """Whether nothing is counted as on its way."""
        assert self.loaded is not None
        clusters = self.loaded.runtime.clusters().values()
        return not any(
            live.state.active or live.state.retries or live.state.pending or any(host.active for host in live.endpoints)
            for live in clusters
        )

    def settle(self, condition: Callable[[], bool] | None = None) -> None:
        """Wait until nothing is on its way any more, or until ``condition`` holds, which other threads bring about."""
        wait_until(condition or self.at_rest)

    def until(self, client: Any, condition: Callable[[], bool]) -> None:
        """Let what ``client`` has in the background go on until ``condition`` holds."""
        if client.is_async:
            client.run(until(condition))
        else:
            wait_until(condition)

    @contextlib.contextmanager
    def busy_upstreams(self) -> Iterator[None]:
        """Upstreams that do nothing meanwhile."""
        over = threading.Event()
        self._loop.loop.call_soon_threadsafe(over.wait, PATIENCE)
        try:
            yield
        finally:
            over.set()

    def close_clients(self) -> None:
        while self._open:
            self._open.pop().close()

    def close(self) -> None:
        self.close_clients()
        for upstream in self.upstreams:
            with contextlib.suppress(TimeoutError):
                upstream.close()


def _resource(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


# httpx2 goes through the same lines as httpx: plaintext suffices to see that the two are alike.
COLUMNS = [f"{name}-{how}" for name in CLIENTS for how in ("plain", "mtls") if how == "plain" or "httpx2" not in name]


@pytest.fixture(params=COLUMNS)
def kit(request: pytest.FixtureRequest, loop: Loop, authority: Authority) -> Iterator[Kit]:
    """Each client, over plaintext and over mesh mutual TLS."""
    name, _, how = request.param.partition("-")
    made = Kit(CLIENTS[name], loop, authority, is_secure=how == "mtls")
    yield made
    made.close()


@pytest.fixture(
    params=[f"{name}-{how}" for name, made in CLIENTS.items() if made.is_async for how in ("plain", "mtls")]
)
def async_kit(request: pytest.FixtureRequest, loop: Loop, authority: Authority) -> Iterator[Kit]:
    """The clients on event loops, over plaintext and over mesh mutual TLS."""
    name, _, how = request.param.partition("-")
    made = Kit(CLIENTS[name], loop, authority, is_secure=how == "mtls")
    yield made
    made.close()


@pytest.fixture(params=list(CLIENTS))
def plain_kit(request: pytest.FixtureRequest, loop: Loop, authority: Authority) -> Iterator[Kit]:
    """Each client, over what the test itself sets."""
    made = Kit(CLIENTS[request.param], loop, authority, is_secure=False)
    yield made
    made.close()
