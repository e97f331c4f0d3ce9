"""What credentialName of a DestinationRule stands for."""

from __future__ import annotations

import base64
import json
import logging
from typing import Any
from urllib.request import urlopen

import pytest

from meshlib import Mesh, Workload
from meshlib._snapshot.clusters import Credential
from tests.admin.bookshop import served

HOST = "pay.example.com"
PAGES = ("config_dump", "clusters", "findings", "certs", "stats")


def secret(name: str, namespace: str = "shop", *, plain: bool = False, **values: str) -> dict[str, Any]:
    named = {key.replace("_", "."): value for key, value in values.items()}
    coded = {key: base64.b64encode(value.encode()).decode() for key, value in named.items()}
    data = {"stringData": named} if plain else {"data": coded}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, **data}


def config_map(name: str, namespace: str, **values: str) -> dict[str, Any]:
    named = {key.replace("_", "."): value for key, value in values.items()}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": named}


def load(*more: dict[str, Any], credential: str = "pay", mode: str = "MUTUAL", **tls: Any) -> Mesh:
    entry = {
        "hosts": [HOST],
        "resolution": "STATIC",
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        "endpoints": [{"address": "127.0.0.1"}],
    }
    policy = {"tls": {"mode": mode, "credentialName": credential, **tls}}
    rule = {"host": HOST, "workloadSelector": {"matchLabels": {"app": "web"}}, "trafficPolicy": policy}
    kinds = {"ServiceEntry": entry, "DestinationRule": rule}
    resources = [
        {
            "apiVersion": "networking.istio.io/v1",
            "kind": kind,
            "metadata": {"name": "x", "namespace": "shop"},
            "spec": s,
        }
        for kind, s in kinds.items()
    ]
    return Mesh.load([*resources, *more], workload=Workload(namespace="shop", labels={"app": "web"}))


def found(mesh: Mesh) -> Credential | None:
    cluster = next(one for one in mesh.snapshot.clusters.values() if one.name.endswith(HOST))
    return cluster.policy.tls.credential


FULL = Credential(roots=b"R", chain=b"C", key=b"K")


@pytest.mark.parametrize(
    ("resources", "options", "expected"),
    [
        ([secret("pay", tls_crt="C", tls_key="K", ca_crt="R")], {}, FULL),
        ([secret("pay", tls_crt="C", tls_key="K", ca_crt="R", plain=True)], {}, FULL),
        ([secret("pay", cert="C", key="K", cacert="R")], {}, FULL),
        ([secret("pay", tls_crt="C", tls_key="K"), secret("pay-cacert", ca_crt="R")], {}, FULL),
        ([secret("pay", tls_crt="C", tls_key="K"), secret("pay-cacert", cacert="R")], {}, FULL),
        ([secret("pay", tls_crt="C", tls_key="K", ca_crt="own"), secret("pay-cacert", ca_crt="R")], {}, FULL),
        ([secret("pay", tls_crt="c", tls_key="k", cert="C", key="K", cacert="R", ca_crt="r")], {}, FULL),
        ([secret("pay", tls_crt="C", tls_key="K", ca_crt="R")], {"credential": "kubernetes://pay"}, FULL),
        ([secret("pay", ca_crt="R")], {"mode": "SIMPLE"}, Credential(roots=b"R")),
        ([secret("pay-cacert", ca_crt="R")], {"mode": "SIMPLE"}, Credential(roots=b"R")),
        ([secret("pay", tls_crt="C", tls_key="K", ca_crt="R")], {"mode": "SIMPLE"}, Credential(roots=b"R")),
        ([secret("pay", tls_crt="C", tls_key="K")], {"insecureSkipVerify": True}, Credential(chain=b"C", key=b"K")),
        (
            [config_map("roots", "other", ca_crt="R")],
            {"mode": "SIMPLE", "credential": "configmap://other/roots"},
            Credential(roots=b"R"),
        ),
    ],
)
def test_what_it_stands_for(resources: list[Any], options: dict[str, Any], expected: Credential) -> None:
    """The forms that Istio reads, and no finding."""
    mesh = load(*resources, **options)
    assert found(mesh) == expected
    assert [finding for finding in mesh.findings if finding.code == "MESH120"] == []


@pytest.mark.parametrize(
    ("resources", "options", "message"),
    [
        ([], {}, "Secret shop/pay is not in the configuration with ca.crt and tls.crt with tls.key"),
        ([], {"mode": "SIMPLE"}, "Secret shop/pay is not in the configuration with ca.crt"),
        ([secret("pay", tls_crt="C", ca_crt="R")], {}, "Secret shop/pay is not in the configuration with tls.crt with"),
        ([secret("pay", tls_crt="C", tls_key="K")], {}, "Secret shop/pay is not in the configuration with ca.crt"),
        ([secret("pay", "other", tls_crt="C", tls_key="K", ca_crt="R")], {}, "Secret shop/pay is not in the"),
        ([secret("pay", ca_crt="R"), secret("pay-cacert", x="y")], {"mode": "SIMPLE"}, "Secret shop/pay is not in the"),
        (
            [secret("pay", "other", tls_crt="C", tls_key="K", ca_crt="R")],
            {"credential": "kubernetes://other/pay"},
            "Secret other/pay is not of this workload's namespace shop",
        ),
        ([], {"mode": "SIMPLE", "credential": "configmap://other/roots"}, "ConfigMap other/roots is not in the"),
    ],
)
def test_what_is_not_there(resources: list[Any], options: dict[str, Any], message: str) -> None:
    """A finding with the rule and the field; nothing to call with."""
    mesh = load(*resources, **options)
    assert found(mesh) is None
    [finding] = [finding for finding in mesh.findings if finding.code == "MESH120"]
    assert (finding.resource, finding.field) == ("DestinationRule shop/x", "spec.trafficPolicy.tls.credentialName")
    assert finding.message.startswith(message)


def test_nobody_is_told_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    """Not in a repr, the report, an explanation, the findings, the admin pages or the log; the Secret may be broken."""
    caplog.set_level(logging.DEBUG)
    hidden = {"tls_crt": "the-chain", "tls_key": "the-key", "ca_crt": "the-roots"}
    mesh = load(secret("pay", **hidden))
    with mesh.httpx() as client:
        reply = client.get(f"http://{HOST}/")
    assert reply.status_code == 503
    with served(mesh.admin_app()) as url:
        pages = [urlopen(f"{url}/{page}").read().decode() for page in PAGES]  # noqa: S310 - loopback
    assert "pay" in "".join(pages)
    shown = [
        *(repr(one) for one in mesh.snapshot.clusters.values()),
        repr(found(mesh)),
        repr(mesh.snapshot),
        str(mesh.report()),
        str(mesh.explain("GET", f"http://{HOST}/")),
        json.dumps([str(finding) for finding in mesh.findings]),
        reply.text,
        caplog.text,
        *pages,
    ]
    for text in shown:
        assert not any(value in text for value in hidden.values()), text
        assert base64.b64encode(b"the-key").decode() not in text
