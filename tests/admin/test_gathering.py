"""Several processes shown as one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest

from meshlib import Mesh
from meshlib.admin.gathering import Gathering
from meshlib.admin.server import serve_admin
from meshlib.workload import Workload
from tests.adapters.servers import upstream
from tests.admin.bookshop import load, rules
from tests.ports import closed_port

OTHER = Workload(namespace="shop", labels={"app": "basket"}, service_account="basket")


class Gathered:
    """A gathering over two processes and one that is not there."""

    def __init__(self, session: aiohttp.ClientSession, url: str, meshes: tuple[Mesh, ...]) -> None:
        self.session = session
        self.url = url
        self.meshes = meshes

    async def get(self, path: str, status: int = 200) -> Any:
        async with self.session.get(self.url + path) as response:
            assert response.status == status, await response.text()
            return await response.json()

    async def post(self, path: str, **value: Any) -> Any:
        async with self.session.post(self.url + path, json=value) as response:
            return {"code": response.status, **await response.json()}


@pytest.fixture
async def gathered() -> AsyncIterator[Gathered]:
    async with AsyncExitStack() as stack:
        meshes = (load(), load(), Mesh.load(rules(), workload=OTHER))
        apps = [mesh.admin_app(allow_control=True) for mesh in meshes]
        urls = [await stack.enter_async_context(serve_admin(app)) for app in apps]
        missing = f"http://127.0.0.1:{closed_port()}/"
        gathering = Gathering([*urls, missing], allow_control=True)
        await stack.enter_async_context(gathering.running())
        url = await stack.enter_async_context(serve_admin(gathering))
        yield Gathered(await stack.enter_async_context(aiohttp.ClientSession()), url, meshes)


async def test_all_members_are_there_under_names_of_their_own(gathered: Gathered) -> None:
    """The second process of a workload gets a number; who does not answer is named."""
    live = await gathered.get("live")
    assert [member["name"] for member in live["members"]] == ["web.shop", "web.shop#2", "basket.shop"]
    assert len(live["silent"]) == 1
    assert live["control"]
    routes = await gathered.get("routes?filter=VirtualService&limit=100")
    assert {row["member"] for row in routes["routes"]} == {"web.shop", "web.shop#2", "basket.shop"}
    one = await gathered.get("routes?member=web.shop%232")
    assert {row["member"] for row in one["routes"]} == {"web.shop#2"}


async def test_questions_go_to_the_process_they_are_about(gathered: Gathered) -> None:
    """The explainer and the fault switch of one member; the others are left alone."""
    await gathered.get("live")
    answer = await gathered.post("explain", member="web.shop#2", url="http://reviews:9080/gone")
    assert (answer["member"], answer["status"]) == ("web.shop#2", 410)
    row = (await gathered.get("routes?member=web.shop%232&filter=reviews"))["routes"][-1]
    answer = await gathered.post("faults", member="web.shop#2", route=row["id"], fault={"abort": {"status": 500}})
    assert answer["code"] == 200
    assert [mesh.snapshot.version.endswith("+faults") for mesh in gathered.meshes] == [False, True, False]
    assert (await gathered.post("explain", member="nobody", url="http://x/"))["code"] == 404


async def test_events_of_all_processes_arrive(gathered: Gathered) -> None:
    """Under the name that the member has here."""
    await gathered.get("live")
    async with gathered.session.get(f"{gathered.url}events") as response:
        for mesh in gathered.meshes[1:]:
            mesh.publish(rules(5, 6))
        seen: set[str] = set()
        async for line in response.content:
            if line.startswith(b"data:"):
                seen.add(line.decode().partition('"member":"')[2].partition('"')[0])
            if len(seen) == 2:
                break
    assert seen == {"web.shop#2", "basket.shop"}


async def test_the_page_and_findings_are_those_of_any_interface(gathered: Gathered) -> None:
    """One finding that all have is shown once; the lines are asked of whoever has the text."""
    async with gathered.session.get(gathered.url) as response:
        assert "<title>meshlib</title>" in await response.text()
    found = await gathered.get("findings")
    assert all(len(one["members"]) == 3 for one in found["findings"])
    assert (await gathered.get("source?file=%3Ctext%3E&line=3"))["lines"][2]["text"] == "kind: VirtualService"
    await gathered.get("source?file=nothing&line=3", 404)
    await gathered.get("nothing", 404)


async def test_something_else_at_the_url_is_left_out() -> None:
    """A server that is no admin interface does not break the others; alone, the answer names it."""
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(upstream(404, 404, 404))
        gathering = Gathering([f"http://127.0.0.1:{other.port}/mesh"])
        await stack.enter_async_context(gathering.running())
        url = await stack.enter_async_context(serve_admin(gathering))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        async with session.get(f"{url}live") as response:
            assert response.status == 502
            assert "no process answers" in (await response.json())["error"]
