"""Header values with operators at a gateway, each as Envoy 1.39 fills them in."""

from __future__ import annotations

import pytest

from tests.adapters.gateway_servers import GATEWAY, gateway, service
from tests.adapters.servers import upstream

pytestmark = pytest.mark.anyio

ROUTE = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: front, namespace: shop}
spec:
  hosts: ["*"]
  gateways: [front]
  http:
  - route: [{destination: {host: a.test}}]
    rewrite: {uri: /q}
    headers:
      request: {set: {x-client: "%DOWNSTREAM_REMOTE_ADDRESS%", x-real-ip: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}}
      response: {set: {x-you: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}}
---
"""
ONE_PROXY = """
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: "defaultConfig: {gatewayTopology: {numTrustedProxies: 1}}"
---
"""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_the_address_of_the_client_is_told() -> None:
    """To the service and back, with the port of its connection."""
    async with upstream() as a, gateway(GATEWAY + service("a", a.port) + ROUTE) as (client, url):
        async with client.get(url, headers={"x-real-ip": "9.9.9.9"}) as response:
            seen = (await response.json())["headers"]
    host, _, port = seen["x-client"].rpartition(":")
    assert (seen["x-real-ip"], host, response.headers["x-you"]) == ("127.0.0.1",) * 3
    assert 0 < int(port) < 65536


@pytest.mark.parametrize(
    ("forwarded", "client", "address"),
    [("1.2.3.4", "1.2.3.4:0", "1.2.3.4"), ("6.6.6.6, 2001:db8::1", "[2001:db8::1]:0", "2001:db8::1")],
)
async def test_behind_a_trusted_proxy_it_is_that_of_its_header(forwarded: str, client: str, address: str) -> None:
    """Which has no port."""
    yaml = GATEWAY + ONE_PROXY + ROUTE
    async with upstream() as a, gateway(yaml + service("a", a.port)) as (caller, url):
        async with caller.get(url, headers={"x-forwarded-for": forwarded}) as response:
            seen = (await response.json())["headers"]
    assert (seen["x-client"], seen["x-real-ip"], response.headers["x-you"]) == (client, address, address)


async def test_an_answer_without_content_has_no_length() -> None:
    """RFC 9110, 8.6."""
    nothing = ROUTE.partition("  - route")[0] + "  - directResponse: {status: 204}\n---\n"
    async with gateway(GATEWAY + nothing) as (client, url):
        async with client.get(url) as response:
            assert response.status == 204
    assert "content-length" not in response.headers
