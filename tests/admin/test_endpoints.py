"""Every path of the admin interface, over a real uvicorn on loopback."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from meshlib import Mesh
from meshlib.admin import AdminApp
from meshlib.security import DevelopmentCA
from tests.adapters.servers import upstream
from tests.admin.bookshop import WEB, load, rules, served

SECRET = "hunter2"


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as made:
        yield made


@pytest.fixture
def mesh() -> Mesh:
    return load()


@pytest.fixture
def url(mesh: Mesh) -> Iterator[str]:
    with served(mesh.admin_app()) as made:
        yield made


async def get(session: aiohttp.ClientSession, url: str, status: int = 200, **headers: str) -> Any:
    async with session.get(url, headers={name.replace("_", "-"): value for name, value in headers.items()}) as response:
        text = await response.text()
        assert response.status == status, text
        return json.loads(text) if response.content_type == "application/json" else text


PATHS = ("config_dump", "clusters", "routes", "stats", "certs", "ready", "live", "findings", "", "app.js", "style.css")


async def test_every_answer_has_the_headers_that_protect_the_page(session: aiohttp.ClientSession, url: str) -> None:
    """A strict content policy, no sniffing, no frames, no caching; no cookie and no opening to other origins."""
    for path in (*PATHS, "nothing/here"):
        async with session.get(f"{url}/{path}") as response:
            policy = response.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert response.headers["x-content-type-options"] == "nosniff"
            assert response.headers["x-frame-options"] == "DENY"
            assert response.headers["cache-control"] == "no-store"
            assert not {"set-cookie", "access-control-allow-origin"} & {name.lower() for name in response.headers}


async def test_a_foreign_name_gets_nothing(session: aiohttp.ClientSession, url: str) -> None:
    """DNS rebinding, on every path, the streams and the page among them."""
    for path in (*PATHS, "events", "explain"):
        answer = await get(session, f"{url}/{path}", 403, host="evil.example")
        assert "Host header" in answer["error"]


async def test_no_secret_is_ever_shown(session: aiohttp.ClientSession) -> None:
    """Not those of headers, matches and Secrets, in any answer; the form's own headers neither."""
    with served(load().admin_app(allow_control=True)) as url:
        found = [await get(session, f"{url}/{path}") for path in PATHS[:8]]
        for line in range(1, 60, 10):
            found.append(await get(session, f"{url}/source?file=%3Ctext%3E&line={line}"))  # noqa: PERF401 - awaits
        asked = {"method": "GET", "url": "http://reviews:9080/", "headers": {"authorization": f"Bearer {SECRET}-mine"}}
        async with session.post(f"{url}/explain", json=asked) as response:
            found.append(await response.json())
    text = json.dumps(found)
    assert "secret-header" in text  # the route itself is shown
    assert SECRET not in text


async def test_the_dump_has_envoys_shape(session: aiohttp.ClientSession, url: str) -> None:
    """Each part under Envoy's type, with clusters, endpoints, policies and routes in Envoy's fields."""
    configs = {one["@type"].rpartition(".")[2]: one for one in (await get(session, f"{url}/config_dump"))["configs"]}
    clusters = {
        one["cluster"]["name"]: one["cluster"] for one in configs["ClustersConfigDump"]["dynamic_active_clusters"]
    }
    cluster = clusters["outbound|9080|v1|reviews.shop.svc.cluster.local"]
    assert cluster["outlier_detection"]["consecutive_5xx"] == 2
    lb_endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]
    assert lb_endpoint["endpoint"]["address"] == {"socket_address": {"address": "127.0.0.1", "port_value": 1}}
    tables = {
        one["route_config"]["name"]: one["route_config"] for one in configs["RoutesConfigDump"]["dynamic_route_configs"]
    }
    hosts = {domain: host for host in tables["9080"]["virtual_hosts"] for domain in host["domains"]}
    routes = {route["name"]: route for route in hosts["reviews"]["routes"]}
    assert [one["weight"] for one in routes["all"]["route"]["weighted_clusters"]["clusters"]] == [75, 25]
    assert routes["all"]["route"]["retry_policy"]["num_retries"] == 2
    assert routes["gone"]["direct_response"]["status"] == 410
    istio = routes["all"]["metadata"]["filter_metadata"]["istio"]["config"]
    assert istio == "/apis/networking.istio.io/v1/namespaces/shop/virtual-service/reviews"


async def test_the_dump_can_be_narrowed(session: aiohttp.ClientSession, url: str) -> None:
    """One part, and what has a text in its name."""
    found = (await get(session, f"{url}/config_dump?resource=clusters&filter=%7Cv2%7C"))["configs"]
    assert [one["cluster"]["name"] for one in found[0]["dynamic_active_clusters"]] == [
        "outbound|9080|v2|reviews.shop.svc.cluster.local"
    ]
    assert "resource is one of" in (await get(session, f"{url}/config_dump?resource=bogus", 400))["error"]


