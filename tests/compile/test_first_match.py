"""The compiled tables against a naive scan of the YAML: the same first match, over 100,000 random pairs."""

from __future__ import annotations

import json
import random
import re
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from meshlib._compile import Config
from meshlib._config.load import load
from meshlib._http import RequestHead
from meshlib._snapshot.matchers import Exact, Prefix, RouteMatch, UriMatch
from meshlib._snapshot.route_index import RouteIndex
from meshlib._snapshot.routes import DirectResponse, HostTable, Route
from meshlib.sources.static import SourceText
from meshlib.workload import Workload

REQUESTS: Final = 500
PATHS: Final = ("/", "/a", "/A", "/ab", "/a/b", "/a/b/c", "/b", "/b/", "/a%2Fb", "/abc", "/a/B", "")
TEXTS: Final = ("", "v", "v1", "v12", "x", "V1")
PATTERNS: Final = ("/a.*", "/(a|b)", "/a/b/?", ".*c", "v[0-9]+", "v?")
HEADERS: Final = ("x-one", "x-two")
METHODS: Final = ("GET", "POST", "PUT")
AUTHORITIES: Final = ("a.example.com", "A.example.com", "a.example.com:80", "a.example.com:8080")
PORTS: Final = (80, 8080)
CLIENTS: Final = (
    Workload(namespace="default", labels={"app": "web"}),
    Workload(namespace="other", labels={"app": "web", "version": "v1"}),
    Workload(namespace="default", labels={"istio": "ingress"}, gateway=True),
)
GATEWAY: Final = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "Gateway",
    "metadata": {"name": "gw", "namespace": "default"},
    "spec": {
        "selector": {"istio": "ingress"},
        "servers": [{"port": {"number": n, "name": f"p{n}", "protocol": "HTTP"}, "hosts": ["*"]} for n in PORTS],
    },
}
SERVICE: Final = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "ServiceEntry",
    "metadata": {"name": "a", "namespace": "default"},
    "spec": {
        "hosts": ["a.example.com"],
        "resolution": "NONE",
        "ports": [{"number": n, "name": f"p{n}", "protocol": "HTTP"} for n in PORTS],
    },
}


def pattern(value: str) -> dict[str, str]:
    return {"regex": value}


TEXT = st.one_of(
    st.sampled_from(TEXTS).map(lambda value: {"exact": value}),
    st.sampled_from(TEXTS[1:]).map(lambda value: {"prefix": value}),
    st.sampled_from(PATTERNS).map(pattern),
    st.just({}),  # present
)
URI = st.one_of(
    st.sampled_from(PATHS[:-1]).map(lambda value: {"exact": value}),
    st.sampled_from(PATHS).map(lambda value: {"prefix": value}),
    st.sampled_from(PATTERNS[:4]).map(pattern),
)
MATCH = st.fixed_dictionaries(
    {},
    optional={
        "uri": URI,
        "ignoreUriCase": st.booleans(),
        "method": st.sampled_from(METHODS).map(lambda value: {"exact": value}),
        "headers": st.dictionaries(st.sampled_from(HEADERS), TEXT, max_size=2),
        "withoutHeaders": st.dictionaries(st.sampled_from(HEADERS), TEXT, max_size=1),
        "queryParams": st.dictionaries(st.sampled_from(("q", "r")), TEXT, max_size=1),
        "scheme": st.sampled_from(({"exact": "http"}, {"prefix": "https"}, {"regex": "HTTP|https?"})),
        "authority": st.sampled_from(({"exact": "a.example.com"}, {"prefix": "A"}, {"regex": ".*:[0-9]+"})),
        "port": st.sampled_from(PORTS),
        "sourceLabels": st.sampled_from(({"app": "web"}, {"app": "web", "version": "v1"}, {"istio": "ingress"})),
        "sourceNamespace": st.sampled_from(("default", "other")),
        "gateways": st.sampled_from((["mesh"], ["gw"], ["default/gw", "mesh"], ["other/gw"])),
    },
)
RULES = st.lists(st.lists(MATCH, max_size=3), min_size=1, max_size=30)


