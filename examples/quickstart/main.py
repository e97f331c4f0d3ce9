"""Three servers, one of them broken; 300 governed calls, all answered. Run: python main.py"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web

from meshlib import Mesh
from meshlib.events import EndpointEjected, RetryScheduled

HERE = Path(__file__).parent


@asynccontextmanager
async def serve(version: str, *, broken: bool = False) -> AsyncIterator[int]:
    """A real server on loopback that greets with its version; the port it listens on."""

    async def greet(_: web.Request) -> web.Response:
        return web.Response(status=503) if broken else web.Response(text=version)

    app = web.Application()
    app.router.add_get("/", greet)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def service_entry(ports: dict[int, str]) -> dict[str, object]:
    """Where the service is: normally one more YAML file, here with the ports of the moment."""
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": {"name": "greetings", "namespace": "default"},
        "spec": {
            "hosts": ["greetings.default.svc.cluster.local"],
            "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
            "resolution": "STATIC",
            "endpoints": [
                {"address": "127.0.0.1", "ports": {"http": port}, "labels": {"version": version}}
                for port, version in ports.items()
            ],
        },
    }


async def call(session: aiohttp.ClientSession, times: int, **headers: str) -> Counter[str]:
    """Who answered how often; anything but 200 would raise."""
    answers: Counter[str] = Counter()
    for _ in range(times):
        async with session.get("http://greetings/", headers=headers) as response:
            response.raise_for_status()
            answers[await response.text()] += 1
    return answers


async def main() -> None:
    """Call the broken and the healthy, as everyone and as a beta user, and say what happened."""
    events: Counter[type] = Counter()
    async with serve("v1") as first, serve("v1", broken=True) as second, serve("v2") as third:
        mesh = Mesh.load([HERE / "mesh.yaml", service_entry({first: "v1", second: "v1", third: "v2"})])
        mesh.observe(lambda event: events.update([type(event)]), RetryScheduled, EndpointEjected)
        async with mesh.aiohttp() as session:
            everyone = await call(session, 280)
            beta = await call(session, 20, **{"x-beta": "yes"})

    print(f"everyone:   {dict(sorted(everyone.items()))} of 280 calls; the rule says 90 to 10")
    print(f"beta users: {dict(beta)} of 20 calls; the rule says v2")
    print(f"one server answered nothing but 503: {events[RetryScheduled]} retries, then it was ejected")
    print()
    print(mesh.explain("GET", "http://greetings/", headers={"x-beta": "no"}))


if __name__ == "__main__":
    asyncio.run(main())
