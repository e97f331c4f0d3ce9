"""A scripted upstream on loopback, and the replay of one outage through a client."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.ports import closed_port

__all__ = ["ScriptedServer", "scripted_server"]


class ScriptedServer:
    """Answers the first, second … request with the entries of a script, the last one again and again."""

    def __init__(self, script: list[Any]) -> None:
        self._script = script or [200]
        self.calls = 0
        self.attempts: list[str] = []
        self.port = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
        lower = {name.lower(): value for name, value in fields.items()}
        if length := int(lower.get("content-length", 0)):
            await reader.readexactly(length)
        self.attempts.append(lower.get("x-envoy-attempt-count", ""))
        entry = self._script[min(self.calls, len(self._script) - 1)]
        self.calls += 1
        if entry == "reset":
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return False
        answer = {"status": entry} if isinstance(entry, int) else entry
        await asyncio.sleep(answer.get("delay_ms", 0) / 1000)
        body = answer.get("body", "").encode()
        lines = [f"HTTP/1.1 {answer.get('status', 200)} X", f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in answer.get("headers", {}).items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await writer.drain()
        return True


@asynccontextmanager
async def scripted_server(script: list[Any]) -> AsyncIterator[ScriptedServer]:
    """Running on a loopback port; with the script ``["connect-failure"]`` nothing listens there."""
    server = ScriptedServer(script)
    if script == ["connect-failure"]:
        server.port = closed_port()
        yield server
        return
    listening = await asyncio.start_server(server.talk, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield server
