"""An upstream on loopback in a process of its own: as little work as an HTTP/1.1 server can do for an answer.

``python -m benchmarks.loopback_server 3`` prints three ports and answers on each until its standard input is closed,
so that it ends with whoever started it, however that one ends.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.memory_client import CANNED_RESPONSE

__all__ = ["cpu_seconds", "loopback_server"]

ROOT = Path(__file__).resolve().parent.parent
END = b"\r\n\r\n"


@contextmanager
def loopback_server(ports: int = 1) -> Iterator[tuple[int, ...]]:
    """The ports of a running server."""
    command = [sys.executable, "-m", "benchmarks.loopback_server", str(ports)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:  # noqa: S603 - our own
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield tuple(map(int, process.stdout.readline().split()))
        finally:
            process.stdin.close()


def cpu_seconds(process: int) -> float:
    """The processor time that a process has used, in user and system mode; to a hundredth. Linux only."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100.0


class _Answering(asyncio.Protocol):
    """Answers each request without a body; pipelined ones too."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        whole = self._rest + data
        count = whole.count(END)
        self._rest = whole.rpartition(END)[2] if count else whole
        if count and self._transport is not None:
            self._transport.write(CANNED_RESPONSE * count)


async def _serve(count: int) -> None:
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(_Answering, "127.0.0.1", 0) for _ in range(count)]
    print(*(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    for server in servers:
        server.close()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
