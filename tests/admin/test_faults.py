"""The fault switch: only where it was asked for, and only until the next configuration."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from meshlib import Mesh
from meshlib.admin.faults import RouteId, fault_of_json
from meshlib.admin.messages import BadAskError
from meshlib.admin.server import serve_admin
from tests.adapters.servers import upstream
from tests.admin.bookshop import load, rules

ROUTE = "9080/2/reviews.shop.svc.cluster.local:9080"


class Page:
    """Talks to the admin interface as the page does."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def set(self, **asked: Any) -> dict[str, Any]:
        async with self._session.post(f"{self._url}faults", json=asked) as response:
            return {"status": response.status, **await response.json()}

    async def route(self, name: str) -> dict[str, Any]:
        async with self._session.get(f"{self._url}routes?filter=reviews") as response:
            rows = (await response.json())["routes"]
        return next(row for row in rows if row["name"] == name and row["port"] == 9080)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as made:
        yield made


async def statuses(mesh: Mesh, times: int = 10) -> set[int]:
    found = set()
    async with mesh.aiohttp() as client:
        for _ in range(times):
            async with client.get("http://reviews:9080/") as response:
                found.add(response.status)
    return found


async def test_a_fault_is_in_force_until_it_is_taken_back(session: aiohttp.ClientSession) -> None:
    """Set, seen by calls and by the route table, and taken back; the other routes stay as they are."""
    async with upstream() as first, upstream() as second:
        mesh = load(first.port, second.port)
        before = mesh.snapshot
        async with serve_admin(mesh.admin_app(allow_control=True)) as url:
            page = Page(session, url)
            row = await page.route("all")
            assert (await page.set(route=row["id"], fault={"abort": {"status": 418, "percent": 100}}))["status"] == 200
            assert await statuses(mesh) == {418}
            shown = await page.route("all")
            assert (shown["fault"], shown["fault_by_hand"]) == ({"abort": {"status": 418, "percent": 100.0}}, True)
            assert (await page.route("secret-header"))["fault"] is None
            assert mesh.snapshot.version.endswith("+faults")
            assert (await page.set(reset=True))["by_hand"] == []
            assert await statuses(mesh) == {200}
            assert mesh.snapshot is before


async def test_the_next_configuration_is_as_it_is_written(session: aiohttp.ClientSession) -> None:
    """What was set by hand goes with the configuration it was set on; resetting then changes nothing."""
    mesh = load()
    async with serve_admin(mesh.admin_app(allow_control=True)) as url:
        page = Page(session, url)
        row = await page.route("all")
        await page.set(route=row["id"], fault={"delay": {"seconds": 1.5, "percent": 50}})
        assert (await page.route("all"))["fault"] == {"delay": {"seconds": 1.5, "percent": 50.0}}
        mesh.publish(rules(5, 6))
        published = mesh.snapshot
        assert (await page.route("all"))["fault"] is None
        await page.set(reset=True)
        assert mesh.snapshot is published


async def test_a_fault_of_the_configuration_can_be_switched_off(session: aiohttp.ClientSession) -> None:
    """null is no fault, and the route says that it differs from what is written."""
    text = rules().replace(
        "  - name: all\n", "  - name: all\n    fault: {abort: {httpStatus: 500, percentage: {value: 100}}}\n"
    )
    mesh = Mesh.load(text, workload=load().workload)
    async with serve_admin(mesh.admin_app(allow_control=True)) as url:
        page = Page(session, url)
        row = await page.route("all")
        assert row["fault"] == {"abort": {"status": 500, "percent": 100.0}}
        await page.set(route=row["id"], fault=None)
        row = await page.route("all")
        assert (row["fault"], row["fault_by_hand"]) == (None, True)


async def test_a_route_that_is_not_there_is_refused(session: aiohttp.ClientSession) -> None:
    """Nothing changes for an id that means nothing, or for a route that sends nothing on."""
    mesh = load()
    before = mesh.snapshot
    async with serve_admin(mesh.admin_app(allow_control=True)) as url:
        page = Page(session, url)
        gone = (await page.route("gone"))["id"]
        fault = {"abort": {"status": 500}}
        for route, status in (("9080/99/x", 404), ("7/0/x", 404), ("nonsense", 400), (gone, 409), (3, 400)):
            assert (await page.set(route=route, fault=fault))["status"] == status
    assert mesh.snapshot is before


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        "off",
        {"typo": {}},
        {"abort": {}},
        {"abort": {"status": 99}},
        {"abort": {"status": 500, "grpc_status": 3}},
        {"abort": {"status": 500, "percent": 101}},
        {"delay": {"secs": 1}},
        {"delay": {"seconds": -1}},
        {"delay": {"seconds": 1e9}},
        {"delay": {"seconds": True}},
        {"delay": {"seconds": float("nan")}},
    ],
    ids=str,
)
def test_a_fault_that_means_nothing_is_refused(value: Any) -> None:
    """Every part has its bounds."""
    with pytest.raises(BadAskError):
        fault_of_json(value)


@pytest.mark.parametrize("text", [ROUTE, "0/0/allow_any", "443/12/a/b"])
def test_an_id_names_its_route(text: str) -> None:
    """What ``str`` writes is read back."""
    assert str(RouteId.parse(text)) == text
