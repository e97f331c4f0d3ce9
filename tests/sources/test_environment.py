"""Who the process is, from variables and mounted files."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from meshlib.errors import SourceError
from meshlib.sources.environment import workload_from_environment
from meshlib.workload import Workload

ACCOUNT = "var/run/secrets/kubernetes.io/serviceaccount"


def write(root: Path, name: str, text: str | bytes) -> None:
    """A file below ``root``."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())


def token(subject: object) -> str:
    """A service-account token for ``subject``."""
    parts = ({"alg": "RS256"}, {"sub": subject})
    return ".".join(
        [*(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts), "x"]
    )


def test_nothing_known_is_the_default(tmp_path: Path) -> None:
    """A laptop is namespace ``default``."""
    assert workload_from_environment({}, root=tmp_path) == Workload()
    assert workload_from_environment({"POD_NAMESPACE": " ", "POD_NAME": ""}, root=tmp_path) == Workload()


def test_variables_say_it_all(tmp_path: Path) -> None:
    """As the sidecar injector and common Deployments set them."""
    workload = workload_from_environment(
        {
            "POD_NAMESPACE": "shop",
            "POD_NAME": "web-1",
            "SERVICE_ACCOUNT": "web",
            "ISTIO_META_CLUSTER_ID": "east",
            "ISTIO_META_NETWORK": "net1",
            "ISTIO_METAJSON_LABELS": json.dumps(
                {"app": "web", "topology.kubernetes.io/region": "eu", "topology.kubernetes.io/zone": "a"}
            ),
            "TRUST_DOMAIN": "corp",
            "POD_IP": "10.1.1.1",
        },
        root=tmp_path,
    )
    assert workload.spiffe_id == "spiffe://corp/ns/shop/sa/web"
    assert (workload.name, workload.cluster, workload.network, workload.locality) == ("web-1", "east", "net1", "eu/a")
    assert workload.labels["app"] == "web"
    assert workload.address == "10.1.1.1"


def test_the_other_names_of_istio_are_read(tmp_path: Path) -> None:
    """Where the plain ones are not set."""
    environ = {
        "ISTIO_META_NAMESPACE": "shop",
        "ISTIO_META_WORKLOAD_NAME": "web",
        "ISTIO_META_SERVICE_ACCOUNT": "web-sa",
    }
    workload = workload_from_environment(environ, root=tmp_path)
    assert (workload.namespace, workload.name, workload.service_account) == ("shop", "web", "web-sa")


def test_the_service_account_mount_says_who_we_are(tmp_path: Path) -> None:
    """Every pod has it, also without any variable."""
    write(tmp_path, f"{ACCOUNT}/namespace", "shop\n")
    write(tmp_path, f"{ACCOUNT}/token", token("system:serviceaccount:shop:web"))
    workload = workload_from_environment({}, root=tmp_path)
    assert (workload.namespace, workload.service_account) == ("shop", "web")
    named = workload_from_environment({"POD_NAMESPACE": "a", "SERVICE_ACCOUNT": "b"}, root=tmp_path)
    assert (named.namespace, named.service_account) == ("a", "b")


@pytest.mark.parametrize(
    "text", [b"", b"x", b"a.b.c", b"\xff.\xff.\xff", b"a.e30.c", b"a.WzFd.c", b"a." + b"W" * 8 + b".c"]
)
def test_a_token_that_is_none_is_ignored(tmp_path: Path, text: bytes) -> None:
    """It is somebody else's, or no JWT at all."""
    write(tmp_path, f"{ACCOUNT}/token", text)
    assert workload_from_environment({}, root=tmp_path).service_account == "default"


@pytest.mark.parametrize("subject", [5, None, "web", "system:serviceaccount:shop", "system:serviceaccount:a:b:c"])
def test_a_token_of_another_subject_is_ignored(tmp_path: Path, subject: object) -> None:
    """Only a service account has that name."""
    write(tmp_path, f"{ACCOUNT}/token", token(subject))
    assert workload_from_environment({}, root=tmp_path).service_account == "default"


@pytest.mark.parametrize("name", ["etc/podinfo/labels", "etc/istio/pod/labels"])
def test_labels_come_from_the_downward_api(tmp_path: Path, name: str) -> None:
    """A line each, over those of the variable."""
    write(tmp_path, name, 'app="web"\napp.kubernetes.io/name="a\\"b"\n\nversion="v1"\nempty=""')
    workload = workload_from_environment({"ISTIO_METAJSON_LABELS": '{"version": "v0", "x": "y"}'}, root=tmp_path)
    assert workload.labels == {"app": "web", "app.kubernetes.io/name": 'a"b', "version": "v1", "empty": "", "x": "y"}


@pytest.mark.parametrize(
    ("labels", "locality"),
    [
        ({"istio-locality": "eu.a.1"}, "eu/a/1"),
        ({"istio-locality": "eu/a", "topology.kubernetes.io/region": "us"}, "eu/a"),
        ({"topology.kubernetes.io/region": "eu"}, "eu"),
        ({"topology.kubernetes.io/region": "eu", "topology.istio.io/subzone": "r1"}, "eu//r1"),
        ({"topology.kubernetes.io/zone": "a"}, "/a"),
        ({}, ""),
    ],
)
def test_the_locality_comes_from_labels(tmp_path: Path, labels: dict[str, str], locality: str) -> None:
    """Istio's own label first."""
    environ = {"ISTIO_METAJSON_LABELS": json.dumps(labels)}
    assert workload_from_environment(environ, root=tmp_path).locality == locality


def test_the_network_label_is_read(tmp_path: Path) -> None:
    """As Istio does for pods."""
    environ = {"ISTIO_METAJSON_LABELS": '{"topology.istio.io/network": "n2"}'}
    assert workload_from_environment(environ, root=tmp_path).network == "n2"


@pytest.mark.parametrize("text", ["x", "[]", '{"a": 1}', "[" * 100_000])
def test_broken_labels_of_the_variable_are_an_error(tmp_path: Path, text: str) -> None:
    """With wrong labels, policies would silently not apply."""
    with pytest.raises(SourceError, match="ISTIO_METAJSON_LABELS"):
        workload_from_environment({"ISTIO_METAJSON_LABELS": text}, root=tmp_path)


@pytest.mark.parametrize("text", ["app=web", "app", 'a b="c"', 'app="web', 'app="\\q"', b"\xff", 'app="a"b"'])
def test_broken_labels_of_the_file_are_an_error(tmp_path: Path, text: str | bytes) -> None:
    """The message names the file."""
    write(tmp_path, "etc/podinfo/labels", text)
    with pytest.raises(SourceError, match="etc/podinfo/labels"):
        workload_from_environment({}, root=tmp_path)
