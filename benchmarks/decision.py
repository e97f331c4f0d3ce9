"""What a decision costs as the configuration grows: virtual hosts, routes of one host, endpoints of one cluster.

Only the engine runs: no client library, no events. Each size is a variant, and the smallest is the base. The calls go
to 64 places drawn over the whole table, as one process calls some hosts of a large mesh, not all and not one.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from itertools import accumulate, cycle, islice

from benchmarks.harness import Comparison, SyncBody, arguments, compare, emit, emit_figure
from meshlib._compile.host_tables import DomainClaims, route_table, virtual_host
from meshlib._engine.balancing import make_balancer
from meshlib._engine.state import EndpointState
from meshlib._http import Headers, RequestHead
from meshlib._snapshot.clusters import BalancerPolicy, Endpoint, LeastRequest, RandomPick, RoundRobin
from meshlib._snapshot.matchers import Exact, HeaderMatch, Prefix, RouteMatch, UriMatch
from meshlib._snapshot.routes import Forward, Origin, Route, RouteTable, VirtualHost, WeightedDestination
from meshlib._snapshot.snapshot import Snapshot

__all__ = ["main"]

HOSTS = (10, 1_000, 100_000)
ROUTES = (1, 100, 10_000)
ENDPOINTS = (10, 1_000, 100_000)
PLACES = 64
ORIGIN = Origin("benchmark")
PORT = 9080
DESTINATIONS = tuple(
    WeightedDestination(cluster=f"outbound|{PORT}|{subset}|reviews", host="reviews", port=PORT, weight=weight)
    for subset, weight in (("v1", 80), ("v2", 20))
)
FORWARD = Forward(destinations=DESTINATIONS, sums=tuple(accumulate(one.weight for one in DESTINATIONS)))


def by_hosts(count: int, chance: random.Random, *, wildcard: bool) -> SyncBody:
    """Find the virtual host among ``count`` and its only route."""
    names = [f"service-{number}.team-{number % 200}.svc.cluster.local" for number in range(count)]
    claims: DomainClaims[VirtualHost] = DomainClaims()
    route = Route(match=RouteMatch(), action=FORWARD)
    for name in names:
        domain = f"*.{name}" if wildcard else name
        claims.claim(domain, virtual_host(name, (domain,), (route,), ORIGIN))
    prefix = "www." if wildcard else ""
    return _decide(route_table(claims), [_request(prefix + chance.choice(names), "/reviews/0") for _ in range(PLACES)])


def by_routes(count: int, chance: random.Random, matched: Callable[[str], RouteMatch]) -> SyncBody:
    """Find the route among ``count`` of one virtual host, each with a path of its own."""
    paths = [f"/api/v{number % 3}/resource-{number}/" for number in range(count)]
    claims: DomainClaims[VirtualHost] = DomainClaims()
    routes = [Route(match=matched(path), action=FORWARD) for path in paths]
    claims.claim("reviews", virtual_host("reviews", ("reviews",), routes, ORIGIN))
    return _decide(route_table(claims), [_request("reviews", chance.choice(paths)) for _ in range(PLACES)])


def _exact(path: str) -> RouteMatch:
    return RouteMatch(uri=UriMatch(Exact(path)))


def _prefix(path: str) -> RouteMatch:
    return RouteMatch(uri=UriMatch(Prefix(path)))


def _header(path: str) -> RouteMatch:
    return RouteMatch((HeaderMatch("x-path", Exact(path)),))


def by_endpoints(count: int, policy: BalancerPolicy, *, weighted: bool) -> SyncBody:
    """Pick one of ``count`` endpoints, send and finish: the balancer sees the request come and go."""
    addresses = (f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}" for number in range(count))
    endpoints = (
        Endpoint(address=address, port=PORT, weight=1 + number % 3 if weighted else 1)
        for number, address in enumerate(addresses)
    )
    balancer = make_balancer(policy, tuple(EndpointState(endpoint) for endpoint in endpoints), random.Random(7))

    def body(calls: int) -> None:
        pick = balancer.pick
        for _ in range(calls):
            host = pick()
            assert host is not None
            host.active += 1
            host.active -= 1

    return body


def _decide(table: RouteTable, requests: Sequence[RequestHead]) -> SyncBody:
    snapshot = Snapshot(tables={PORT: table})
    for request in requests:
        host = snapshot.find_host(request)
        assert host is not None
        assert host.match(request) is not None

    def body(calls: int) -> None:
        for request in islice(cycle(requests), calls):
            host = snapshot.find_host(request)
            if host is not None:
                host.match(request)

    return body


def _request(authority: str, path: str) -> RequestHead:
    headers = Headers({"Host": authority, "X-Path": path, "Accept": "*/*", "User-Agent": "benchmark"})
    return RequestHead("GET", "http", f"{authority}:{PORT}", path, headers, port=PORT)


def families(most: int) -> dict[str, tuple[str, dict[int, SyncBody]]]:
    """What is compared: name of the comparison -> (name of its figure, size -> body); nothing larger than ``most``."""
    chance = random.Random(1)
    hosts, routes, endpoints = ([size for size in sizes if size <= most] for sizes in (HOSTS, ROUTES, ENDPOINTS))
    picks: dict[str, tuple[BalancerPolicy, bool]] = {
        "least request": (LeastRequest(), False),
        "round robin": (RoundRobin(), False),
        "random": (RandomPick(), False),
        "least request, weighted": (LeastRequest(), True),
    }
    return {
        "hosts exact": ("decision by hosts", {n: by_hosts(n, chance, wildcard=False) for n in hosts}),
        "hosts wildcard": ("", {n: by_hosts(n, chance, wildcard=True) for n in hosts}),
        "routes exact": ("decision by exact routes", {n: by_routes(n, chance, _exact) for n in routes}),
        "routes prefix": ("decision by prefix routes", {n: by_routes(n, chance, _prefix) for n in routes}),
        # Conditions on headers have no index: first match wins, and all are tried until then.
        "routes header": ("", {n: by_routes(n, chance, _header) for n in routes[:2]}),
    } | {
        f"pick {name}": (
            "pick by endpoints" if name == "least request" else "",
            {n: by_endpoints(n, policy, weighted=weighted) for n in endpoints},
        )
        for name, (policy, weighted) in picks.items()
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure every family and print it."""
    options = arguments(__doc__ or "", rounds=31, calls=640, argv=argv, most=max(HOSTS + ROUTES + ENDPOINTS))
    for name, (figure, bodies) in families(options.most).items():
        sizes = list(bodies)
        again = f"{sizes[0]} again"
        variants = {str(sizes[0]): bodies[sizes[0]], again: bodies[sizes[0]]}
        variants |= {str(size): bodies[size] for size in sizes[1:]}
        comparison = compare(name, variants, rounds=options.rounds, calls=options.calls, again=again)
        emit(comparison)
        if figure:
            _emit_growth(figure, comparison, sizes[-1])
    print(json.dumps({"benchmark": "decision", "done": True}))


def _emit_growth(figure: str, comparison: Comparison, largest: int) -> None:
    assert comparison.again is not None
    noise = abs(comparison.ratio(comparison.again).value - 1)
    emit_figure(figure, comparison.ratio(str(largest)), "×", noise=noise)


if __name__ == "__main__":
    main()
