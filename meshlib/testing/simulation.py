"""A whole mesh in memory: production YAML, virtual time, seeded chance, scripted upstreams, no socket.

Every request runs through the real engine, runtime and driver; only what lies behind the
endpoints is made up.
"""

from __future__ import annotations

import asyncio
import csv
import inspect
import os
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from meshlib._context import begin_apart
from meshlib._explain import Explanation
from meshlib.errors import MeshError
from meshlib.sources.files import ConfigInput
from meshlib.testing.access import Decisions, decide
from meshlib.testing.clients import SimulatedClients
from meshlib.testing.clock import VirtualClock
from meshlib.testing.coverage import Report
from meshlib.testing.deployments import Deployments
from meshlib.testing.faults import injected_fault
from meshlib.testing.loads import Load, Users
from meshlib.testing.mesh import SimulatedMesh
from meshlib.testing.results import Call, Calls
from meshlib.testing.service import Each, EachHeaders, Service
from meshlib.testing.timeline import Timeline
from meshlib.testing.upstreams import Upstream
from meshlib.testing.watching import announce
from meshlib.testing.world import World
from meshlib.workload import Workload

__all__ = ["Simulation"]

T = TypeVar("T")


class Simulation(SimulatedClients):
    """Production YAML under test. Use it as a context, or :meth:`close` it.

    ``config`` is whatever :meth:`meshlib.Mesh.load` takes, ``workload`` who makes the
    requests (default: namespace ``default``). All chance comes from ``seed``, so that two
    runs are the same. ``clock`` is one of your own (``VirtualClock(epoch=…)`` for another
    date than 2026-01-01). With ``enforce`` the upstreams let in only what the security
    policies of their workloads allow.
    """

    def __init__(
        self,
        config: ConfigInput = (),
        *,
        workload: Workload | None = None,
        seed: int = 0,
        clock: VirtualClock | None = None,
        strict: bool = False,
        enforce: bool = True,
    ) -> None:
        begin_apart()  # a test client that was not closed leaves a request of its own behind
        me = workload or Workload()
        self._config = config
        self._deployments = Deployments()
        self._world = World(seed=seed, clock=clock or VirtualClock(), enforce=enforce)
        chance = self._world.chance("workload of the simulation")
        self.seed = seed
        mesh = SimulatedMesh.load(config, workload=me, strict=strict, clock=self._world.clock, chance=chance)
        assert isinstance(mesh, SimulatedMesh)
        self.mesh = mesh
        """The façade of the workload that makes the requests: for code under test that takes a mesh."""
        self.client = self._world.adopt(me, self.mesh.runtime, "client")
        """The workload that makes the requests."""
        self.mesh.service = self.client
        self._world.configure(self.mesh._resources(), self.mesh.snapshot.version)
        self._closed = False
        self._folder = Path()  # where else files are looked for; the plugin says: beside the test
        announce(self)

    # -- configuration and time ----------------------------------------------------------------------

    @property
    def clock(self) -> VirtualClock:
        """The clock of everything in the simulation."""
        return self._world.clock

    @property
    def now(self) -> float:
        """Virtual seconds since the simulation began."""
        return self._world.clock.monotonic()

    @property
    def timeline(self) -> Timeline:
        """Everything that happened."""
        return self._world.timeline

    @property
    def coverage(self) -> Report:
        """Which routes, retries, faults, ejections and rules of the YAML were exercised."""
        return self._world.coverage.report()

    def publish(self, config: ConfigInput) -> None:
        """Other YAML from now on, for every workload; what was deployed stays. Raises as :meth:`Mesh.load` does."""
        self._publish(config)

    def _publish(self, config: ConfigInput) -> None:
        self.mesh.publish([config, *self._deployments.resources])
        self._config = config
        self._world.configure(self.mesh._resources(), self.mesh.snapshot.version)

    def deploy(
        self,
        name: str,
        *,
        version: str = "",
        replicas: int | Sequence[str] = 1,
        port: int = 80,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
        service_account: str | None = None,
        protocol: str = "http",
    ) -> Upstream:
        """Add a service that stands in no YAML, or more pods (of a ``version``) to one.

        ``replicas`` is how many, or their addresses. Labels are ``app`` and ``version``
        unless others are given; ``protocol`` is the name of the port, as Istio reads it.
        """
        where = namespace or self.client.workload.namespace
        host = f"{name}.{where}.svc.cluster.local"
        marks = {"app": name, **({"version": version} if version else {}), **(labels or {})}
        self._deployments.add(
            name, namespace=where, port=port, protocol=protocol, labels=marks,
            service_account=service_account or "default", addresses=replicas, is_known=host in self._hosts(),
        )  # fmt: skip
        with self.timeline.paused():
            self._publish(self._config)
        return Upstream(self._world.scripts, self.clock, host)

    def advance(self, seconds: float) -> None:
        """Let virtual time pass, with everything that is due in it. Raises a mistake of what :meth:`start` began."""
        if seconds < 0:
            raise ValueError(f"cannot advance by {seconds} s: time does not go back")
        self._world.blocking.wait(asyncio.sleep(seconds))
        self._world.raise_mistake()

    @overload
    def run(self, work: Coroutine[Any, Any, T]) -> T: ...
    @overload
    def run(self, work: Callable[[], T]) -> T: ...
    def run(self, work: Coroutine[Any, Any, T] | Callable[[], T]) -> T:
        """Run a coroutine, or a function that blocks, on virtual time.

        Within, ``asyncio.sleep`` and ``time.sleep`` take no real time, and ``time.time``
        and ``time.monotonic`` tell the simulation's.
        """
        if inspect.iscoroutine(work):
            result: T = self._world.blocking.wait(work)
            return result
        if not callable(work):
            raise TypeError(f"sim.run() takes a coroutine, or a function without arguments, not {work!r}")
        return self._world.blocking.wait(self._world.blocking.run(work))

    # -- the parts -------------------------------------------------------------------------------------

    def upstream(self, host: str) -> Upstream:
        """The script of a service, by its short or full name, or of a host outside of the mesh.

        Raises :class:`meshlib.MeshError` for a name that no service of the configuration has.
        """
        return Upstream(self._world.scripts, self.clock, self._host(host))

    def dns(self, name: str, *addresses: str, ttl: float = 30.0) -> None:
        """What a name of a ServiceEntry with ``resolution: DNS`` resolves to from now on.

        Without addresses there is no such name. The mesh notices when its last answer's ``ttl`` (seconds, at least one)
        is over. Names without an answer stay names, which take requests as they are.
        """
        self._world.names.answer(name, addresses, ttl)

    def service(self, name: str | Workload, **labels: str) -> Service:
        """A workload, so as to make requests as it does: one behind a service, with these labels, or any other."""
        if isinstance(name, Workload):
            return self._world.service(name)
        host = self._host(name)
        for site in self._world.scripts.sites.values():
            if host in site.hosts and labels.items() <= site.labels.items():
                return self._world.served_by(site)
        raise MeshError(f"no endpoint of {host} has the labels {labels}; deploy one with sim.deploy({name!r}, …)")

    def peer(self, principal: str, **labels: str) -> Service:
        """A workload by its identity, ``cluster.local/ns/shop/sa/web``: requests that it makes come from that one."""
        domain, namespaced, rest = principal.removeprefix("spiffe://").partition("/ns/")
        namespace, accounted, account = rest.partition("/sa/")
        if not namespaced or not accounted:
            raise ValueError(f"{principal!r} is not of the form cluster.local/ns/NAMESPACE/sa/ACCOUNT")
        marks = {"app": account, **labels}
        return self._world.service(
            Workload(namespace=namespace, service_account=account, trust_domain=domain, labels=marks, name=account)
        )

    def mesh_of(self, service: Service) -> SimulatedMesh:
        """The façade of a workload: for its application's middleware and clients."""
        return self.mesh.as_seen_by(service)

    def _hosts(self) -> set[str]:
        return {cluster.host for cluster in self.mesh.snapshot.clusters.values() if cluster.port}

    def _host(self, name: str) -> str:
        # Not where a call of an unknown name ended: a script for that would hear of no other call.
        known = self._hosts().union(*(site.hosts for site in self._world.scripts.sites.values()))
        if name in known:
            return name
        here = f"{name}.{self.client.workload.namespace}.svc.cluster.local"
        if here in known:
            return here
        found = sorted(host for host in known if host.startswith(f"{name}."))
        if len(found) == 1:
            return found[0]
        if not found and "." in name and not name.endswith(".svc.cluster.local"):
            return name  # outside of the mesh
        which = (
            f"could be {' or '.join(found)}" if found else f"is none of {', '.join(sorted(known)) or '(no service)'}"
        )
        raise MeshError(f"the upstream {name!r} {which}; name it in full, or add it with sim.deploy({name!r}, …)")

    # -- requests ------------------------------------------------------------------------------------

    def send(
        self,
        method: str,
        url: Each,
        *,
        times: int = 1,
        every: float | None = None,
        load: Load | Users | None = None,
        headers: EachHeaders = None,
        body: object = b"",
    ) -> Calls:
        """Make requests and wait for all answers: see :meth:`Service.send`."""
        return self.client.send(method, url, times=times, every=every, load=load, headers=headers, body=body)

    def start(
        self,
        method: str,
        url: Each,
        *,
        times: int,
        every: float | None = None,
        load: Load | Users | None = None,
        headers: EachHeaders = None,
        body: object = b"",
    ) -> Calls:
        """Make requests in the background, as virtual time passes: see :meth:`Service.start`."""
        return self.client.start(method, url, times=times, every=every, load=load, headers=headers, body=body)

    def request(self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: object = b"") -> Call:
        """Make one request and wait for its answer."""
        return self.client.request(method, url, headers=headers, body=body)

    def get(self, url: str, *, headers: Mapping[str, str] | None = None) -> Call:
        """GET, and wait for the answer."""
        return self.client.request("GET", url, headers=headers)

    def explain(self, method: str, url: str, *, headers: Mapping[str, str] | None = None) -> Explanation:
        """What the mesh would do with a request, and why. Sends nothing."""
        return self.client.explain(method, url, headers=headers)

    @property
    def ejected(self) -> list[str]:
        """Endpoints that are out just now, as the client sees it."""
        return self.client.ejected

    @contextmanager
    def fault(
        self, host: str, *, abort: int | None = None, delay: float | None = None, percent: float = 100.0
    ) -> Iterator[None]:
        """Within, so many percent of the requests routed to a host are delayed (seconds) or aborted (status).

        As the fault of a VirtualService would do it: Istio's faults are above retries and outlier detection.
        """
        injected = injected_fault(self._host(host), abort=abort, delay=delay, percent=percent)
        self._world.faults.append(injected)
        self._world.refresh()
        try:
            yield
        finally:
            self._world.faults.remove(injected)
            self._world.refresh()

    # -- applications -----------------------------------------------------------------

    def app(self, host: str, application: Any, *, version: str | None = None) -> None:
        """Mount an ASGI or WSGI application as an upstream, behind all its endpoints or those of a ``version``.

        Its own middleware sees the caller's identity, as behind mutual TLS; the simulation does not enforce
        policies for it.
        """
        from meshlib.testing.apps import mounted

        resolved, mount = self._host(host), mounted(self._world.blocking, application)
        places = [
            site
            for site in self._world.scripts.sites.values()
            if resolved in site.hosts and (version is None or site.labels.get("version") == version)
        ]
        if not places:
            raise MeshError(f"{resolved} has no endpoint{f' of version {version}' if version else ''} to mount it at")
        for site in places:
            site.app = mount

    # -- security --------------------------------------------------------------------------------------

    def token(
        self,
        iss: str,
        *,
        sub: str = "somebody",
        aud: str | Sequence[str] | None = None,
        claims: Mapping[str, Any] | None = None,
        expires_in: float = 3600.0,
        forged: bool = False,
    ) -> str:
        """A token that the issuer would sign now; the simulation's keys stand in for those of every ``jwksUri``."""
        return self._world.issuer.token(
            iss, subject=sub, audience=aud, claims=claims, expires_in=expires_in, forged=forged
        )

    def rotate_keys(self) -> None:
        """The issuers sign with a new key, and the old one is withdrawn.

        The mesh knows of it when it reads the keys again: twenty minutes after the last time, or at the first token
        with the new key, if that was not done within the last minute.
        """
        self._world.issuer.rotate()

    @contextmanager
    def keys_unreachable(self) -> Iterator[None]:
        """Within, no ``jwksUri`` can be read; keys that have been read stay in use."""
        self._world.issuer.set_down(is_down=True)
        try:
            yield
        finally:
            self._world.issuer.set_down(is_down=False)

    def authorize(self, table: str | os.PathLike[str] | Iterable[Mapping[str, Any]]) -> Decisions:
        """Decide about described requests: a CSV file or mappings, see :mod:`meshlib.testing.access`. Sends nothing."""
        rows: Iterable[Mapping[str, Any]]
        if isinstance(table, str | os.PathLike):
            path = Path(table) if Path(table).exists() else self._folder / table
            with path.open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
        else:
            rows = table
        return decide(self._world, self.service, self.client, rows)

    # -- the end ---------------------------------------------------------------------------------------

    def close(self) -> None:
        """End what is still on its way. Safe to call again. Raises a mistake of what :meth:`start` began."""
        if self._closed:
            return
        self._closed = True
        if self._world.owns_loop:
            self._world.blocking.wait(self._world.close())
            self._world.loop.close()
        self.mesh.close()
        self._world.raise_mistake()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except Exception:
            if error is None:  # else that one says more
                raise

    def __repr__(self) -> str:
        return f"<Simulation seed={self.seed} now={self.now:.3f}s {self.timeline!r}>"
