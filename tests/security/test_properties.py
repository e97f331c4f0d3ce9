"""Whatever comes in: it is refused in the documented way or served, and another spelling is no other request."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any
from urllib.parse import quote_from_bytes, unquote

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib import Mesh, Workload
from meshlib._authorize import inbound_from_json
from meshlib._compile.snapshot import Config
from meshlib._engine.inbound import inspect
from meshlib._engine.jwt_keys import KeySetError, parse_keys
from meshlib._engine.jwt_parts import Token, TokenError
from meshlib._engine.path_normalization import BadPathError, normalize_path
from meshlib._http import Headers
from meshlib._inbound.certificates import identity_of
from meshlib._inbound.forwarded import TrustedProxies, elements, pairs
from meshlib._snapshot.inbound import parse_address
from meshlib._snapshot.security import Normalization, Security
from meshlib.adapters.asgi import MeshMiddleware as AsgiMiddleware
from meshlib.adapters.wsgi import MeshMiddleware as WsgiMiddleware
from meshlib.model.authorization_policy import AuthorizationPolicySpec
from meshlib.model.resource import Metadata, Resource
from meshlib.security import DevelopmentCA
from tests.security.targets import POLICIES, encoded, good

settings.register_profile("security", deadline=None, max_examples=150)
QUICK = settings(settings.get_profile("security"))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
members = st.dictionaries(
    st.sampled_from(["alg", "kid", "crit", "iss", "sub", "aud", "exp", "nbf", "iat", "azp", "scope", "x"]),
    json_values | st.sampled_from(["RS256", "HS256", "none", "k", "https://issuer.test", "shop"]),
    max_size=6,
)
parts = (members | json_values).map(encoded) | st.binary(max_size=40).map(encoded) | st.text(max_size=10)
tokens = (
    st.text()
    | st.lists(parts, min_size=1, max_size=5).map(".".join)
    | st.tuples(st.integers(0, 400), st.characters()).map(lambda change: _one_changed(good(), *change))
)


def _one_changed(text: str, position: int, character: str) -> str:
    position %= len(text)
    return text[:position] + character + text[position + 1 :]


# -- parsing raises what it says, and nothing else ------------------------------------------------------


@given(tokens)
@QUICK
def test_a_token_is_read_or_refused(text: str) -> None:
    """There is no third way."""
    try:
        found: Token | TokenError = Token(text)
    except TokenError as error:
        found = error
    assert isinstance(found, Token) or (found.status == 401 and found.body.startswith("Jwt"))


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5).map("x{}".format), plain_values, max_size=5), st.booleans(), st.booleans())
@QUICK
def test_claims_are_what_their_json_says(members: dict[str, Any], is_compact: bool, is_ascii: bool) -> None:
    """However it is written: the same values, of the same types, in the same order."""
    text = json.dumps(members, ensure_ascii=is_ascii, separators=(",", ":") if is_compact else None)
    token = Token(f"{encoded({'alg': 'RS256'})}.{encoded(text.encode())}.AAAA")
    assert repr(token.claims) == repr(json.loads(text))


@pytest.mark.parametrize(
    "payload",
    [
        '{"iss":"a","iss":"a"}',
        '{"iss":"a","iss":"b"}',
        '{"iss":"a", "iss" : "a"}',
        '{"x":[{"y":1,"y":1}]}',
        '{"x":1,"\\u0078":1}',
        '{"x":NaN}',
        '{"x":1e999e}',
        '{"x":"\\ud800"}',
        '{"x":1}}',
        '{"x":"\n"}',
        "[]",
        "",
    ],
)
def test_claims_that_can_be_read_in_two_ways_are_refused(payload: str) -> None:
    """Repeated members however they are written, and whatever is no JSON."""
    with pytest.raises(TokenError, match="Jwt"):
        Token(f"{encoded({'alg': 'RS256'})}.{encoded(payload.encode())}.AAAA")


keys = st.lists(
    st.dictionaries(
        st.sampled_from(["kty", "kid", "alg", "use", "crv", "n", "e", "x", "y", "k", "d"]),
        json_values | st.sampled_from(["RSA", "EC", "OKP", "oct", "P-256", "Ed25519", "X25519", "AQAB", "sig"]),
        max_size=8,
    )
    | json_values,
    max_size=3,
)


@given(st.binary() | st.text() | (keys.map(lambda found: {"keys": found}) | json_values).map(json.dumps))
@QUICK
def test_a_key_set_is_read_or_refused(text: str | bytes) -> None:
    """Of any bytes that an issuer may answer with."""
    try:
        found = bool(parse_keys(text).keys)
    except KeySetError as error:
        found = bool(str(error))
    assert found


targets = (
    st.text()
    | st.text(alphabet="/.%2eEfF5cC;\\?#a", max_size=30).map("/".__add__)
    | st.binary(max_size=20).map(lambda raw: "/" + raw.decode("utf-8", "surrogateescape"))
)
LEVELS: tuple[Normalization, ...] = ("NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES")


@given(targets, st.sampled_from(LEVELS))
@QUICK
def test_a_path_is_normalized_or_refused(path: str, level: Normalization) -> None:
    """What comes out needs no second pass for its dots, and the query is the same."""
    try:
        found = normalize_path(path, level)
    except BadPathError:
        assert level != "NONE" or "#" in path or not (path.isascii() and path.isprintable() and " " not in path)
        return
    assert found.partition("?")[1:] == path.partition("?")[1:]
    if level != "NONE":
        raw = found.partition("?")[0]
        assert raw.startswith("/")
        assert {".", ".."}.isdisjoint(raw.split("/"))
        assert "\\" not in raw
    if level in ("MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"):
        raw = found.partition("?")[0]
        assert "//" not in raw or raw == "//"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A good one, in DER."""
    directory = tmp_path_factory.mktemp("ca")
    DevelopmentCA.create(directory / "ca").issue(directory / "leaf")
    text = (directory / "leaf" / "cert-chain.pem").read_text()
    return base64.b64decode("".join(text.split("-----")[2].split()))


