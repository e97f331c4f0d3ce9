"""The live page of several running processes: asks the admin interface of each and shows them as one.

Every answer is made of theirs; nothing is counted here. A process that does not answer
is left out and named, the others are shown.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import msgspec

from meshlib._explain.explanation import Json
from meshlib.admin.asgi import Interface
from meshlib.admin.feed import KEPT, Feed
from meshlib.admin.guard import Guard
from meshlib.admin.messages import Answer, Ask, BadAskError, json_answer, text_answer
from meshlib.admin.page_files import page_file

__all__ = ["Gathering"]

_TIMEOUT: Final = aiohttp.ClientTimeout(total=5.0, connect=2.0)
_STREAM_TIMEOUT: Final = aiohttp.ClientTimeout(total=None, connect=2.0, sock_read=30.0)
_PAUSE: Final = 2.0
_LISTS: Final = {"/routes": "routes", "/clusters": "cluster_statuses", "/stats": "stats", "/certs": "certificates",
                 "/config_dump": "configs"}  # fmt: skip
_MOST: Final = 32 * 1024 * 1024


class Gathering(Interface):
    """The processes at ``urls``, each the place of its admin interface, shown together.

    A member keeps the name that its process gives it; the second of one name gets ``#2``.
    ``allow_control`` passes changes on to processes that allow them, too.
    """

    def __init__(self, urls: Iterable[str], *, allow_control: bool = False) -> None:
        super().__init__(Guard(), Feed(time.time))
        self._urls = [url if url.endswith("/") else f"{url}/" for url in urls]
        self._allows_control = allow_control
        self._session: aiohttp.ClientSession | None = None
        self._names: dict[tuple[str, str], str] = {}  # by process and the name there: the name here

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Listens to the processes while the context is open; needed before the first request."""
        async with aiohttp.ClientSession() as session:
            self._session = session
            listening = [asyncio.create_task(self._listen(url)) for url in self._urls]
            try:
                yield
            finally:
                for task in listening:
                    task.cancel()
                await asyncio.gather(*listening, return_exceptions=True)
                self._session = None

    # -- answers ---------------------------------------------------------------------------------------

    async def reply(self, ask: Ask) -> Answer:
        """The answers of all processes as one, or that of the one that is meant."""
        if ask.method == "POST" and ask.path in ("/explain", "/faults"):
            return await self._one(ask, ask.json())
        if ask.method not in ("GET", "HEAD"):
            raise BadAskError("the admin interface is read-only", 405)
        match ask.path:
            case "/ready":
                return text_answer("LIVE\n")
            case "/live":
                return json_answer(await self._live())
            case "/findings":
                return json_answer(await self._findings())
            case "/source":
                return await self._source(ask)
            case "/explain":
                return await self._one(ask, {**ask.query})
            case path if path in _LISTS:
                return json_answer(await self._list(ask, _LISTS[path]))
            case path:
                found = page_file(path)
                if found is None:
                    raise BadAskError(f"there is nothing at {path[:100]}", 404)
                return found

    async def _live(self) -> Json:
        found = await self._ask_all("live", {})
        members: list[Json] = []
        bounds: Json = []
        for url, answer in found.items():
            bounds = bounds or answer.get("bounds")
            there = _objects(answer, "members")
            members += [{**member, "name": self._name(url, str(member.get("name")))} for member in there]
        if not members:
            raise BadAskError(f"no process answers: {', '.join(self._urls)}", 502)
        silent = [url for url in self._urls if url not in found]
        can = self._allows_control and any(answer.get("control") is True for answer in found.values())
        return {"now": round(time.time(), 3), "bounds": bounds, "control": can, "members": members, "silent": [*silent]}

    async def _findings(self) -> Json:
        findings: dict[str, Json] = {}
        skipped: dict[Json, None] = {}
        for url, answer in (await self._ask_all("findings", {})).items():
            for one in _objects(answer, "findings"):
                names = one.pop("members", [])
                key = json.dumps(one, sort_keys=True)
                known = findings.setdefault(key, {**one, "members": []})
                assert isinstance(known, dict)
                members = known["members"]
                assert isinstance(members, list)
                members += [self._name(url, str(name)) for name in names] if isinstance(names, list) else []
            kinds = answer.get("skipped")
            skipped.update(dict.fromkeys(map(str, kinds)) if isinstance(kinds, list) else {})
        return {"findings": [*findings.values()], "skipped": [*skipped]}

    async def _list(self, ask: Ask, key: str) -> Json:
        query = dict(ask.query)
        wanted = query.pop("member", None)
        found: list[Json] = []
        total = 0
        if wanted is None:
            answers = await self._ask_all(ask.path[1:], query)
        else:
            url, name = self._place(wanted)
            answers = {url: await self._get(url, ask.path[1:], {**query, "member": name})}
        for url, answer in answers.items():
            entries = _objects(answer, key)
            found += [{**entry, "member": self._name(url, str(entry.get("member")))} for entry in entries]
            count = answer.get("total")
            total += count if isinstance(count, int) else len(entries)
        return {key: found, "total": total}

    async def _source(self, ask: Ask) -> Answer:
        for answer in (await self._ask_all("source", ask.query)).values():
            return json_answer(answer)
        raise BadAskError(f"no process has a text named {ask.query.get('file', '')[:200]!r}", 404)

    async def _one(self, ask: Ask, asked: Mapping[str, Json]) -> Answer:
        """Pass a question about one member on to its process."""
        if ask.path == "/faults" and not self._allows_control:
            raise BadAskError("the admin interface is read-only: start it with --allow-control", 403)
        wanted = asked.get("member")
        url, name = self._place(wanted) if isinstance(wanted, str) else (self._urls[0], None)
        body = {key: value for key, value in asked.items() if key != "member"}
        async with self._open.post(
            url + ask.path[1:], json={**body, "member": name} if name else body, timeout=_TIMEOUT
        ) as response:
            answer = await _json(response)
        if isinstance(wanted, str):
            answer["member"] = wanted
        return json_answer(answer, response.status)

    # -- the processes -----------------------------------------------------------------------------------

    @property
    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("a gathering answers inside of running()")
        return self._session

    async def _ask_all(self, path: str, query: Mapping[str, str]) -> dict[str, dict[str, Json]]:
        """What the processes answer, by URL; those that do not are left out."""
        found = await asyncio.gather(*(self._get(url, path, query) for url in self._urls), return_exceptions=True)
        answers: dict[str, dict[str, Json]] = {}
        for url, answer in zip(self._urls, found, strict=True):
            if isinstance(answer, dict):
                answers[url] = answer
            elif not isinstance(answer, BadAskError):
                raise answer
        return answers

    async def _get(self, url: str, path: str, query: Mapping[str, str]) -> dict[str, Json]:
        try:
            async with self._open.get(url + path, params=dict(query), timeout=_TIMEOUT) as response:
                answer = await _json(response)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise BadAskError(f"{url} does not answer: {error}", 502) from None
        if response.status != 200:
            raise BadAskError(f"{url}: {answer.get('error', response.status)}", response.status)
        return answer

    def _name(self, url: str, name: str) -> str:
        """The name of a member here."""
        known = self._names.get((url, name))
        if known is None:
            known, number = name, 1
            while known in self._names.values():
                number += 1
                known = f"{name}#{number}"
            self._names[url, name] = known
        return known

    def _place(self, wanted: str) -> tuple[str, str]:
        for place, name in self._names.items():
            if name == wanted:
                return place
        raise BadAskError(f"there is no member {wanted[:80]!r}", 404)

    # -- events ----------------------------------------------------------------------------------------

    async def _listen(self, url: str) -> None:
        """Deliver the events of a process, whenever it is there."""
        last = ""
        while True:
            try:
                headers = {"last-event-id": last} if last else {}
                async with self._open.get(f"{url}events", headers=headers, timeout=_STREAM_TIMEOUT) as response:
                    if response.status == 200:
                        async for message in _messages(response):
                            last = message.get("id", last)
                            self._deliver(url, message)
            except (aiohttp.ClientError, TimeoutError, ValueError):
                await asyncio.sleep(_PAUSE)
            else:
                await asyncio.sleep(_PAUSE if response.status != 200 else 0.1)

    def _deliver(self, url: str, message: Mapping[str, str]) -> None:
        kind = next((kind for kind in KEPT if kind.__name__ == message.get("event")), None)
        if kind is None:
            return
        values: dict[str, Any] = json.loads(message.get("data", "{}"))
        member = self._name(url, str(values.pop("member", "?")))
        values.pop("time", None)
        try:
            self.feed.keep(member, msgspec.convert(values, kind))
        except msgspec.ValidationError:
            return  # of another version of meshlib

    def __repr__(self) -> str:
        return f"<Gathering processes={len(self._urls)}>"


async def _json(response: aiohttp.ClientResponse) -> dict[str, Json]:
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_chunked(65_536):
        size += len(part)
        if size > _MOST:
            raise BadAskError(f"{response.url} answers more than {_MOST} bytes", 502)
        parts.append(part)
    try:
        found = json.loads(b"".join(parts))
    except ValueError:
        raise BadAskError(f"{response.url} is no admin interface of meshlib (status {response.status})", 502) from None
    if not isinstance(found, dict):
        raise BadAskError(f"{response.url} is no admin interface of meshlib", 502)
    return found


async def _messages(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, str]]:
    """The messages of an event stream as its fields, in order."""
    fields: dict[str, str] = {}
    async for line in response.content:
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if text:
            name, _, value = text.partition(":")
            fields[name] = value.removeprefix(" ")
        else:
            if "data" in fields:
                yield fields
            fields = {}


def _objects(answer: Mapping[str, Json], key: str) -> list[dict[str, Json]]:
    found = answer.get(key)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
