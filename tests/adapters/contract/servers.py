"""Upstreams on loopback for clients of all kinds: they live on a loop in a thread of their own, plain or with TLS."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from meshlib._inbound.certificates import identity_of_tls
from meshlib.security import CertificateFiles
from tests.patience import PATIENCE

__all__ = ["Loop", "Seen", "Upstream", "tls_for"]

T = TypeVar("T")


class Loop:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="test-upstreams", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

    def close(self) -> None:
        async def end() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self.run(end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE)
        self.loop.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One request as it came in."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    peer: int
    identity: str | None
    server_name: str | None


def tls_for(files: CertificateFiles, *, asks_for_client: bool = True) -> ssl.SSLContext:
    """A server's context that notes the server name in each connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.chain, files.key)
    context.load_verify_locations(files.root)
    context.verify_mode = ssl.CERT_REQUIRED if asks_for_client else ssl.CERT_NONE
    names: dict[int, str | None] = {}
    context.names = names  # type: ignore[attr-defined]

    def note(connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: ssl.SSLContext) -> None:
        names[id(connection)] = name

    context.sni_callback = note
    return context


class Upstream:
    """Answers with what it saw, or as the next entry of its script says.

    An entry is a status, or a mapping: ``status``, ``headers``, ``body``, ``when``
    (what must be so before it is answered), ``delay`` (seconds before the head), ``drip``
    (seconds between the bytes of the head), ``pause`` (seconds in the middle of the body), ``parts`` (chunked),
    ``hold`` (after the first part until ``rest`` is set), ``cut`` (the connection ends after
    that many bytes of the body), ``reset``, ``garbage`` (sent in place of a response),
    ``close``, ``hang`` (until the client goes away, which ``left`` counts).
    """

    def __init__(self, loop: Loop, tls: ssl.SSLContext | None, *script: Any, name: str = "") -> None:
        self._loop = loop
        self._tls = tls
        self.script = list(script)
        self.name = name
        self.seen: list[Seen] = []
        self.connections = 0
        self.inside = self.most = self.left = 0
        self.gate = threading.Event()
        self.gate.set()
        self.rest = threading.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listening.setblocking(False)
        self.port: int = self._listening.getsockname()[1]
        loop.run(self._start())

    @property
    def open(self) -> int:
        """The connections that are."""
        return len(self._writers)

    async def _start(self) -> None:
        asyncio.get_running_loop().add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        """As asyncio's own server, which loses the sockets of those who come just when it is closed."""
        try:
            connection, _ = self._listening.accept()
        except OSError:  # gone again
            return
        task = asyncio.get_running_loop().create_task(self._talk(connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        self._loop.run(self._stop())

    async def _stop(self) -> None:
        asyncio.get_running_loop().remove_reader(self._listening)
        self._listening.close()
        await asyncio.sleep(0)  # who was just accepted is a connection by now, which a cancellation closes
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def drop_connections(self) -> None:
        """Close what is open, as an upstream that restarts."""

        async def drop() -> None:
            for writer in list(self._writers):
                writer.close()
            await asyncio.sleep(0)  # the sockets are closed in the next turn of the loop
            await asyncio.sleep(0)

        self._loop.run(drop())

    async def _talk(self, connection: socket.socket) -> None:
        self.connections += 1
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, connection, ssl=self._tls)
        except OSError:  # nothing was agreed in the handshake
            return
        writer = asyncio.StreamWriter(transport, protocol, reader, loop)
        self._writers.add(writer)
        try:
            while await self._answer(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()
            try:
                with contextlib.suppress(OSError):
                    async with asyncio.timeout(0.5):
                        await writer.wait_closed()
            finally:
                writer.transport.abort()

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Seen:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = lines[0].split(" ")
        headers: dict[str, str] = {}
        for line in lines[1:-2]:
            name, _, value = line.partition(": ")
            headers[name.lower()] = f"{headers[name.lower()]},{value}" if name.lower() in headers else value
        body = b""
        if "chunked" in headers.get("transfer-encoding", ""):
            while size := int((await reader.readuntil(b"\n")), 16):
                body += await reader.readexactly(size)
                await reader.readline()
            await reader.readline()
        elif length := int(headers.get("content-length", 0)):
            body = await reader.readexactly(length)
        tls = writer.get_extra_info("ssl_object")
        names: dict[int, str | None] = getattr(self._tls, "names", {})
        return Seen(
            method=method,
            path=path,
            headers=headers,
            body=body,
            peer=writer.get_extra_info("peername")[1],
            identity=identity_of_tls(tls) if tls is not None else None,
            server_name=names.get(id(tls)),
        )

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        seen = await self._read(reader, writer)
        self.seen.append(seen)
        entry = self.script.pop(0) if self.script else {}
        answer: dict[str, Any] = {"status": entry} if isinstance(entry, int) else entry
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await _wait_for(self.gate.is_set)
            if answer.get("hang"):
                with contextlib.suppress(OSError):
                    await reader.read(1)
                self.left += 1
                return False
            return await self._send(seen, answer, writer)
        finally:
            self.inside -= 1

    async def _send(self, seen: Seen, answer: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        if "when" in answer:
            await _wait_for(answer["when"])
        await asyncio.sleep(answer.get("delay", 0))
        if answer.get("reset"):
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return False
        if "garbage" in answer:
            writer.write(answer["garbage"])
            await writer.drain()
            if "busy" in answer:
                answer["busy"].wait(PATIENCE)
            return False
        facts = {"method": seen.method, "path": seen.path, "server": self.name, "headers": seen.headers}
        body: bytes = answer.get("body", json.dumps({**facts, "body": seen.body.decode("latin-1")}).encode())
        status = answer.get("status", 200)
        has_body = seen.method != "HEAD" and status not in (204, 304)
        lines = [f"HTTP/1.1 {status} Said"]
        lines += [f"{name}: {value}" for name, value in answer.get("headers", ())]
        parts: list[bytes] | None = answer.get("parts")
        if parts is not None:
            lines.append("transfer-encoding: chunked")
        elif status not in (204, 304):
            lines.append(f"content-length: {len(body)}")
        await _write_head("\r\n".join(lines).encode() + b"\r\n\r\n", answer.get("drip"), writer)
        if parts is not None:
            await self._write_parts(parts, answer, writer)
        elif has_body:
            await _write_body(body, answer, writer)
        await writer.drain()
        return not (answer.get("close") or "cut" in answer)

    async def _write_parts(self, parts: list[bytes], answer: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(b"%x\r\n%b\r\n" % (len(part), part))
            await writer.drain()
            await asyncio.sleep(answer.get("pause", 0))
            if answer.get("hold"):
                await _wait_for(self.rest.is_set)
        if "cut" not in answer:
            writer.write(b"0\r\n\r\n")


async def _write_head(head: bytes, drip: float | None, writer: asyncio.StreamWriter) -> None:
    if drip is None:
        writer.write(head)
        return
    for at in range(len(head)):
        writer.write(head[at : at + 1])
        await asyncio.sleep(drip)


async def _write_body(body: bytes, answer: dict[str, Any], writer: asyncio.StreamWriter) -> None:
    body = body[: answer.get("cut", len(body))]
    half = len(body) // 2 if "pause" in answer else len(body)
    writer.write(body[:half])
    await writer.drain()
    await asyncio.sleep(answer.get("pause", 0))
    writer.write(body[half:])


async def _wait_for(condition: Callable[[], bool]) -> None:
    """As long as it takes: whoever closes the upstream ends it."""
    while not condition():  # noqa: ASYNC110 - other threads bring it about
        await asyncio.sleep(0.002)
