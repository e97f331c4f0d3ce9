"""Reading key sets over HTTP: what is asked, and what is never asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from meshlib._engine.jwt_keys import KeySetError
from meshlib._inbound.key_fetch import KeyFetchError, fetch_keys
from meshlib._snapshot.authentication import KeyOrigin
from tests.patience import PACES, PATIENCE
from tests.security.targets import JWK

KEYS = json.dumps({"keys": [JWK]}).encode()


class Issuer(BaseHTTPRequestHandler):
    """Answers by path."""

    def do_GET(self) -> None:
        base = f"http://127.0.0.1:{self.server.server_address[1]}"
        bodies = {
            "/keys": KEYS,
            "/found/keys": KEYS,
            "/oidc/.well-known/openid-configuration": json.dumps({"jwks_uri": f"{base}/keys"}).encode(),
            "/empty/.well-known/openid-configuration": b"{}",
            "/list/.well-known/openid-configuration": b"[]",
            "/large": b"x" * ((1 << 20) + 1),
        }
        places = {
            "/moved": f"{base}/found/keys",
            "/metadata": "http://169.254.169.254/latest/meta-data",
            "/file": "file:///etc/passwd",
            "/loop": f"{base}/loop",
        }
        if self.path == "/drip":
            self.drip()
        elif self.path in places:
            self.answer(302, b"", location=places[self.path])
        else:
            self.answer(200 if self.path in bodies else 404, bodies.get(self.path, b"none"))

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def drip(self) -> None:
        self.send_response(200)
        self.end_headers()
        end = threading.Event()
        try:
            while True:
                self.wfile.write(b" ")
                self.wfile.flush()
                end.wait(0.02)
        except OSError:
            pass  # the reader had enough

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the standard library
        """Nothing."""


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Issuer)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join(PATIENCE)


@pytest.mark.parametrize("path", ["/keys", "/moved"])
def test_a_key_set_is_read_by_its_uri(base: str, path: str) -> None:
    """Where it is, or where it has moved to."""
    assert len(fetch_keys(KeyOrigin(uri=base + path, timeout=PATIENCE)).keys) == 1


@pytest.mark.parametrize("issuer", ["/oidc", "/oidc/"])
def test_an_issuer_says_where_its_keys_are(base: str, issuer: str) -> None:
    """By its discovery document, with or without a slash at the end of its name."""
    assert len(fetch_keys(KeyOrigin(issuer=base + issuer, timeout=PATIENCE)).keys) == 1


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/none", "404"),
        ("/metadata", "link-local"),
        ("/file", "not allowed|not an http"),
        ("/loop", "infinite loop"),
        ("/large", "more than 1 MB"),
    ],
)
def test_what_is_no_good_answer_is_an_error(base: str, path: str, reason: str) -> None:
    """That says why."""
    with pytest.raises(KeyFetchError, match=reason):
        fetch_keys(KeyOrigin(uri=base + path, timeout=PATIENCE))


def test_a_server_that_sends_a_byte_now_and_then_holds_nobody_up(base: str) -> None:
    """The timeout is for all of the answer."""
    for pace in PACES:
        with pytest.raises(KeyFetchError) as raised:
            fetch_keys(KeyOrigin(uri=f"{base}/drip", timeout=pace))
        if "timed out" not in str(raised.value):  # before its first byte
            break
    assert "the answer takes too long" in str(raised.value)


@pytest.mark.parametrize("issuer", ["/empty", "/list", "/keys"])
def test_a_discovery_document_must_name_the_keys(base: str, issuer: str) -> None:
    """Or there are none."""
    with pytest.raises(KeyFetchError):
        fetch_keys(KeyOrigin(issuer=base + issuer))


@pytest.mark.parametrize(
    "uri",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/keys",
        "keys.json",
        "http://",
        "http://[",
        "http://127.0.0.1:99999/",
        "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:169.254.169.254]/latest/meta-data",
        "http://[fe80::1]/",
        "http://unknown.test/keys",
    ],
)
def test_some_places_are_never_asked(uri: str) -> None:
    """Files, what is no URL, and where clouds keep their metadata."""
    with pytest.raises(KeyFetchError):
        fetch_keys(KeyOrigin(uri=uri, timeout=0.5))


def test_an_answer_that_is_no_key_set_is_told(base: str) -> None:
    """As another error than that of the transport."""
    with pytest.raises(KeySetError):
        fetch_keys(KeyOrigin(uri=f"{base}/oidc/.well-known/openid-configuration", timeout=PATIENCE))