def test_a_certificate_of_a_version_that_does_not_exist_names_nobody(certificate: bytes) -> None:
    """The library has an exception of its own for it."""
    version = certificate.index(b"\xa0\x03\x02\x01\x02") + 4
    assert identity_of(certificate[:version] + b"\x09" + certificate[version + 1 :]) is None


@given(data=st.data())
@QUICK
def test_a_certificate_names_somebody_or_nobody(certificate: bytes, data: st.DataObject) -> None:
    """Of a broken one: nobody, or the very name that a verified certificate would have to have."""
    position = data.draw(st.integers(0, len(certificate) - 1))
    changed = certificate[:position] + data.draw(st.binary(max_size=4)) + certificate[position + 1 :]
    for one in (changed, data.draw(st.binary()), data.draw(st.text())):
        found = identity_of(one)
        assert found is None or found.lower().startswith("spiffe://")


forwarded = st.text(alphabet='By=URI;,"\\spiffe://a Cert%', max_size=60) | st.text()


@given(forwarded, st.text(alphabet="0123456789.:,[]a ", max_size=40) | st.text())
@QUICK
def test_what_proxies_say_is_read_or_ignored(xfcc: str, xff: str) -> None:
    """Nothing in these headers raises, and who is not trusted is not heard."""
    for element in elements(xfcc):
        assert all(isinstance(value, list) for value in pairs(element).values())
    headers = Headers([("x-forwarded-client-cert", xfcc), ("x-forwarded-for", xff)])
    near, far = parse_address("127.0.0.1"), parse_address("10.0.0.1")
    proxies = TrustedProxies(["127.0.0.0/8"])
    assert proxies.client(headers, far) == far
    assert proxies.client(headers, near) is not None
    identity = proxies.identity(headers)
    assert identity is None or identity.lower().startswith("spiffe://")


# -- through the middlewares ------------------------------------------------------------------------------

