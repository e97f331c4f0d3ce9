"""Runs the pages of the documentation: YAML blocks become files, Python blocks run, upstreams are real.

A YAML block with a title is written to that path before the Python blocks after it run; the
README shows its example first, so its YAML is written first.
Endpoint addresses ``10.…`` in such a block become loopback servers that answer
``200`` with their address as text; those that end in ``.9`` are broken and answer 503.
Where clients call them, timeouts of seconds become minutes: none may run out on a busy machine.
"""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiohttp import web
from sybil import Document, Example, Region, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser, SkipParser

from tests.patience import PATIENCE

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])

_TITLED_YAML = re.compile(r'^```yaml title="(?P<path>[^"]+)"\n(?P<text>.*?)^```$', re.MULTILINE | re.DOTALL)
_ADDRESS = re.compile(r"address: (10\.\d+\.\d+\.\d+)\b")
_TIMEOUT = re.compile(r"(timeout|perTryTimeout|connectTimeout): (\d+)(m?s)\b")
_SLOWER = 60
_CLIENT = re.compile(r"mesh\.(aiohttp|httpx|requests|urllib3|create_connection|open_connection|call)\w*\(|MeshGateway")


class Upstreams:
    """One loopback server for each address of the page."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._runners: list[web.AppRunner] = []
        self._ports: dict[str, int] = {}
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def port_of(self, address: str) -> int:
        """The loopback port that stands for ``address``; its server is started if it is new."""
        if address not in self._ports:
            done = asyncio.run_coroutine_threadsafe(self._serve(address), self._loop)
            self._ports[address] = done.result(PATIENCE)
        return self._ports[address]

    async def _serve(self, address: str) -> int:
        async def answer(_: web.Request) -> web.Response:
            return web.Response(status=503 if address.endswith(".9") else 200, text=address)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        listener = socket.create_server(("127.0.0.1", 0))
        await web.SockSite(runner, listener).start()
        self._runners.append(runner)
        port: int = listener.getsockname()[1]
        return port

    def close(self) -> None:
        """Stop every server and the loop they ran on."""

        async def stop() -> None:
            for runner in self._runners:
                await runner.cleanup()

        asyncio.run_coroutine_threadsafe(stop(), self._loop).result(PATIENCE)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()


class Page:
    """A page of the documentation, run in ``folder``."""

    def __init__(self, path: Path, folder: Path) -> None:
        self.path = path
        self.folder = folder
        self.upstreams = Upstreams()

    def run(self) -> None:
        """Evaluate every block in order."""
        parsers = [CodeBlockParser("python", PythonEvaluator()), self._yaml_files, SkipParser()]
        document = Sybil(parsers=parsers).parse(self.path)
        document.namespace["__name__"] = "__main__"
        examples = list(document.examples())
        if self.path.name == "README.md":
            examples.sort(key=lambda example: not isinstance(example.parsed, tuple))
        for example in examples:
            example.evaluate()

    def _yaml_files(self, document: Document) -> Iterator[Region]:
        for match in _TITLED_YAML.finditer(document.text):
            yield Region(match.start(), match.end(), (match["path"], match["text"]), self._write)

    def _write(self, example: Example) -> None:
        path, text = example.parsed
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if _CLIENT.search(example.document.text):
            text = _TIMEOUT.sub(lambda found: f"{found[1]}: {int(found[2]) * _SLOWER}{found[3]}", text)
        target.write_text(_ADDRESS.sub(self._on_loopback, text), encoding="utf-8")

    def _on_loopback(self, match: re.Match[str]) -> str:
        return f"address: 127.0.0.1, ports: {{http: {self.upstreams.port_of(match[1])}}}"


@contextmanager
def opened(path: Path, folder: Path) -> Iterator[Page]:
    """A page whose servers are stopped at the end."""
    page = Page(path, folder)
    try:
        yield page
    finally:
        page.upstreams.close()
