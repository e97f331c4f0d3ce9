"""Roll reviews v3 out while calls go on: 0, 20, 50, 100 %, and one bad update. Run: python main.py"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web

from meshlib import ConfigError, Mesh

HERE = Path(__file__).parent
CALLS_PER_STEP = 200


@asynccontextmanager
async def serve(version: str) -> AsyncIterator[int]:
    """A reviews server on loopback; the port it listens on."""

    async def reviews(_: web.Request) -> web.Response:
        await asyncio.sleep(0.001)
        return web.json_response({"version": version})

    app = web.Application()
    app.router.add_get("/reviews/{product}", reviews)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def service_entry(ports: dict[int, str]) -> dict[str, object]:
    """Where the servers are: normally the cluster's own Service and EndpointSlices."""
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": "reviews", "namespace": "default"},
        "spec": {
            "hosts": ["reviews.default.svc.cluster.local"],
            "ports": [{"number": 9080, "name": "http", "protocol": "HTTP"}],
            "resolution": "STATIC",
            "endpoints": [
                {"address": "127.0.0.1", "ports": {"http": port}, "labels": {"version": version}}
                for port, version in ports.items()
            ],
        },
    }


def virtual_service(new: int, key: str = "weight") -> dict[str, object]:
    """The VirtualService that gives v3 ``new`` % of the requests, as a pipeline would apply it."""
    routes = [
        {"destination": {"host": "reviews", "subset": version}, key: weight}
        for version, weight in (("v1", 100 - new), ("v3", new))
    ]
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "reviews", "namespace": "default"},
        "spec": {"hosts": ["reviews"], "http": [{"route": routes}]},
    }


class Callers:
    """Calls reviews without a pause, some at a time, and counts the versions that answered."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session
        self.seen: Counter[str] = Counter()
        self.enough = asyncio.Event()

    async def run(self) -> None:
        """Call until cancelled; a call that fails ends it with an error."""
        while True:
            async with self.session.get("http://reviews:9080/reviews/0") as response:
                response.raise_for_status()
                self.seen[(await response.json())["version"]] += 1
            if self.seen.total() >= CALLS_PER_STEP:
                self.enough.set()

    async def step(self) -> Counter[str]:
        """The answers of one step of the roll-out."""
        self.seen.clear()
        self.enough.clear()
        await self.enough.wait()
        return Counter(self.seen)


async def roll_out(mesh: Mesh, callers: Callers, fixed: list[object]) -> None:
    """Step by step; the calls that are on their way finish by the rules they began with."""
    for new in (0, 20, 50, 100):
        mesh.publish([*fixed, virtual_service(new)])
        seen = await callers.step()
        print(f"{new:4} %  v1 {seen['v1']:3}  v3 {seen['v3']:3}  {seen['v3'] / seen.total():.0%} to v3")
        if new == 50:
            try:
                mesh.publish([*fixed, virtual_service(80, key="wieght")])
            except ConfigError as error:
                mistake = error.findings[0]
                print(f"  80 %  refused: {mistake.message}, {mistake.hint} The rules before it stay.")


async def main() -> None:
    """Two servers of each version, four callers, five updates, one of them bad."""
    async with serve("v1") as a, serve("v1") as b, serve("v3") as c, serve("v3") as d:
        fixed: list[object] = [HERE / "mesh.yaml", service_entry({a: "v1", b: "v1", c: "v3", d: "v3"})]
        mesh = Mesh.load([*fixed, virtual_service(0)])
        async with mesh.aiohttp() as session, asyncio.TaskGroup() as group:
            callers = Callers(session)
            tasks = [group.create_task(callers.run()) for _ in range(4)]
            await roll_out(mesh, callers, fixed)
            for task in tasks:
                task.cancel()
    print("no call failed")


if __name__ == "__main__":
    asyncio.run(main())
