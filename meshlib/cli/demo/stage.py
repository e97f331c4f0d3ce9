"""One run of the demo: servers, meshes, traffic and the drill, from the first port to the last answer."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from random import Random
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry

from meshlib.adapters.aiohttp_web import mesh_middleware
from meshlib.admin import AdminApp
from meshlib.admin.server import serve_admin
from meshlib.cli.demo.claims import Claim, judge
from meshlib.cli.demo.expectations import Expected, expect, reaches
from meshlib.cli.demo.identities import Identities, account_of
from meshlib.cli.demo.issuer import Issuer
from meshlib.cli.demo.ledger import EVERYONE, Ledger
from meshlib.cli.demo.members import ACCOUNT, Members
from meshlib.cli.demo.outage import OutageDrill
from meshlib.cli.demo.registry import registry_yaml
from meshlib.cli.demo.servers import APPS, CALLERS, BookinfoServers, Guard, Server
from meshlib.cli.demo.strangers import Strangers
from meshlib.cli.demo.visitors import Visitors
from meshlib.events import EndpointEjected, EndpointUnejected, FaultInjected, RetryScheduled
from meshlib.mesh import Mesh
from meshlib.sources.files import ConfigInput
from meshlib.workload import Workload

__all__ = ["CLIENT", "Stage"]

CLIENT: Final = "client"
"""The workload of the visitors."""
_BOOKINFO: Final = Path(__file__).with_name("bookinfo")
_DRAIN: Final = 60.0
"""Seconds that the last visitors may take to get their answer."""
_RENEWAL: Final = 20.0
"""Seconds between two renewals of the certificates in a run without end."""
_GRACE: Final = 3.0
"""Seconds that the end of the run waits for an ejected server to come back."""


class Stage:
    """Everything of one run.

    ``seconds`` 0 means until it is stopped; ``config`` None the demo's own traffic
    rules; ``seed`` decides every draw of the meshes; ``interrupted`` ends the run early
    once it is set: what is in flight then is answered first. ``page`` is the URL of the
    live page while the run lasts, empty before.
    """

    def __init__(
        self, *, seconds: float, interrupted: asyncio.Event, config: Path | None = None, seed: int = 0
    ) -> None:
        self.seconds = seconds
        self._config = config
        self._seed = seed
        self.identities = Identities((CLIENT, *APPS))
        self.bookinfo = BookinfoServers()
        self._issuer = Issuer()
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._ended: float | None = None
        self._interrupted = interrupted
        self._closing = asyncio.Event()
        names: dict[str, str] = {}
        self._names = names
        self.page = ""
        self.ledger = Ledger(lambda: self.elapsed, lambda address: names.get(address, address))
        self.expected: Expected = {}
        self.outages: Sequence[Server] = ()

    @property
    def elapsed(self) -> float:
        """Seconds of traffic so far."""
        return (self._ended or self._loop.time()) - self._began

    @property
    def servers(self) -> tuple[Server, ...]:
        """All servers, in the order of the services."""
        return self.bookinfo.servers

    def claims(self) -> list[Claim]:
        """The claims as they stand now."""
        return judge(self.ledger, self.expected, self.outages, is_whole=not self._interrupted.is_set())

    async def run(self) -> None:
        """Start the servers, let the visitors come, and return when the last one has an answer."""
        async with AsyncExitStack() as stack:
            stack.enter_context(self.identities)
            self.bookinfo = BookinfoServers({app: self.identities.context(app) for app in APPS})
            await stack.enter_async_context(self.bookinfo)
            self._names.update({server.address: server.name for server in self.servers})
            meshes = self._load_meshes()
            self.expected = expect({caller: mesh.snapshot for caller, mesh in meshes.items()})
            sessions = {
                caller: await stack.enter_async_context(meshes[caller].aiohttp()) for caller in (CLIENT, *CALLERS)
            }
            self.bookinfo.sessions = sessions
            self.bookinfo.guards = {app: self._watching(mesh_middleware(meshes[app])) for app in APPS}
            self.page = await stack.enter_async_context(serve_admin(AdminApp(meshes.values())))
            crowds = [Visitors(sessions[CLIENT], self.ledger, self._closing).run()]
            if reaches(meshes[CLIENT].snapshot, "productpage", ACCOUNT):
                crowds.append(Members(sessions[CLIENT], self.ledger, self._closing, self._issuer).run())
            ratings = next(server for server in self.servers if server.service == "ratings")
            stranger = self.identities.client_context(CLIENT)
            crowds.append(Strangers(self.ledger, self._closing, ratings, stranger).run())
            crowds.append(self._renew())
            self._began = self._loop.time()
            await self._play(crowds)

    def _watching(self, guard: Guard) -> Guard:
        """A guard that also counts the certificates that callers show."""

        async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
            tls = request.transport.get_extra_info("ssl_object") if request.transport is not None else None
            shown = tls.getpeercert() if tls is not None else None
            names = dict(shown["subjectAltName"]) if shown else {}
            self.ledger.peers[names.get("URI", ""), shown["serialNumber"] if shown else ""] += 1
            return await guard(request, handler)

        return watch

    async def _renew(self) -> None:
        """Renew the certificates once in a run that ends, and now and then in one that does not."""
        pause = self.seconds / 3 if self.seconds else _RENEWAL
        while not self._closing.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), pause)
                return
            await self.identities.renew()
            self.ledger.record_renewal()
            pause = self.seconds or _RENEWAL

    def _load_meshes(self) -> Mapping[str, Mesh]:
        """One mesh for each workload, as each would have in its own process."""
        # The Services and their endpoints are always the demo's own: only it knows the ports.
        config: list[ConfigInput] = [
            _BOOKINFO / "services.yaml",
            self._config or _BOOKINFO / "traffic",
            _BOOKINFO / "security.yaml",
            self._issuer.authentication_yaml(),
            registry_yaml(self.servers),
        ]
        meshes = {}
        for app in (CLIENT, *APPS):
            workload = Workload(labels={"app": app, "version": "v1"}, service_account=account_of(app))
            mesh = meshes[app] = Mesh.load(
                config,
                workload=workload,
                certificates=self.identities.directory(app),
                chance=Random(self._seed),
            )
            mesh.metrics(CollectorRegistry())  # for who scrapes the page's /stats/prometheus
            mesh.observe(self.ledger.observe, EndpointEjected, EndpointUnejected, FaultInjected, RetryScheduled)
        warnings = sum(finding.level == "warning" for finding in meshes[CLIENT].findings)
        if warnings:
            self.ledger.note(f"{warnings} warnings in the configuration: see Mesh.findings")
        return meshes

    async def _play(self, crowds: Sequence[Coroutine[None, None, None]]) -> None:
        drill = OutageDrill(self.servers, self.expected["reviews", EVERYONE], self.ledger)
        self.outages = drill.outages
        start = min(0.15 * self.seconds, 1.5) if self.seconds else 1.5
        outages = asyncio.create_task(drill.run(start=start, pause=4.0, is_late=self._is_late))
        traffic = asyncio.ensure_future(_together(crowds))
        stopped = asyncio.create_task(self._interrupted.wait())
        tasks = (outages, traffic, stopped)
        try:
            first = asyncio.FIRST_COMPLETED
            done, _ = await asyncio.wait({traffic, stopped}, timeout=self.seconds or None, return_when=first)
            if not done:
                await drill.finish(_GRACE)
            self._closing.set()
            await asyncio.wait({traffic}, timeout=_DRAIN)
        finally:
            self._ended = self._loop.time()
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    def _is_late(self) -> bool:
        """Too late for one more outage to be seen through."""
        return bool(self.seconds) and self.elapsed > max(0.4 * self.seconds, self.seconds - 4.0)

    def __repr__(self) -> str:
        return f"<Stage elapsed={self.elapsed:.1f} {self.ledger!r}>"


async def _together(crowds: Sequence[Coroutine[None, None, None]]) -> None:
    async with asyncio.TaskGroup() as group:
        for crowd in crowds:
            group.create_task(crowd)