async def test_calls_show_up_everywhere(session: aiohttp.ClientSession) -> None:
    """From the first look on: in the graph, the clusters, the statistics and the hits of the routes."""
    async with upstream(*[503] * 50, name="bad") as bad, upstream(name="good") as good:
        mesh = load(bad.port, good.port)
        with served(mesh.admin_app()) as url:
            assert (await get(session, f"{url}/live"))["members"][0]["since"] > 0
            async with mesh.aiohttp() as client:
                for _ in range(40):
                    async with client.get("http://reviews:9080/") as response:
                        await response.read()
                async with client.get("http://reviews:9080/gone") as response:
                    assert response.status == 410
            live = (await get(session, f"{url}/live"))["members"][0]
            clusters = await get(session, f"{url}/clusters?filter=%7Cv1%7C")
            stats = {one["name"]: one["value"] for one in (await get(session, f"{url}/stats"))["stats"]}
            text = await get(session, f"{url}/stats?format=text&filter=ejections_active")
            routes = {
                row["name"]: row
                for row in (await get(session, f"{url}/routes?filter=VirtualService"))["routes"]
                if row["port"] == 9080
            }
    assert live["name"] == "web.shop"
    shown = {cluster["subset"]: cluster for cluster in live["clusters"] if cluster["calls"]}
    assert {cluster["node"] for cluster in shown.values()} == {"reviews.shop"}
    assert sum(cluster["calls"]["requests"] for cluster in shown.values()) == 40
    assert shown["v1"]["endpoints"][0]["ejected"]
    assert shown["v1"]["calls"]["flags"]["UH"] > 0
    assert live["unrouted"][0] == {**live["unrouted"][0], "host": "reviews:9080", "route": "gone", "requests": 1}
    host = clusters["cluster_statuses"][0]["host_statuses"][0]
    assert host["health_status"] == {"eds_health_status": "HEALTHY", "failed_outlier_check": True}
    assert {one["name"]: one["value"] for one in host["stats"]}["rq_error"] == "2"
    name = "cluster.outbound|9080|v1|reviews.shop.svc.cluster.local"
    assert stats[f"{name}.outlier_detection.ejections_active"] == 1
    assert stats[f"{name}.membership_healthy"] == 0
    assert f"{name}.outlier_detection.ejections_active: 1\n" in text
    assert (routes["all"]["hits"], routes["gone"]["hits"], routes["secret-header"]["hits"]) == (40, 1, 0)
    assert not routes["all"]["hits_shared"]


async def test_prometheus_is_there_when_the_metrics_are_on(
    session: aiohttp.ClientSession, mesh: Mesh, url: str
) -> None:
    """Off: 404 that says how to turn them on. On: the text format, under both of Envoy's paths."""
    assert "mesh.metrics()" in (await get(session, f"{url}/stats/prometheus", 404))["error"]
    from prometheus_client import CollectorRegistry

    mesh.metrics(CollectorRegistry())
    for path in ("stats/prometheus", "stats?format=prometheus"):
        assert "# TYPE meshlib_config_info gauge" in await get(session, f"{url}/{path}")


async def test_certificates_are_shown_without_their_keys(session: aiohttp.ClientSession, tmp_path: Path) -> None:
    """As Envoy does: chain and root with names and validity."""
    DevelopmentCA.create(tmp_path / "ca").issue(tmp_path / "web", namespace="shop", service_account="web")
    mesh = Mesh.load(rules(), workload=WEB, certificates=tmp_path / "web")
    with served(mesh.admin_app()) as url:
        found = (await get(session, f"{url}/certs"))["certificates"]
    chain = found[0]["cert_chain"][0]
    assert chain["subject_alt_names"] == [{"uri": "spiffe://cluster.local/ns/shop/sa/web"}]
    assert int(chain["days_until_expiration"]) >= 0
    assert chain["valid_from"] < chain["expiration_time"]
    assert found[0]["ca_cert"][0]["path"].endswith("root-cert.pem")
    assert "key.pem" not in json.dumps(found)


