"""What a client makes of a URL: the form in which explain and authorize ask about it."""

from __future__ import annotations

import httpx
import pytest
from yarl import URL

from meshlib import Mesh
from meshlib._http import Target, target_of

RULES = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a, namespace: default}
spec:
  hosts: [xn--9ca.test]
  http:
  - match: [{uri: {exact: "/%C3%A9"}}]
    directResponse: {status: 201}
  - directResponse: {status: 200}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: a, namespace: default}
spec: {action: DENY, rules: [{to: [{operation: {hosts: [xn--9ca.test], paths: [/a%20b]}}]}]}
"""


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://a.test", Target("http", "a.test", "a.test", 80, "/")),
        ("https://a.test:8443/b?c=d#e", Target("https", "a.test:8443", "a.test", 8443, "/b?c=d")),
        ("http://user:secret@a.test/", Target("http", "a.test", "a.test", 80, "/")),
        (
            "http://é.test:8080/é?q=é b",
            Target("http", "xn--9ca.test:8080", "xn--9ca.test", 8080, "/%C3%A9?q=%C3%A9%20b"),
        ),
        ("http://a.test/%c3%A9/a b", Target("http", "a.test", "a.test", 80, "/%c3%A9/a%20b")),
        ("http://[::1]:8080/", Target("http", "[::1]:8080", "::1", 8080, "/")),
    ],
)
def test_a_url_is_read_as_a_client_sends_it(url: str, target: Target) -> None:
    """ASCII, with the escapes that are there as they are."""
    assert target_of(url) == target


@pytest.mark.parametrize("url", ["http://é.test/é/ü?a=ß", "http://É.test/a b?c=d e", "http://a.test/"])
def test_the_clients_agree(url: str) -> None:
    """Two of them, asked."""
    found = target_of(url)
    assert (found.host, found.path.replace("%20", "+")) == (URL(url).raw_host, URL(url).raw_path_qs.replace("%20", "+"))
    theirs = httpx.URL(url)
    assert (found.host.encode(), found.path) == (theirs.raw_host, theirs.raw_path.decode())


@pytest.mark.parametrize(
    "url", ["", "/a", "a.test", "http://", "ftp://a.test/", "http://a.test:99999/", "http://[::1/", "http://é..test/"]
)
def test_what_is_no_url_is_refused_with_it(url: str) -> None:
    """One kind of error, which names it."""
    with pytest.raises(ValueError, match="is no") as caught:
        target_of(url)
    assert repr(url) in str(caught.value)


def test_explain_and_authorize_ask_about_what_would_be_sent() -> None:
    """The policies have the form that goes over the wire."""
    mesh = Mesh.load(RULES)
    assert mesh.explain("GET", "http://é.test/é").to_json()["status"] == 201
    assert not mesh.authorize("GET", "http://é.test/a b").allowed
    assert mesh.authorize("GET", "http://é.test/a").allowed
