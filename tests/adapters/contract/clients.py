"""Every client library behind one face, so that one test asks all of them."""

# ruff: noqa: ASYNC109 - timeouts are those of the libraries

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import aiohttp
import httpx
import httpx2
import requests
import urllib3

from meshlib import Mesh
from meshlib._engine.exchange import Exchange
from tests.adapters.prepared_calls import prepare_calls
from tests.patience import PATIENCE

__all__ = ["CLIENTS", "Client", "Reply"]

T = TypeVar("T")


class Reply:
    """A response that was read to its end."""

    def __init__(self, status: int, headers: Any, body: bytes, url: str, mesh: Exchange | None) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.url = url
        self.mesh = mesh

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        import json

        return json.loads(self.body)

    @property
    def flags(self) -> tuple[str, ...]:
        return self.mesh.flags if self.mesh is not None else ()

    @property
    def attempts(self) -> int:
        return self.mesh.attempts if self.mesh is not None else 0


class Client(Protocol):
    """What the contract asks of a client. ``family`` is the base of the library's errors."""

    name: str
    family: tuple[type[Exception], ...]
    is_async: bool

    def request(self, method: str, url: str, **arguments: Any) -> Reply: ...

    def stream(self, url: str, size: int = 5) -> Any: ...

    def close(self) -> None: ...


class _Base:
    name = ""
    family: tuple[type[Exception], ...] = ()
    timeouts: tuple[type[Exception], ...] = ()
    is_async = False

    def get(self, url: str, **arguments: Any) -> Reply:
        return self.request("GET", url, **arguments)

    def post(self, url: str, body: Any, **arguments: Any) -> Reply:
        return self.request("POST", url, body=body, **arguments)

    def request(self, method: str, url: str, **arguments: Any) -> Reply:
        raise NotImplementedError

    def pieces(self, *parts: bytes) -> Any:
        """A body that can be read once."""
        return (part for part in parts)


class Requests(_Base):
    name = "requests"
    family = (requests.RequestException,)
    timeouts = (requests.Timeout,)

    def __init__(self, mesh: Mesh, *, roots: str | None = None, **arguments: Any) -> None:
        self.session = mesh.requests(**arguments)
        if roots is not None:
            self.session.verify, self.session.trust_env = roots, False  # REQUESTS_CA_BUNDLE would beat it

    def request(
        self, method: str, url: str, *, body: Any = None, headers: Any = None, timeout: Any = None, follow: bool = True
    ) -> Reply:
        reply = self.session.request(method, url, data=body, headers=headers, timeout=timeout, allow_redirects=follow)
        return Reply(reply.status_code, reply.headers, reply.content, reply.url, reply.mesh)  # type: ignore[attr-defined]

    @contextmanager
    def stream(self, url: str, size: int = 5) -> Iterator[tuple[int, Iterator[bytes]]]:
        with self.session.get(url, stream=True) as reply:
            yield reply.status_code, reply.iter_content(size)

    def cookies(self) -> dict[str, str]:
        return dict(self.session.cookies)

    def close(self) -> None:
        self.session.close()


class Urllib3(_Base):
    name = "urllib3"
    family = (urllib3.exceptions.HTTPError,)
    timeouts = (urllib3.exceptions.TimeoutError,)

    def __init__(self, mesh: Mesh, *, roots: str | None = None, **arguments: Any) -> None:
        self.manager = mesh.urllib3(**arguments, **({"ca_certs": roots} if roots else {}))

    def request(
        self, method: str, url: str, *, body: Any = None, headers: Any = None, timeout: Any = None, follow: bool = True
    ) -> Reply:
        extra = {"timeout": timeout} if timeout is not None else {}
        reply = self.manager.request(method, url, body=body, headers=headers, redirect=follow, **extra)
        return Reply(reply.status, reply.headers, reply.data, reply.url or url, reply.mesh)  # type: ignore[attr-defined]

    @contextmanager
    def stream(self, url: str, size: int = 5) -> Iterator[tuple[int, Iterator[bytes]]]:
        reply = self.manager.request("GET", url, preload_content=False)
        try:
            yield reply.status, reply.stream(size)
        finally:
            reply.close()

    def close(self) -> None:
        self.manager.clear()


def _verify(roots: str | None) -> dict[str, Any]:
    return {"verify": ssl.create_default_context(cafile=roots)} if roots else {}


def _patient(package: Any) -> dict[str, Any]:
    """By itself httpx waits for 5 s, and keeps idle connections for as long."""
    return {"timeout": PATIENCE, "limits": package.Limits(keepalive_expiry=PATIENCE)}


class Httpx(_Base):
    name = "httpx"
    package: Any = httpx

    def __init__(self, mesh: Mesh, *, roots: str | None = None, **arguments: Any) -> None:
        arguments = {**_patient(self.package), **arguments, **_verify(roots)}
        self.client = mesh.httpx(package=self.package.__name__, **arguments)
        self.family = (self.package.HTTPError,)
        self.timeouts = (self.package.TimeoutException,)

    def request(
        self, method: str, url: str, *, body: Any = None, headers: Any = None, timeout: Any = None, follow: bool = True
    ) -> Reply:
        extra = {"timeout": timeout} if timeout is not None else {}
        reply = self.client.request(method, url, content=body, headers=headers, follow_redirects=follow, **extra)
        return Reply(reply.status_code, reply.headers, reply.content, str(reply.url), reply.extensions["mesh"])

    @contextmanager
    def stream(self, url: str, size: int = 5) -> Iterator[tuple[int, Iterator[bytes]]]:
        with self.client.stream("GET", url) as reply:
            yield reply.status_code, reply.iter_bytes(size)

    def cookies(self) -> dict[str, str]:
        return dict(self.client.cookies)

    def close(self) -> None:
        self.client.close()


