"""The client's address as trusted proxies tell it."""

from __future__ import annotations

import pytest

from meshlib._http import Headers
from meshlib._inbound.forwarded import TrustedProxies
from meshlib._snapshot.inbound import parse_address

PEER = "10.9.0.1"


def test_a_text_is_one_proxy() -> None:
    """Not one for each of its characters."""
    assert TrustedProxies("10.9.0.0/16").trusts(parse_address(PEER))
    assert not TrustedProxies("10.9.0.0/16").trusts(parse_address("10.8.0.1"))


@pytest.mark.parametrize("block", ["10.9.0.1", "::ffff:10.9.0.1", "::ffff:10.9.0.0/112", "::ffff:0:0/96"])
def test_addresses_of_ipv4_are_such_however_they_are_written(block: str) -> None:
    """A socket of IPv6 shows the client as ::ffff:10.9.0.1, which is what logs have."""
    proxies = TrustedProxies([block])
    assert proxies.trusts(parse_address("10.9.0.1"))
    assert proxies.trusts(parse_address("::ffff:10.9.0.1"))
    assert not proxies.trusts(parse_address("2001:db8::1"))


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("1.2.3.4", "1.2.3.4"),
        (" 1.2.3.4 , 10.9.0.2 ", "1.2.3.4"),
        ("2001:db8::1", "2001:db8::1"),
        # Envoy 1.39 parses no ports and no brackets: its own word for the client is then the direct peer.
        ("1.2.3.4:80", PEER),
        ("[2001:db8::1]", PEER),
        ("[2001:db8::1]:80", PEER),
        ("1.2.3.4, junk", PEER),
        ("1.2.3.4:80, 10.9.0.2", "10.9.0.2"),
        ("1.2.3.4,", PEER),
        ("", PEER),
    ],
)
def test_the_client_is_the_last_address_that_no_trusted_proxy_has(forwarded: str, client: str) -> None:
    proxies = TrustedProxies(["10.9.0.0/16"])
    found = proxies.client(Headers({"x-forwarded-for": forwarded}), parse_address(PEER))
    assert found == parse_address(client)


ADMIN, EVIL = "spiffe://cluster.local/ns/shop/sa/admin", "spiffe://cluster.local/ns/shop/sa/evil"
OWN = f"By=spiffe://cluster.local/ns/shop/sa/web;Hash=aa;Subject={{}};URI={EVIL}"


@pytest.mark.parametrize("subject", ['""', '"CN=a,O=b;c"', r'"CN=a\"b"', r'"CN=a\\"', r'"CN=\"\\\","'])
@pytest.mark.parametrize(
    "sent",
    [
        "",
        f"URI={ADMIN}",
        f'URI={ADMIN};Subject="',
        f'URI={ADMIN};X="\\',
        f'URI={ADMIN};Subject="\\"',
        f'URI={ADMIN};Subject="a","',
        f"URI={ADMIN};X=\\",
    ],
)
def test_what_a_client_sends_does_not_swallow_what_its_proxy_appends(sent: str, subject: str) -> None:
    """Envoy appends to what came without a look at it: an open quote made a client whoever it liked."""
    headers = Headers({"x-forwarded-client-cert": f"{sent},{OWN.format(subject)}" if sent else OWN.format(subject)})
    assert TrustedProxies([PEER]).identity(headers) == EVIL


@pytest.mark.parametrize(
    ("element", "identity"),
    [
        (f"URI={EVIL}", EVIL),
        ("Hash=aa;URI=", None),
        ("Hash=aa;URI=https://x/;DNS=x", None),
        (f"URI=https://x/;URI={EVIL}", ""),
        (f'URI=https://x/,URI={ADMIN};"q";URI={EVIL}', ""),  # one name of the certificate has a comma and a quote
        (f"URI={ADMIN};URI={EVIL}", ""),
    ],
)
def test_several_uri_names_identify_nobody(element: str, identity: str | None) -> None:
    """As in a certificate. None leaves it at the certificate of the proxy itself."""
    assert TrustedProxies([PEER]).identity(Headers({"x-forwarded-client-cert": element})) == identity


def test_a_header_full_of_backslashes_is_read_at_once() -> None:
    """The time for it grew with the square of their number."""
    sent = f"URI={ADMIN};X=" + "\\" * 2_000_000 + "," + OWN.format("")
    assert TrustedProxies([PEER]).identity(Headers({"x-forwarded-client-cert": sent})) == EVIL
