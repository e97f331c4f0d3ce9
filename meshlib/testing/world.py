"""What all parts of a simulation share: time, chance, configuration, workloads, and places where requests arrive."""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Coroutine, Sequence
from contextvars import Context
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from meshlib._compile import Config
from meshlib._context import Carried, carried_headers, serving
from meshlib._engine.exchange import Exchange
from meshlib._http import Failure, FailureKind, Headers, Outcome, Response
from meshlib._outbound.tls import Originator
from meshlib._runtime import Runtime
from meshlib._snapshot.clusters import Cluster, Endpoint
from meshlib._snapshot.snapshot import Snapshot
from meshlib._timers import Timers
from meshlib.events import EndpointEjected, RequestServed
from meshlib.testing.blocking import Blocking
from meshlib.testing.clock import VirtualClock
from meshlib.testing.coverage import Coverage
from meshlib.testing.exchange import SimulatedExchange
from meshlib.testing.faults import InjectedFault, with_faults
from meshlib.testing.guards import Guards, Passed
from meshlib.testing.memory_loop import MemoryLoop
from meshlib.testing.messages import Break, Handler, Reaction, UpstreamRequest, answer_of
from meshlib.testing.names import ScriptedNames
from meshlib.testing.service import Service
from meshlib.testing.timeline import Timeline
from meshlib.testing.tokens import Issuer, Keys
from meshlib.testing.transport import Answer
from meshlib.testing.upstreams import Plan, Scripts, Site
from meshlib.workload import Workload

if TYPE_CHECKING:
    from meshlib.model.resource import Resource

__all__ = ["World"]


