"""``meshlib serve`` stops, whatever its clients do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from meshlib.cli.stopping import Server
from tests.patience import PATIENCE, until

uvicorn = pytest.importorskip("uvicorn")
pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Is asked nothing."""


class Connection:
    """What uvicorn knows of a TLS connection; its client never says goodbye, so only abort() ends it."""

    def __init__(self, state: Any, *, is_idle: bool) -> None:
        self.state, self.is_idle, self.is_closed, self.is_aborted = state, is_idle, False, False
        self.transport = self
        state.connections.add(self)

    def shutdown(self) -> None:
        self.is_closed = self.is_idle

    def is_closing(self) -> bool:
        return self.is_closed

    def abort(self) -> None:
        self.is_aborted = True
        self.state.connections.discard(self)


async def test_a_client_that_never_says_goodbye_is_not_waited_for() -> None:
    """Idle TLS connections once held it for half a minute; a request that is being answered still has its time."""
    config = uvicorn.Config(app, interface="asgi3", lifespan="off", log_level="critical")
    config.load()
    server = Server(config)
    server.goodbye, server.servers = 0.0, []
    server.lifespan = config.lifespan_class(config)
    idle, busy = Connection(server.server_state, is_idle=True), Connection(server.server_state, is_idle=False)
    stopping = asyncio.ensure_future(server.shutdown())
    await until(lambda: idle.is_aborted)
    assert not busy.is_aborted
    assert not stopping.done()
    server.server_state.connections.discard(busy)  # its answer is out
    async with asyncio.timeout(PATIENCE):
        await stopping