# -- the naive reading ---------------------------------------------------------------------------------------


def holds(condition: dict[str, str], text: str, *, ignore_case: bool = False) -> bool:
    """Exact, prefix or regex over the whole text; no condition at all is presence."""
    if "regex" in condition:
        return re.fullmatch(condition["regex"], text) is not None
    value = condition.get("exact", condition.get("prefix", ""))
    if ignore_case:
        value, text = value.lower(), text.lower()
    return text == value if "exact" in condition else text.startswith(value)


def is_for(match: dict[str, Any], client: Workload, port: int) -> bool:
    """Port, gateways and source; a match that names gateways asks nothing of the source."""
    if match.get("port", port) != port:
        return False
    if "gateways" in match:
        return ("default/gw" if client.gateway else "mesh") in [
            name if "/" in name or name == "mesh" else f"default/{name}" for name in match["gateways"]
        ]
    return (
        match.get("sourceLabels", {}).items() <= client.labels.items()
        and match.get("sourceNamespace", client.namespace) == client.namespace
    )


def is_everything(match: dict[str, Any]) -> bool:
    """What a gateway asks after all else: any path, and nothing else of the request."""
    asked = match.keys() & {"headers", "withoutHeaders", "queryParams", "method", "scheme", "authority"}
    return match.get("uri", {"prefix": "/"}) == {"prefix": "/"} and not any(match[name] for name in asked)


def matches(match: dict[str, Any], request: RequestHead) -> bool:
    path, _, query = request.path.partition("?")
    parameters = [item.partition("=")[::2] for item in query.split("&") if query]
    return (
        ("uri" not in match or holds(match["uri"], path, ignore_case=match.get("ignoreUriCase", False)))
        and ("method" not in match or holds(match["method"], request.method))
        and ("scheme" not in match or holds(match["scheme"], request.scheme))
        and ("authority" not in match or holds(match["authority"], request.authority))
        and all(has_header(request, name, one) for name, one in match.get("headers", {}).items())
        and not any(has_unwanted(request, name, one) for name, one in match.get("withoutHeaders", {}).items())
        and all(has_parameter(parameters, name, one) for name, one in match.get("queryParams", {}).items())
    )


def has_header(request: RequestHead, name: str, condition: dict[str, str]) -> bool:
    return any(holds(condition, value) for value in request.headers.getall(name, []))


def has_unwanted(request: RequestHead, name: str, condition: dict[str, str]) -> bool:
    """A missing field counts as the empty text, unless presence is asked for."""
    values = request.headers.getall(name, [])
    return any(holds(condition, value) for value in values or ([""] if condition else []))


def has_parameter(parameters: list[tuple[str, str]], name: str, condition: dict[str, str]) -> bool:
    """The first occurrence counts."""
    return next((holds(condition, value) for key, value in parameters if key == name), False)


def naive(rules: list[list[dict[str, Any]]], request: RequestHead, client: Workload) -> str | None:
    """The name of the first rule one of whose matches holds; ``default`` if none is for this client and port."""
    candidates: list[tuple[int, dict[str, Any]]] = []
    for number, rule in enumerate(rules):
        own = [(number, match) for match in rule or [{}] if is_for(match, client, request.port)]
        candidates += own
        if any(is_everything(match) for _, match in own):
            break  # nothing behind it is ever asked
    if not candidates:
        return None if client.gateway else "default"
    found = next((number for number, match in candidates if matches(match, request)), None)
    return None if found is None else f"r{found}"


# -- the comparison ------------------------------------------------------------------------------------------


def configuration(rules: list[list[dict[str, Any]]]) -> str:
    """A VirtualService whose rules answer themselves, each with its number as its name, for mesh and gateway."""
    http = [
        {"name": f"r{number}", "match": rule, "directResponse": {"status": 200}} for number, rule in enumerate(rules)
    ]
    rule = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "a", "namespace": "default"},
        "spec": {"hosts": ["a.example.com"], "gateways": ["mesh", "gw"], "http": http},
    }
    return "\n---\n".join(map(json.dumps, (rule, GATEWAY, SERVICE)))


