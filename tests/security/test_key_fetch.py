"""Reading key sets over HTTP: what is asked, and what is never asked."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from meshlib._engine.jwt_keys import KeySetError
from meshlib._inbound.key_fetch import KeyFetchError, fetch_keys
from meshlib._snapshot.authentication import KeyOrigin
from tests.patience import PACES, PATIENCE
from tests.security.targets import JWK

KEYS = json.dumps({"keys": [JWK]}).encode()
DRIPS = {"/drip": b"HTTP/1.1 200 OK\r\n\r\n", "/drip-head": b"HTTP/1.1 200 OK\r\nx: ", "/drip-hints": b""}


ASKED: list[Message] = []
"""The header fields of the requests so far."""


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
            "/nowhere": "http://[",
            "/file": "file:///etc/passwd",
            "/loop": f"{base}/loop",
        }
        self.server.asked.append(self.headers)  # type: ignore[attr-defined]
        packed = {"/packed": KEYS, "/bomb": b" " * (64 << 20)}
        if self.path in DRIPS:
            self.drip(DRIPS[self.path], b"HTTP/1.1 100 X\r\n\r\n" if self.path == "/drip-hints" else b" ")
        elif self.path == "/talkative":  # who says where to go, and then does not stop
            self.drip(f"HTTP/1.1 302 X\r\nlocation: {base}/keys\r\n\r\n".encode(), b" ")
        elif self.path == "/cut":
            self.answer(200, KEYS + b" ", length=len(KEYS) + 9)
        elif self.path in packed:
            self.answer(200, gzip.compress(packed[self.path]), **{"content-encoding": "gzip"})
        elif self.path == "/no-gzip":
            self.answer(200, KEYS, **{"content-encoding": "gzip"})
        elif self.path in places:
            self.answer(302, b"", location=places[self.path])
        else:
            self.answer(200 if self.path in bodies else 404, bodies.get(self.path, b"none"))

    def answer(self, status: int, body: bytes, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def drip(self, start: bytes, drop: bytes) -> None:
        end = threading.Event()
        self.close_connection = True
        try:
            self.wfile.write(start)
            while True:
                self.wfile.write(drop)
                self.wfile.flush()
                end.wait(0.02)
        except OSError:
            pass  # the reader had enough

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the standard library
        """Nothing."""


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Issuer)
    server.asked = ASKED  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join(PATIENCE)


@pytest.mark.parametrize("path", ["/keys", "/moved", "/packed", "/talkative"])
def test_a_key_set_is_read_by_its_uri(base: str, path: str) -> None:
    """Where it is, or where it has moved to; packed or not."""
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
        ("/nowhere", "does not answer with HTTP"),
        ("/loop", "redirects more than 10 times"),
        ("/large", "more than 1 MB"),
        ("/bomb", "more than 1 MB"),
        ("/no-gzip", "does not answer with HTTP"),
        ("/cut", "in the middle of the answer"),
    ],
)
def test_what_is_no_good_answer_is_an_error(base: str, path: str, reason: str) -> None:
    """That says why."""
    with pytest.raises(KeyFetchError, match=reason):
        fetch_keys(KeyOrigin(uri=base + path, timeout=PATIENCE))


@pytest.mark.parametrize("path", DRIPS)
def test_a_server_that_sends_a_byte_now_and_then_holds_nobody_up(base: str, path: str) -> None:
    """The timeout is for all of the answer, from its first line to its last."""
    with pytest.raises(KeyFetchError, match=r"timed out|takes too long"):
        fetch_keys(KeyOrigin(uri=base + path, timeout=PACES[0]))


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


def test_a_password_is_sent_and_never_shown(base: str) -> None:
    """Nor is what else may be a secret of the place."""
    host = base.partition("://")[2]
    assert len(fetch_keys(KeyOrigin(uri=f"http://us%40er:secret@{host}/keys", timeout=PATIENCE)).keys) == 1
    assert ASKED[-1]["authorization"] == "Basic dXNAZXI6c2VjcmV0"
    for uri in (f"http://user:secret@{host}/none?key=secret", f"http://user:secret@{host}x/"):
        with pytest.raises(KeyFetchError) as raised:
            fetch_keys(KeyOrigin(uri=uri, timeout=PATIENCE))
        assert "secret" not in str(raised.value)


def test_a_proxy_is_asked_for_names_that_are_not_known_here(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As behind many firewalls. Whatever answers on this host itself is asked directly."""
    monkeypatch.setenv("http_proxy", base)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(KeyFetchError, match="answers with status 404"):
        fetch_keys(KeyOrigin(uri="http://unknown.test/keys", timeout=PATIENCE))
    assert ASKED[-1]["host"] == "unknown.test"
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        assert len(fetch_keys(KeyOrigin(uri=f"{base}/keys", timeout=PATIENCE)).keys) == 1
    with pytest.raises(KeyFetchError, match="link-local"):
        fetch_keys(KeyOrigin(uri="http://169.254.169.254/keys", timeout=PATIENCE))
