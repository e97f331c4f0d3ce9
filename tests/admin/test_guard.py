"""Who is answered by the admin interface."""

from __future__ import annotations

import pytest

from meshlib.admin.guard import Guard
from meshlib.admin.messages import Ask


def make_ask(method: str = "GET", *, client: str = "127.0.0.1", **headers: str) -> Ask:
    fields = {"host": "127.0.0.1:9901", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return Ask(method=method, path="/live", headers=fields, client=client)


@pytest.mark.parametrize("client", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1", ""])
def test_this_machine_is_answered(client: str) -> None:
    """Whatever loopback looks like; a socket of the file system has no address."""
    assert Guard().refusal(make_ask(client=client)) == ""


@pytest.mark.parametrize(
    "client", ["10.0.0.1", "192.168.1.7", "2001:db8::1", "::ffff:10.0.0.1", "testclient", "0.0.0.0"]
)
def test_other_machines_are_not(client: str) -> None:
    """What is no loopback address is elsewhere."""
    assert "this machine only" in Guard().refusal(make_ask(client=client))


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:9901", "127.0.0.1.evil.example", "localhost.evil.example", "", "[::2]", "10.0.0.1"],
)
def test_a_foreign_host_header_is_refused(host: str) -> None:
    """DNS rebinding: a page's own name leads here, and its Host header gives it away."""
    assert "Host header" in Guard().refusal(make_ask(host=host))


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1", "[::1]:9901", "localhost."])
def test_names_of_loopback_are_known(host: str) -> None:
    """With and without a port, in any case."""
    assert Guard().refusal(make_ask(host=host)) == ""


@pytest.mark.parametrize("header", ["forwarded", "x_forwarded_for", "x_real_ip", "via", "x_forwarded_host"])
def test_what_a_proxy_passes_on_comes_from_elsewhere(header: str) -> None:
    """A reverse proxy on this machine does not open the interface to the world."""
    assert "passed on by a proxy" in Guard().refusal(make_ask(**{header: "127.0.0.1"}))


def test_remote_access_must_be_asked_for_with_its_names() -> None:
    """``allow_remote`` opens to all addresses, and only under the names that were given."""
    guard = Guard(allow_remote=True, allowed_hosts=["Admin.Example"])
    assert guard.refusal(make_ask(client="10.0.0.1", host="admin.example:8443", x_forwarded_for="1.2.3.4")) == ""
    assert "Host header" in guard.refusal(make_ask(client="10.0.0.1", host="evil.example"))


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9902"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)
def test_other_sites_change_nothing(headers: dict[str, str]) -> None:
    """A form or a script of another page that posts here is refused, also from another port of this machine."""
    assert "another site" in Guard().refusal(make_ask("POST", **headers))


def test_the_page_itself_may_post() -> None:
    """Same origin; and programs that send no Origin at all."""
    assert Guard().refusal(make_ask("POST", origin="http://127.0.0.1:9901", sec_fetch_site="same-origin")) == ""
    assert Guard().refusal(make_ask("POST")) == ""