class World:
    """One simulation's inside. Nothing in it is shared with another one."""

    def __init__(self, *, seed: int, clock: VirtualClock, enforce: bool) -> None:
        self.seed = seed
        running = asyncio._get_running_loop()
        # Made within a coroutine on virtual time, it takes part in that.
        self.loop = running if isinstance(running, MemoryLoop) else MemoryLoop(clock)
        self.owns_loop = self.loop is not running
        self.clock = self.loop.clock
        self.blocking = Blocking.of(self.loop)
        self.scripts = Scripts()
        self.timeline = Timeline()
        self.coverage = Coverage()
        self.issuer = Issuer(self.clock, seed)
        self.keys = Keys(self.issuer, self.clock)
        self.guards = Guards(self.clock, self.keys, self.served_by, enforce=enforce)
        self.names = ScriptedNames(self._find_sites)
        self.faults: list[InjectedFault] = []
        self.services: dict[str, Service] = {}
        self.version = ""
        self._config = Config(())
        self._timers: Timers | None = None
        self._tasks: set[asyncio.Task[object]] = set()
        self._mistakes: list[BaseException] = []
        self._loads = 0

    def chance(self, name: str) -> random.Random:
        """A generator of its own for each part, so that a change of one part does not move the draws of another."""
        return random.Random(f"{self.seed}/{name}")

    @property
    def timers(self) -> Timers:
        """The deadlines of the loop; asked for while it runs."""
        if self._timers is None:
            self._timers = Timers()
        return self._timers

    # -- configuration -----------------------------------------------------------------------------

    def configure(self, resources: Sequence[Resource], version: str) -> None:
        """Other resources are in force, for every workload."""
        self._config = Config(resources)
        self.version = version
        self.guards.reset(resources)
        self.refresh()

    def refresh(self) -> None:
        """Compile the configuration, with the faults being injected, for every workload anew."""
        for service in self.services.values():
            service.runtime.publish(self.compile(service.workload))
        for site in self.scripts.sites.values():
            site.hosts.clear()
            site.subsets.clear()
        for service in list(self.services.values()):
            self._find_sites(service.runtime.compiled)
            self._find_sites(service.runtime.published.snapshot)
        self.scripts.version += 1

    def compile(self, workload: Workload) -> Snapshot:
        """The configuration as a workload sees it."""
        snapshot = self._config.compile(workload, version=self.version)
        self.coverage.learn(snapshot)
        return with_faults(snapshot, self.faults)

    def service(self, workload: Workload, name: str = "") -> Service:
        """The workload as a part of the simulation; made when first asked for."""
        key = _key(workload)
        found = self.services.get(key)
        if found is None:
            snapshot = self.compile(workload)
            runtime = Runtime(snapshot, clock=self.clock, chance=self.chance(f"workload {key}"))
            found = self.adopt(workload, runtime, name)
            self._find_sites(snapshot)
        return found

    def adopt(self, workload: Workload, runtime: Runtime, name: str = "") -> Service:
        """Make a runtime part of the simulation."""
        label = name or _name(workload)
        service = self.services[_key(workload)] = Service(self, label, workload, runtime)
        runtime.exchange_type = partial(SimulatedExchange, service)
        runtime.originator = _NoTls()
        runtime.observe(self.timeline.listener(label, self.clock.monotonic))
        runtime.observe(self.coverage.hear, EndpointEjected, RequestServed)
        self.keys.serve(runtime)
        self.names.serve(runtime)
        return service

    # -- places --------------------------------------------------------------------------------------

    def _find_sites(self, snapshot: Snapshot) -> None:
        """The endpoints of a snapshot are where requests arrive."""
        for cluster in snapshot.clusters.values():
            for endpoint in cluster.endpoints:
                site = self.site(endpoint.key, endpoint.address, endpoint.port, cluster.host)
                site.hosts.add(cluster.host)
                site.labels, site.identity = endpoint.labels or site.labels, endpoint.identity or site.identity
                if cluster.subset and (cluster.host, cluster.subset) not in site.subsets:
                    site.subsets.add((cluster.host, cluster.subset))
                    self.scripts.version += 1

    def site(self, key: str, address: str, port: int, host: str) -> Site:
        """The place at an address."""
        found = self.scripts.sites.get(key)
        if found is None:
            found = Site(key, address, port, self.chance(f"endpoint {key}"), host=host)
            found.serving = partial(self.served_by, found)
            self.scripts.sites[key] = found
        return found

    def served_by(self, site: Site) -> Service:
        """The workload that answers at a place."""
        namespace = "default"
        parts = site.host.split(".")
        if len(parts) > 2 and parts[2] == "svc":
            namespace = parts[1]
        account = "default"
        if "/ns/" in site.identity:
            namespace, _, account = site.identity.partition("/ns/")[2].partition("/sa/")
        workload = Workload(namespace=namespace, labels=dict(site.labels), service_account=account, name=parts[0])
        return self.service(workload)

    # -- requests ------------------------------------------------------------------------------------

    async def serve(
        self,
        caller: Service | None,
        cluster: Cluster,
        endpoint: Endpoint | None,
        request: UpstreamRequest,
        address: tuple[str, int],
        exchange: SimulatedExchange | None = None,
    ) -> Outcome:
        """One request from its caller to the end of its response. ``address``: what was dialled without an endpoint.

        A mirrored copy has no ``exchange``.
        """
        if endpoint is not None:
            place, port, key, host = endpoint.address, endpoint.port, endpoint.key, cluster.host
        else:
            place, port = address
            key, host = f"{place}:{port}", place
        site = self.site(key, place, port, host)
        if exchange is not None and not exchange.connecting():
            return Failure(FailureKind.OVERFLOW, sent=False)
        plan = self.plan(site, host)
        await self.connect(exchange, plan, cluster.policy.connection_pool.connect_timeout)
        if plan.breaks_connection:
            return plan.failure
        peer = self.peer(caller, cluster) if self.guards.has_rules or site.app is not None else ""
        answer = await self.answer(site, plan, request, peer)
        if isinstance(answer, Failure):
            return answer
        return Response(answer.status, Headers(answer.headers), answer)

    @staticmethod
    async def connect(exchange: Exchange | None, plan: Plan, patience: float) -> None:
        """What :meth:`Exchange.connecting` announced: a connection is pending for a moment, or does not come."""
        try:
            if isinstance(exchange, SimulatedExchange):
                exchange.is_refused = plan.breaks_connection
            if plan.breaks_connection or (isinstance(exchange, SimulatedExchange) and exchange.is_connecting):
                await asyncio.sleep(patience if plan.way == "unreachable" else 0)
        finally:
            if exchange is not None:
                exchange.connected()

    @staticmethod
    def peer(caller: Service | None, cluster: Cluster | None) -> str:
        """The SPIFFE id that the caller shows: workloads of a simulation have sidecars, so to speak."""
        if caller is None or cluster is None or cluster.external:
            return ""
        return caller.workload.spiffe_id if cluster.policy.tls.mode in ("AUTO", "ISTIO_MUTUAL") else ""

    def plan(self, site: Site, host: str) -> Plan:
        """What is to become of a request for ``host`` that arrives at a place now."""
        site.received[host] += 1
        known = site.known(self.scripts, host)
        now = self.clock.monotonic()
        rule = site.find_rule(known, now)
        latency = site.draw(known.latency if rule is None or rule.latency is None else rule.latency)
        return Plan(rule, latency, known.capacity)

    async def answer(self, site: Site, plan: Plan, request: UpstreamRequest, peer: str) -> Answer | Failure:
        """What a place makes of a request, once there is a connection."""
        request.endpoint, request.serving = site.key, site.serving
        request.principal = peer.removeprefix("spiffe://")
        if not self.guards.has_rules or site.app is not None:
            return await (self._work if plan.capacity is None else self._in_turn)(site, plan, request)
        passed = self.guards.pass_through(site, request, peer)
        if not isinstance(passed, Passed):
            await asyncio.sleep(0)
            return passed
        answer = await self._in_turn(site, plan, request)
        passed.report(answer.status if isinstance(answer, Answer) else 0)
        return answer

    async def _in_turn(self, site: Site, plan: Plan, request: UpstreamRequest) -> Answer | Failure:
        """Work on it when the place has room."""
        if plan.capacity is None:
            return await self._work(site, plan, request)
        concurrent, queue, overflow = plan.capacity
        if not await site.enter(concurrent, queue):
            return overflow.failure() if isinstance(overflow, Break) else overflow
        try:
            return await self._work(site, plan, request)
        finally:
            site.leave()

    async def _work(self, site: Site, plan: Plan, request: UpstreamRequest) -> Answer | Failure:
        await asyncio.sleep(plan.latency)
        rule, reaction = plan.rule, _FINE
        if rule is not None:
            reacts = rule.reaction
            reaction = reacts if isinstance(reacts, Answer | Break) else await self._handle(reacts, request)
        elif site.app is not None:
            reaction = await site.app.answer(request)
        if isinstance(reaction, Answer):
            if reaction.delay:
                await asyncio.sleep(reaction.delay)
            return reaction
        if reaction.way == "hang":
            await self.loop.create_future()
        return reaction.failure()

    async def _handle(self, handler: Handler, request: UpstreamRequest) -> Answer | Break:
        """The handler's reaction; calls that it makes hand on what the request being served has, and nothing else."""
        made = handler(request)
        if not inspect.isawaitable(made):
            return answer_of(made)

        async def work() -> Reaction:
            headers = ((name.lower(), value) for name, value in request.headers.items())
            serving.set(Carried(carried_headers(headers)))
            return await made

        return answer_of(await self.loop.create_task(work(), context=Context()))

    def require_loop(self) -> None:
        """Raise RuntimeError in a coroutine that another loop runs: there, time would be real, and its timeouts too."""
        if asyncio._get_running_loop() is not self.loop:
            raise RuntimeError(_ELSEWHERE)

    def background(self, work: Coroutine[Any, Any, object]) -> None:
        """Have something done while virtual time passes."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._mistakes.append(error)

    def raise_mistake(self) -> None:
        """Raise what went wrong in the background: a mistake of the test, such as one of a handler."""
        if self._mistakes:
            raise self._mistakes.pop(0)

    def load_chance(self) -> random.Random:
        """The chance of the next load: each has its own."""
        self._loads += 1
        return self.chance(f"load {self._loads}")

    async def close(self) -> None:
        """End what is on its way."""
        for site in self.scripts.sites.values():
            if site.app is not None:
                await site.app.shut_down()
        pending = [task for task in asyncio.all_tasks(self.loop) if task is not asyncio.current_task()]
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)


class _NoTls(Originator):
    """In a simulation no byte is encrypted; who the caller is, the simulation says."""

    def handshake(self, cluster: Cluster, endpoint: Endpoint | None, host: str, *, is_http: bool = True) -> None:
        """None, whatever the policy is."""


_FINE: Answer | Break = Answer()
_ELSEWHERE: Final = (
    "asynchronous calls in a simulation are made on virtual time: in a coroutine given to sim.run(), or in a test with "
    "@pytest.mark.mesh; in place of a framework's test client, mount the application with sim.app(…) and call it with "
    "sim.get(…)"
)


def _key(workload: Workload) -> str:
    labels = ",".join(f"{name}={value}" for name, value in sorted(workload.labels.items()))
    return f"{workload.namespace}/{workload.service_account}/{workload.name}/{labels}/{workload.locality}"


def _name(workload: Workload) -> str:
    app = workload.labels.get("app") or workload.name or workload.service_account
    version = workload.labels.get("version")
    return f"{app}-{version}" if version else app
