"""What only requests and urllib3 have: sessions of one's own, retries of theirs, proxies, files, consumed bodies."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import urllib3
from requests.adapters import HTTPAdapter

from meshlib import Mesh, MeshError
from meshlib.adapters.requests import MeshAdapter
from meshlib.adapters.urllib3 import ConsumedBodyError, MeshPoolManager
from tests.adapters.contract.servers import Loop, Upstream

URL = "http://reviews.example.com/"

YAML = """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews.example.com]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 127.0.0.1, ports: {http: PORT}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: default}
spec:
  hosts: [reviews.example.com]
  http:
    - route: [{destination: {host: reviews.example.com}}]
      retries: {attempts: 2, retryOn: 5xx, backoff: 1ms}
"""


@pytest.fixture
def server() -> Iterator[Upstream]:
    loop = Loop()
    made = Upstream(loop, None)
    yield made
    made.close()
    loop.close()


@pytest.fixture
def mesh(server: Upstream) -> Mesh:
    return Mesh.load(YAML.replace("PORT", str(server.port)))


COOKIES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cookies, namespace: default}
spec:
  hosts: [cookies.example.com]
  http:
    - headers: {response: {add: {set-cookie: own=1}}}
      directResponse: {status: 200, body: {string: hello}}
"""


def test_cookies_of_direct_responses_are_kept() -> None:
    """As a client behind a sidecar keeps them."""
    with Mesh.load(COOKIES).requests() as session:
        for _ in range(2):
            response = session.get("http://cookies.example.com/")
            assert (response.text, response.cookies.get_dict()) == ("hello", {"own": "1"})
        assert session.cookies.get_dict() == {"own": "1"}


def test_only_schemes_of_http_are_governed(mesh: Mesh, server: Upstream) -> None:
    """Another one was once sent as HTTP."""
    with mesh.urllib3() as manager, pytest.raises(urllib3.exceptions.URLSchemeUnknown):
        manager.request("GET", "ftp://reviews.example.com/")
    assert not server.seen


def test_an_adapter_can_be_mounted_in_a_session_of_ones_own(mesh: Mesh, server: Upstream) -> None:
    """For one host only, if wanted."""
    with requests.Session() as session:
        session.mount(URL, MeshAdapter(mesh))
        reply = session.get(URL + "x", params={"a": "1"}, auth=("user", "secret"))
    assert (reply.status_code, reply.url) == (200, URL + "x?a=1")
    assert server.seen[0].headers["authorization"].startswith("Basic ")


def test_retries_of_the_adapter_are_refused(mesh: Mesh) -> None:
    """They would multiply."""
    with pytest.raises(MeshError, match=r"write spec.http\[\].retries"):
        mesh.requests(max_retries=3)


def test_an_adapter_cannot_be_pickled(mesh: Mesh) -> None:
    """Its mesh belongs to the process."""
    with pytest.raises(MeshError, match="belongs to this process"):
        pickle.dumps(MeshAdapter(mesh))


