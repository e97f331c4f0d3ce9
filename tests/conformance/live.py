"""Upstreams for every name on loopback, and one request of a pinned case through a real client to them."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import yaml
from aiohttp.abc import AbstractResolver, ResolveResult
from multidict import CIMultiDict
from yarl import URL

from meshlib import Mesh, Workload
from meshlib.events import ExchangeFinished
from meshlib.testing import VirtualClock, run_virtual

__all__ = ["Answered", "Place", "Played", "Seen", "play"]

Place = tuple[str, int]
"""The name and port that a server stands for."""

QUIET = ("User-Agent", "Accept", "Accept-Encoding")  # what aiohttp would add, and rules could see


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One request as it came in, and where."""

    place: Place
    method: str
    path: str
    headers: CIMultiDict[str]


@dataclass(slots=True, kw_only=True)
class Answered:
    """What the application sees; ``seconds`` are virtual."""

    status: int
    headers: CIMultiDict[str]
    body: str
    event: ExchangeFinished
    seconds: float


@dataclass(slots=True, kw_only=True)
class Played:
    """What came of some requests, at both ends."""

    answers: list[Answered]
    seen: list[Seen]


@dataclass(slots=True)
class Upstreams(AbstractResolver):
    """A server of its own for each name and port that is asked for; ``answer`` None is a server that never answers."""

    answer: dict[str, Any] | None
    seen: list[Seen] = field(default_factory=list)
    _ports: dict[Place, int] = field(default_factory=dict)
    _servers: list[asyncio.Server] = field(default_factory=list)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        place = (host.removesuffix("."), port)
        if place not in self._ports:
            server = await asyncio.start_server(lambda reader, writer: self._talk(place, reader, writer), "127.0.0.1")
            self._servers.append(server)
            self._ports[place] = server.sockets[0].getsockname()[1]
        return [
            ResolveResult(
                hostname=host, host="127.0.0.1", port=self._ports[place], family=socket.AF_INET, proto=0, flags=0
            )
        ]

    async def close(self) -> None:
        for server in self._servers:
            server.close()

    async def _talk(self, place: Place, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, path, _ = lines[0].split(" ")
                fields = CIMultiDict(tuple(line.split(": ", 1)) for line in lines[1:-2])
                self.seen.append(Seen(place=place, method=method, path=path, headers=fields))
                if self.answer is None:
                    continue
                status = self.answer.get("status", 200)
                own = "".join(f"{name}: {value}\r\n" for name, value in self.answer.get("headers", {}).items())
                length = "" if status == 204 else "content-length: 0\r\n"
                writer.write(f"HTTP/1.1 {status} Said\r\n{own}{length}\r\n".encode())
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def declared(documents: list[dict[str, Any]]) -> set[str]:
    """The hosts that a configuration has services for."""
    found: set[str] = set()
    for one in documents:
        if one["kind"] == "ServiceEntry":
            found.update(one["spec"]["hosts"])
        if one["kind"] == "Service":
            found.add(f"{one['metadata']['name']}.{one['metadata']['namespace']}.svc.cluster.local")
    return found


def destinations(documents: list[dict[str, Any]], dialled: int) -> Iterator[Place]:
    """Where the rules of a configuration send to."""
    for one in documents:
        if one["kind"] != "VirtualService":
            continue
        for rule in one["spec"].get("http", ()):
            mirrors = [{"destination": rule["mirror"]}] if "mirror" in rule else rule.get("mirrors", [])
            for target in [*rule.get("route", ()), *mirrors]:
                host = target["destination"]["host"]
                full = host if "." in host else f"{host}.{one['metadata']['namespace']}.svc.cluster.local"
                yield full, target["destination"].get("port", {}).get("number", dialled)


def registry(text: str, dialled: int) -> str:
    """ServiceEntries for the destinations that a case names and leaves undeclared."""
    documents = [one for one in yaml.safe_load_all(text) if one]
    known = declared(documents)
    entries = [
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": "ServiceEntry",
            "metadata": {"name": f"zz-{number}", "namespace": "default", "creationTimestamp": "2030-01-01T00:00:00Z"},
            "spec": {
                "hosts": [host],
                "resolution": "DNS",
                "ports": [{"number": port, "name": "http", "protocol": "HTTP"}],
            },
        }
        for number, (host, port) in enumerate(dict.fromkeys(destinations(documents, dialled)))
        if host not in known
    ]
    return yaml.safe_dump_all(entries)


def play(case: dict[str, Any], *, times: int = 1) -> Played:
    """Send the request of a case through a governed aiohttp session, some times, to servers of its own."""
    clock = VirtualClock()
    return run_virtual(_play(case, clock, times), clock)


async def _play(case: dict[str, Any], clock: VirtualClock, times: int) -> Played:
    request = case.get("request") or {"method": "GET", "url": "http://shop.example.com/", "headers": {}}
    client = request.get("client") or {"namespace": "default", "labels": {}}
    url = URL(request["url"], encoded=True)
    assert url.port is not None
    config = f"{case['config']}\n---\n{registry(case['config'], url.port)}"
    workload = Workload(namespace=client["namespace"], labels=client["labels"])
    mesh = Mesh.load(config, workload=workload, clock=clock, chance=random.Random(7))
    events: list[ExchangeFinished] = []
    mesh.observe(events.append, ExchangeFinished)  # type: ignore[arg-type]
    hangs = "timeout_ms" in case["expect"]
    upstreams = Upstreams(None if hangs else request.get("upstream_response", {}))
    fields = request["headers"]
    headers = CIMultiDict(fields if isinstance(fields, dict) else [tuple(pair) for pair in fields])
    connector = aiohttp.TCPConnector(resolver=upstreams, use_dns_cache=False)
    found: list[Answered] = []
    async with mesh.aiohttp(connector=connector, skip_auto_headers=QUIET) as session:
        for _ in range(times):
            before = clock.monotonic()
            async with session.request(request["method"], url, headers=headers, allow_redirects=False) as reply:
                body, seen = await reply.text(), CIMultiDict(reply.headers)
            seconds = clock.monotonic() - before
            found.append(Answered(status=reply.status, headers=seen, body=body, event=events[-1], seconds=seconds))
        await asyncio.sleep(1.0)  # virtual: mirrored copies arrive
    await upstreams.close()
    return Played(answers=found, seen=upstreams.seen)