MESH = Mesh.load(POLICIES, workload=Workload(namespace="shop", labels={"app": "web"}))
NAMES = st.sampled_from(
    "authorization cookie host x-user x_user x-forwarded-client-cert x-forwarded-for origin "
    "access-control-request-method content-length x-request-id traceparent".split()
)


class Seen:
    """An ASGI and a WSGI application that remember what they were asked."""

    def __init__(self) -> None:
        self.path: str | None = None
        self.sent: list[Any] = []

    async def asgi(self, scope: Any, _: Any, send: Any) -> None:
        self.path = scope["path"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def wsgi(self, environ: dict[str, Any], start: Any) -> list[bytes]:
        self.path = environ["SCRIPT_NAME"] + environ["PATH_INFO"]
        start("200 OK", [])
        return []

    async def send(self, message: Any) -> None:
        self.sent.append(message)

    def start(self, status: str, headers: list[tuple[str, str]]) -> None:
        for name, value in headers:
            name.encode("latin-1")
            value.encode("latin-1")
        self.sent.append({"status": int(status[:3])})

    @property
    def status(self) -> int:
        found: int = self.sent[0]["status"]
        return found


def asgi_status(seen: Seen, scope: dict[str, Any]) -> int:
    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "GET", "scheme": "http", "query_string": b"", "client": ("10.0.0.9", 1), **scope}
    asyncio.run(AsgiMiddleware(seen.asgi, MESH)(scope, receive, seen.send))
    return seen.status


@given(st.lists(st.tuples(NAMES, st.binary(max_size=60)), max_size=5), st.binary(max_size=30), st.text(max_size=20))
@QUICK
def test_asgi_answers_whatever_a_server_hands_on(headers: list[tuple[str, bytes]], raw: bytes, path: str) -> None:
    """Any bytes as headers and path: served, or refused with a status that the documentation names."""
    seen = Seen()
    scope = {"headers": [(name.encode(), value) for name, value in headers], "raw_path": b"/" + raw, "path": "/" + path}
    assert asgi_status(seen, scope) in (200, 400, 401, 403)
    assert (seen.status == 200) == (seen.path is not None)
    assert (seen.path or "").rstrip("/") != "/vault"


@given(st.lists(st.tuples(NAMES, st.text(max_size=60)), max_size=5), st.text(max_size=30), st.text(max_size=20))
@QUICK
def test_wsgi_answers_whatever_a_server_hands_on(headers: list[tuple[str, str]], raw: str, path: str) -> None:
    """As for ASGI."""
    seen = Seen()
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/" + path,
        "RAW_URI": "/" + raw,
        "wsgi.url_scheme": "http",
        "REMOTE_ADDR": "10.0.0.9",
        **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers},
    }
    body = WsgiMiddleware(seen.wsgi, MESH)(environ, seen.start)
    list(body)
    getattr(body, "close", list)()  # as servers do: it ends what the request has handed on
    assert seen.status in (200, 400, 401, 403)
    assert (seen.path or "").rstrip("/") != "/vault"


# -- another spelling of a denied request -----------------------------------------------------------------


@st.composite
def spellings(draw: st.DrawFn, path: str) -> str:
    """The path, written in another way that RFC 3986 says is the same."""
    segments = path.split("/")[1:]
    has_backslashes = draw(st.booleans())  # not with parameters: to Envoy they reach to the next slash
    dots = [".", "%2e", "%2E", "x/..", "x/%2e%2e", "x/.%2E"] + ([] if has_backslashes else [".;a=b", "x/..;y"])
    written = []
    for segment in segments:
        written += draw(st.lists(st.sampled_from(dots), max_size=2))
        written.append("".join(draw(_spelt(character)) for character in segment))
    separators = st.sampled_from(["/", "\\"] if has_backslashes else ["/"])
    text = "".join(draw(separators) + segment for segment in written)
    return ("/" + text[1:]) + draw(st.sampled_from(["", "?", "?x=1", "?/../.."]))