class Httpx2(Httpx):
    name = "httpx2"
    package = httpx2


class _Async(_Base):
    """Asyncio behind a synchronous face: a loop that runs while a call lasts."""

    is_async = True

    def __init__(self) -> None:
        self.runner = asyncio.Runner()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def pieces(self, *parts: bytes) -> Any:
        async def generate() -> AsyncIterator[bytes]:
            for part in parts:
                yield part

        return generate()

    def stream(self, url: str, size: int = 5) -> Any:
        return self._streaming(self.open_stream(url, size))

    @contextmanager
    def _streaming(self, context: Any) -> Iterator[tuple[int, Iterator[bytes]]]:
        status, parts = self.run(context.__aenter__())

        def pull() -> Iterator[bytes]:
            while True:
                try:
                    yield self.run(parts.__anext__())
                except StopAsyncIteration:
                    return

        try:
            yield status, pull()
        finally:
            if hasattr(parts, "aclose"):
                self.run(parts.aclose())
            self.run(context.__aexit__(None, None, None))

    def open_stream(self, url: str, size: int) -> Any:
        raise NotImplementedError


class HttpxAsync(_Async):
    name = "httpx_async"
    package: Any = httpx

    def __init__(self, mesh: Mesh, *, roots: str | None = None, **arguments: Any) -> None:
        arguments = {**_patient(self.package), **arguments, **_verify(roots)}
        self.client = mesh.httpx_async(package=self.package.__name__, **arguments)
        super().__init__()
        self.family = (self.package.HTTPError,)
        self.timeouts = (self.package.TimeoutException,)

    async def arequest(
        self, method: str, url: str, *, body: Any = None, headers: Any = None, timeout: Any = None, follow: bool = True
    ) -> Reply:
        extra = {"timeout": timeout} if timeout is not None else {}
        reply = await self.client.request(method, url, content=body, headers=headers, follow_redirects=follow, **extra)
        return Reply(reply.status_code, reply.headers, reply.content, str(reply.url), reply.extensions["mesh"])

    def request(self, method: str, url: str, **arguments: Any) -> Reply:
        return self.run(self.arequest(method, url, **arguments))

    def open_stream(self, url: str, size: int) -> Any:
        client = self.client

        class Opened:
            async def __aenter__(self) -> tuple[int, AsyncIterator[bytes]]:
                self.context = client.stream("GET", url)
                reply = await self.context.__aenter__()
                return reply.status_code, reply.aiter_bytes(size)

            async def __aexit__(self, *error: object) -> None:
                await self.context.__aexit__(None, None, None)

        return Opened()

    def cookies(self) -> dict[str, str]:
        return dict(self.client.cookies)

    def close(self) -> None:
        self.run(self.client.aclose())
        self.runner.close()


class Httpx2Async(HttpxAsync):
    name = "httpx2_async"
    package = httpx2


class Aiohttp(_Async):
    name = "aiohttp"
    family = (aiohttp.ClientError,)
    timeouts = (asyncio.TimeoutError,)

    def __init__(self, mesh: Mesh, *, roots: str | None = None, **arguments: Any) -> None:
        super().__init__()
        self._tls: dict[str, Any] = {"ssl": ssl.create_default_context(cafile=roots)} if roots else {}

        async def make() -> aiohttp.ClientSession:
            return mesh.aiohttp(cookie_jar=aiohttp.CookieJar(unsafe=True), **arguments)

        try:
            self.session = self.run(make())
        except BaseException:
            self.runner.close()
            raise

    async def arequest(
        self, method: str, url: str, *, body: Any = None, headers: Any = None, timeout: Any = None, follow: bool = True
    ) -> Reply:
        extra = dict(self._tls)
        if timeout is not None:
            extra["timeout"] = aiohttp.ClientTimeout(total=timeout)
        async with self.session.request(
            method, url, data=body, headers=headers, allow_redirects=follow, **extra
        ) as reply:
            return Reply(reply.status, reply.headers, await reply.read(), str(reply.url), reply.mesh)  # type: ignore[attr-defined]

    def request(self, method: str, url: str, **arguments: Any) -> Reply:
        return self.run(self.arequest(method, url, **arguments))

    def open_stream(self, url: str, size: int) -> Any:
        session = self.session

        class Opened:
            async def __aenter__(self) -> tuple[int, AsyncIterator[bytes]]:
                self.reply = await session.get(url)
                return self.reply.status, self.reply.content.iter_chunked(size).__aiter__()

            async def __aexit__(self, *error: object) -> None:
                self.reply.close()

        return Opened()

    def cookies(self) -> dict[str, str]:
        return {cookie.key: cookie.value for cookie in self.session.cookie_jar}

    def close(self) -> None:
        self.run(self.session.close())
        self.runner.close()


class AiohttpAgain(Aiohttp):
    """Makes each call as aiohttp has prepared one like it."""

    name = "aiohttp_again"

    def __init__(self, mesh: Mesh, **arguments: Any) -> None:
        super().__init__(mesh, **arguments)
        prepare_calls(self.session)


CLIENTS: dict[str, Any] = {
    made.name: made for made in (Aiohttp, AiohttpAgain, Httpx, HttpxAsync, Httpx2, Httpx2Async, Requests, Urllib3)
}


def in_threads(count: int, work: Callable[[int], T]) -> list[T]:
    """The answers of ``count`` calls at the same time."""
    answers: list[Any] = [None] * count

    def one(number: int) -> None:
        answers[number] = work(number)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    return answers