@pytest.mark.parametrize("trust_env", [True, False])
def test_other_settings_of_the_environment_hold(mesh: Mesh, monkeypatch: pytest.MonkeyPatch, trust_env: bool) -> None:
    """Those of a call, of the session and of the environment come together as in a bare session."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/bundle.pem")
    with mesh.requests() as session, requests.Session() as bare:
        for one in (session, bare):
            one.trust_env, one.stream, one.cert = trust_env, True, "/cert.pem"
        for verify in (None, True, False, "/own.pem"):
            found = session.merge_environment_settings(URL, {}, None, verify, None)
            assert found == bare.merge_environment_settings(URL, {}, None, verify, None)


def test_an_adapter_of_another_kind_keeps_its_proxies(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mounted in a governed session, for what the mesh has no part in."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with mesh.requests() as session:
        session.mount("http://elsewhere.example.com/", HTTPAdapter())
        found = session.merge_environment_settings("http://elsewhere.example.com/", {}, None, None, None)
        assert found["proxies"]["http"] == "http://127.0.0.1:1"
        assert not session.merge_environment_settings(URL, {}, None, None, None)["proxies"]


def test_proxies_are_not_used(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither those of the environment nor those of a call: the mesh connects to the endpoints."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with mesh.requests() as session:
        assert session.get(URL).status_code == 200
        assert session.get(URL, proxies={"http": "http://127.0.0.1:1"}).status_code == 200


def test_files_are_rewound_for_a_retry(mesh: Mesh, server: Upstream, tmp_path: Path) -> None:
    """From where they stood."""
    (tmp_path / "body").write_text("skip:hello")
    server.script[:] = [503, 503]
    with (tmp_path / "body").open("rb") as file, mesh.requests() as session:
        file.seek(5)
        assert session.post(URL, data=file).status_code == 200
    assert [seen.body for seen in server.seen] == [b"hello"] * 3


def test_forms_and_uploads_are_replayed(mesh: Mesh, server: Upstream) -> None:
    """requests makes bytes of them."""
    server.script[:] = [503]
    with mesh.requests() as session:
        assert session.post(URL, files={"f": ("name.txt", io.BytesIO(b"hello"))}, data={"a": "1"}).status_code == 200
    assert server.seen[0].body == server.seen[1].body
    assert b"hello" in server.seen[0].body


class Pipe:
    """Can be read, not rewound."""

    def __init__(self, content: bytes) -> None:
        self._left = content

    def read(self, size: int = -1) -> bytes:
        size = len(self._left) if size < 0 else size
        part, self._left = self._left[:size], self._left[size:]
        return part


def test_a_pipe_is_sent_once(mesh: Mesh, server: Upstream) -> None:
    """The 503 is returned."""
    server.script[:] = [503]
    assert mesh.urllib3().request("POST", URL, body=Pipe(b"hello")).status == 503  # type: ignore[arg-type]
    assert [seen.body for seen in server.seen] == [b"hello"]


def test_a_consumed_generator_is_an_error(mesh: Mesh, server: Upstream) -> None:
    """Sent again it would be an empty body: one clear error of both families."""
    body = (part for part in [b"abc"])
    with mesh.requests() as session:
        request = session.prepare_request(requests.Request("POST", URL, data=body))
        assert session.send(request).status_code == 200
        with pytest.raises(requests.RequestException, match="generator that was consumed") as raised:
            session.send(request)
        assert isinstance(raised.value, MeshError)
    with pytest.raises(ConsumedBodyError):
        mesh.urllib3().request("POST", URL, body=body)
    assert len(server.seen) == 1


def test_retries_of_urllib3_bound_redirects_only(mesh: Mesh, server: Upstream) -> None:
    """A 503 is the mesh's business."""
    manager = mesh.urllib3(retries=urllib3.Retry(5, status_forcelist=[503]))
    server.script[:] = [503] * 9
    assert manager.request("GET", URL).status == 503
    assert len(server.seen) == 3
    server.script[:] = [{"status": 302, "headers": [("location", "/again")]}] * 9
    with pytest.raises(urllib3.exceptions.MaxRetryError):
        manager.request("GET", URL, retries=2)
    assert len(server.seen) == 6


def test_retries_of_the_manager_bound_redirects_of_all_requests(mesh: Mesh, server: Upstream) -> None:
    """They were not looked at; who raises the error says what was called, not where it lies in memory."""
    moved = {"status": 302, "headers": [("location", "/again")]}
    server.script[:] = [moved] * 9
    assert mesh.urllib3(retries=False).request("GET", URL).status == 302
    assert len(server.seen) == 1
    with pytest.raises(urllib3.exceptions.MaxRetryError, match=r"MeshHost\(host='reviews.example.com', port=80\): Max"):
        mesh.urllib3(retries=urllib3.Retry(9, redirect=1)).request("GET", URL)
    assert len(server.seen) == 3


def test_the_pool_of_a_host_has_the_verbs_of_urllib3(mesh: Mesh, server: Upstream) -> None:
    """Libraries ask for it, and call it as they would call urllib3's own; the manager's headers are not its."""
    manager = mesh.urllib3(headers={"x-team": "shop"})
    with manager.connection_from_url(URL) as host:
        assert host.request("POST", "/items", fields={"a": "b"}, headers={"x-own": "1"}).status == 200
        assert host.urlopen("GET", "/items").status == 200
        host.close()
    assert manager.request("GET", URL).status == 200
    assert b'name="a"' in server.seen[0].body
    assert server.seen[0].headers["x-own"] == "1"
    assert ["x-team" in seen.headers for seen in server.seen] == [False, False, True]


def test_an_argument_of_the_pool_manager_is_kept(mesh: Mesh, server: Upstream) -> None:
    """Headers of all requests."""
    manager = mesh.urllib3(headers={"x-team": "shop"}, maxsize=4)
    manager.request("GET", URL)
    assert server.seen[0].headers["x-team"] == "shop"


def test_a_pool_around_the_mesh_is_refused(mesh: Mesh, server: Upstream) -> None:
    """No request leaves without passing it."""
    manager = MeshPoolManager(mesh)
    pool = manager.connection_from_context({"scheme": "http", "host": "127.0.0.1", "port": server.port})
    with pytest.raises(MeshError, match="without passing the mesh"):
        pool.urlopen("GET", "/")
    assert server.seen == []


def test_a_response_is_streamed_by_urllib3(mesh: Mesh, server: Upstream) -> None:
    """preload_content=False, as always."""
    server.script[:] = [{"parts": [b"ab", b"cd"]}]
    reply = mesh.urllib3().request("GET", URL, preload_content=False)
    assert list(reply.stream(2)) == [b"ab", b"cd"]
    reply.release_conn()


def test_json_of_the_mesh_s_own_reply(mesh: Mesh) -> None:
    """It reads like any other."""
    manager = mesh.urllib3()
    reply = manager.request("GET", "http://nowhere.example.com/")
    assert reply.status == 503
    assert reply.headers["content-type"] == "text/plain"
    assert reply.reason == "Service Unavailable"