def _spelt(character: str) -> st.SearchStrategy[str]:
    code = quote_from_bytes(character.encode(), "") if not character.isalnum() else f"%{ord(character):02x}"
    return st.sampled_from([character, character, code, code.upper() if code.startswith("%") else code])


OTHER_NAMES = st.sampled_from(["x-a", "accept", "x-forwarded-for", "x-real-ip", "x-envoy-original-path"])
others = st.lists(st.tuples(OTHER_NAMES, st.text("ab/1.", max_size=8)), max_size=4)


@given(spellings("/vault/door"), others, st.permutations(["host", "accept", "x-b"]), st.booleans())
@QUICK
def test_another_spelling_of_a_denied_request_is_denied(
    path: str, extra: list[tuple[str, str]], order: list[str], is_large: bool
) -> None:
    """Escapes, dots, backslashes, queries, more headers in another order and case: it stays the same request."""
    headers = [(name, {"host": "public.test"}.get(name, "x")) for name in order] + extra
    raw = [((name.upper() if is_large else name).encode(), value.encode()) for name, value in headers]
    raw_path, _, query = path.partition("?")
    scope = {"headers": raw, "raw_path": raw_path.encode(), "path": unquote(raw_path), "query_string": query.encode()}
    assert asgi_status(Seen(), scope) == 403


# -- what cannot be understood ----------------------------------------------------------------------------


def security_of(policy: dict[str, Any]) -> Security:
    """As if nobody had judged the policy before: Istio's rules refuse most of these."""
    resource = Resource(
        kind="AuthorizationPolicy",
        group="security.istio.io",
        version="v1",
        metadata=Metadata(name="p", namespace="shop"),
        spec=msgspec.convert(policy, AuthorizationPolicySpec),
    )
    return Config([resource]).compile(Workload(namespace="shop")).security


def is_allowed(security: Security, request: dict[str, Any]) -> bool:
    steps = inspect(security, inbound_from_json(request), None)
    try:
        next(steps)
    except StopIteration as end:
        found: bool = end.value.allowed
        return found
    raise AssertionError


words = st.text(alphabet="abz/.{}*:[]-_0123456789 ", min_size=1, max_size=12)
not_understood = st.one_of(
    words.filter(lambda text: parse_address(text) is None and "/" not in text).map(
        lambda text: ("source", {"ipBlocks": [text]})
    ),
    words.filter(lambda text: not text.isdigit()).map(lambda text: ("operation", {"ports": [text]})),
    words.map(lambda text: ("operation", {"paths": ["/x{*}" + text]})),
    words.map(lambda text: ("operation", {"paths": ["/{**}/{*}/" + text]})),
    words.map(lambda text: ("when", {"key": "no.such." + text, "values": ["*"]})),
    words.map(lambda text: ("when", {"key": "request.headers[" + text.replace("]", ""), "values": ["*"]})),
    words.map(lambda text: ("when", {"key": "experimental.envoy.filters.x[" + text, "notValues": ["*"]})),
)
requests = st.fixed_dictionaries(
    {"host": st.just("public.test"), "path": st.sampled_from(["/", "/x", "/xa", "/a/b"]), "port": st.just(80)},
    optional={"source_ip": st.sampled_from(["10.0.0.1", "::1"]), "principal": st.just("cluster.local/ns/a/sa/b")},
)


@given(not_understood, requests)
@QUICK
def test_what_cannot_be_understood_never_allows(part: tuple[str, dict[str, Any]], request: dict[str, Any]) -> None:
    """An ALLOW with it matches nothing, a DENY with it matches."""
    kind, written = part
    key = {"source": "from", "operation": "to", "when": "when"}[kind]
    rule = {key: [{kind: written}] if kind != "when" else [written]}
    allow = security_of({"action": "ALLOW", "rules": [rule]})
    deny = security_of({"action": "DENY", "rules": [rule]})
    assert not is_allowed(allow, request)
    assert not is_allowed(deny, request)
