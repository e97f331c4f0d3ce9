"""What a worker of Celery runs: the mesh and a client are made and used before the pool forks, as a module does it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from meshlib import Mesh
from tests.lifecycle.queues import queue

app = queue(Path(os.environ["MESH"]).parent)
mesh = Mesh.load([os.environ["MESH"]])
mesh.watch(interval=0.1)
session = mesh.requests()


@mesh.call("backend.test")
def ask() -> str:
    """A governed function around a governed client."""
    return str(session.get("http://backend.test/").json()["x-request-id"])


async def ask_anew() -> str:
    """A call in an event loop of its own."""
    async with mesh.aiohttp() as client, client.get("http://backend.test/") as response:
        return str((await response.json())["x-request-id"])


@app.task(name="call")
def call(number: int) -> tuple[int, str]:
    """The process, and the id of the request that it made."""
    return os.getpid(), asyncio.run(ask_anew()) if number % 2 else ask()


BEFORE = [ask(), asyncio.run(ask_anew())]