async def test_the_explainer_answers(session: aiohttp.ClientSession, url: str) -> None:
    """By query and by a JSON body; the answer is that of ``meshlib explain`` and its text."""
    found = await get(session, f"{url}/explain?url=http://reviews:9080/a&headers=end-user:%20jason")
    assert found["outcome"] == "route"
    assert [one["weight"] for one in found["destinations"]] == [75, 25]
    assert found["trace"][-1]["matched"]
    async with session.post(f"{url}/explain", json={"url": "http://reviews:9080/gone"}) as response:
        posted = await response.json()
    assert (posted["outcome"], posted["status"]) == ("direct_response", 410)
    assert "VirtualService shop/reviews" in posted["text"]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{", 400, "not JSON"),
        (b"[]", 400, "JSON object"),
        (b"{}", 400, "explain takes"),
        (b'{"url": "reviews"}', 400, "absolute"),
        (b'{"url": "http://x/", "member": "nobody"}', 404, "no member 'nobody'; there are web.shop"),
        (b'{"url": 3}', 400, "explain takes"),
        (b"[" * 30_000, 400, "not JSON"),
        (b" " * 70_000, 413, "65536 bytes"),
        (json.dumps({"url": "http://x/" + "a" * 9000}).encode(), 400, "too long"),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_nonsense_is_answered_with_a_reason(
    session: aiohttp.ClientSession, url: str, body: bytes, status: int, message: str
) -> None:
    """Never a traceback, never a hang."""
    async with session.post(f"{url}/explain", data=body, headers={"content-type": "application/json"}) as response:
        assert response.status == status
        assert message in (await response.json())["error"]


async def test_a_form_of_another_page_is_no_json(session: aiohttp.ClientSession, url: str) -> None:
    """A browser sends JSON to another origin only after asking; a plain form it sends at once."""
    async with session.post(
        f"{url}/explain", data='{"url": "http://x/"}', headers={"content-type": "text/plain"}
    ) as response:
        assert response.status == 415


async def test_reading_is_all_there_is(session: aiohttp.ClientSession, url: str) -> None:
    """Without ``allow_control`` nothing can be changed, whatever the method."""
    async with session.post(f"{url}/faults", json={"reset": True}) as response:
        assert response.status == 403
        assert "allow_control" in (await response.json())["error"]
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        async with session.request(method, f"{url}/clusters") as response:
            assert response.status == 405
    async with session.request("HEAD", f"{url}/ready") as response:
        assert (response.status, await response.read()) == (200, b"")


async def test_lines_around_a_place_are_shown(session: aiohttp.ClientSession, url: str) -> None:
    """Of the text in force; a Secret in it is not."""
    found = await get(session, f"{url}/source?file=%3Ctext%3E&line=3")
    assert found["lines"][2] == {"number": 3, "text": "kind: VirtualService"}
    last = await get(session, f"{url}/source?file=%3Ctext%3E&line=60")
    assert "(a Secret is not shown)" in json.dumps(last)
    await get(session, f"{url}/source?file=/etc/passwd&line=1", 404)
    await get(session, f"{url}/source?file=%3Ctext%3E&line=x", 400)


async def test_findings_name_their_place(session: aiohttp.ClientSession) -> None:
    """In the shape of ``meshlib validate -o json``; skipped documents beside them."""
    text = rules() + "---\napiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: a}\n"
    text += "---\napiVersion: networking.istio.io/v1alpha3\nkind: EnvoyFilter\nmetadata: {name: f}\nspec: {}\n"
    with served(Mesh.load(text, workload=WEB).admin_app()) as url:
        found = await get(session, f"{url}/findings")
    assert "HorizontalPodAutoscaler" in found["skipped"][0]
    assert {"code", "level", "message", "resource", "file", "line", "field", "members"} <= found["findings"][0].keys()


async def test_events_stream_to_who_listens(session: aiohttp.ClientSession, mesh: Mesh, url: str) -> None:
    """A configuration that is published is told at once."""
    async with session.get(f"{url}/events") as response:
        assert response.content_type == "text/event-stream"
        assert await response.content.readline() == b"retry: 1000\n"
        mesh.publish(rules(3, 4))
        fields = {}
        async for line in response.content:
            name, _, value = line.decode().strip().partition(": ")
            fields[name] = value
            if name == "data":
                break
    assert fields["event"] == "ConfigPublished"
    assert json.loads(fields["data"])["version"] == mesh.snapshot.version


async def test_the_interface_can_be_mounted(session: aiohttp.ClientSession, mesh: Mesh) -> None:
    """Under a path of an application, with links that work there."""
    from starlette.applications import Starlette
    from starlette.routing import Mount

    with served(Starlette(routes=[Mount("/admin", mesh.admin_app())])) as url:
        assert "<title>meshlib</title>" in await get(session, f"{url}/admin/")
        assert "<title>meshlib</title>" in await get(session, f"{url}/admin")
        assert await get(session, f"{url}/admin/ready") == "LIVE\n"


async def test_several_meshes_are_members_of_one_interface(session: aiohttp.ClientSession, mesh: Mesh) -> None:
    """Each by its name; the second of one name gets a number."""
    with served(AdminApp([mesh, load()])) as url:
        members = (await get(session, f"{url}/live"))["members"]
        assert [member["name"] for member in members] == ["web.shop", "web.shop#2"]
        found = await get(session, f"{url}/routes?member=web.shop%232&limit=1")
        assert (len(found["routes"]), found["routes"][0]["member"]) == (1, "web.shop#2")
        assert found["total"] > 1


async def test_nobody_looks_and_the_mesh_is_left_alone(mesh: Mesh) -> None:
    """An interface that is made and not asked listens to rare events only; closed, to none."""
    from meshlib.events import ExchangeFinished

    before = set(mesh.runtime.published.observers)
    app = mesh.admin_app()
    assert ExchangeFinished not in mesh.runtime.published.observers
    app.close()
    assert set(mesh.runtime.published.observers) == before