def random_request(chance: random.Random) -> RequestHead:
    headers = CIMultiDict((chance.choice(HEADERS), chance.choice(TEXTS)) for _ in range(chance.randrange(4)))
    query = "&".join(f"{chance.choice('qr')}={chance.choice(TEXTS)}" for _ in range(chance.randrange(3)))
    path = (chance.choice(PATHS) or "/") + (f"?{query}" if query else "")
    authority = chance.choice(AUTHORITIES)
    scheme = chance.choice(("http", "https"))
    return RequestHead(chance.choice(METHODS), scheme, authority, path, headers, port=chance.choice(PORTS))


@settings(max_examples=200, deadline=None)
@given(RULES, st.sampled_from(CLIENTS), st.integers(0, 2**32))
def test_the_first_match_is_that_of_a_naive_scan(
    rules: list[list[dict[str, Any]]], client: Workload, seed: int
) -> None:
    """200 configurations of up to 90 matches, 500 requests each; short ones are scanned, long ones indexed."""
    config = load([SourceText("a", configuration(rules))])
    assert not [one for one in config.findings if one.level == "error"]
    snapshot = Config(config.resources).compile(client)
    chance = random.Random(seed)
    for _ in range(REQUESTS):
        request = random_request(chance)
        host = snapshot.find_host(request)
        route = host.match(request) if host is not None else None
        assert (route.name if route is not None else None) == naive(rules, request, client), request


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.text("/ab", max_size=14)), max_size=60), st.integers(0, 2**32))
def test_nested_prefixes_of_many_lengths(paths: list[tuple[bool, str]], seed: int) -> None:
    """Few lengths are tried one by one, many are searched in sorted order: the same first route."""
    routes = [
        Route(
            match=RouteMatch(uri=UriMatch(Exact(path) if is_exact else Prefix(path))), action=DirectResponse(status=200)
        )
        for is_exact, path in paths
    ]
    index, chance = RouteIndex(routes), random.Random(seed)
    for _ in range(100):
        path = "".join(chance.choices("/ab", k=chance.randrange(1, 16)))
        request = RequestHead("GET", "http", "a.example.com", path, CIMultiDict(), port=80)
        expected = next((route for route in routes if route.match.matches(request)), None)
        assert index.first(request) is expected


LABELS: Final = ("a", "b", "com", "shop")
NAME = st.lists(st.sampled_from(LABELS), min_size=1, max_size=4).map(".".join)
HOST_PATTERN = st.one_of(NAME, NAME.map("*.{}".format), st.just("*"))


def wildcard_fits(host: str, wanted: str) -> bool:
    return wanted == "*" or (wanted.startswith("*") and host.endswith(wanted[1:]) and len(host) > len(wanted) - 1)


@settings(max_examples=200, deadline=None)
@given(st.sets(HOST_PATTERN, max_size=12), st.integers(0, 2**32))
def test_a_host_is_found_as_by_a_naive_scan(patterns: set[str], seed: int) -> None:
    """The exact name, else the longest wildcard that fits: 200 tables, 500 names each."""
    chance = random.Random(seed)
    suffixes = {one[1:]: one for one in patterns if one.startswith("*") and one != "*"}
    table = HostTable(
        exact={one: one for one in patterns if not one.startswith("*")},
        suffixes=suffixes,
        suffix_lengths=tuple(sorted({len(one) for one in suffixes}, reverse=True)),
        catch_all="*" if "*" in patterns else None,
    )
    for _ in range(500):
        host = ".".join(chance.choices(LABELS, k=chance.randint(1, 4)))
        fitting = [one for one in patterns if one == host or wildcard_fits(host, one)]
        expected = host if host in fitting else max(fitting, key=len, default=None)
        assert table.find(host) == expected
