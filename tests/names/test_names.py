"""Endpoints of DNS clusters: addresses in place of names, looked up in the background, the last good answer kept."""

from __future__ import annotations

import gc
import logging
import socket
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import dns.message
import dns.rcode
import dns.rdatatype
import dns.resolver
import dns.rrset
import pytest

from meshlib import Mesh
from meshlib._names import Answer, Names, Resolver, system_lookup
from meshlib._names.lookup import best_lookup
from meshlib._runtime import Runtime
from meshlib._snapshot.clusters import Cluster, Discovery, Endpoint
from meshlib._snapshot.snapshot import Snapshot
from meshlib.testing import VirtualClock
from tests.patience import PATIENCE


def entry(resolution: str, endpoints: str = "[{address: a.test}, {address: b.test, weight: 3}]") -> str:
    """A ServiceEntry whose endpoints are names."""
    return (
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: s, namespace: default}\n"
        "spec:\n  hosts: [s.example.com]\n  ports: [{number: 80, name: http, protocol: HTTP}]\n"
        f"  resolution: {resolution}\n  endpoints: {endpoints}\n"
    )


def snapshot(resolution: str = "DNS", **more: Any) -> Snapshot:
    return Mesh.load(entry(resolution, **more)).snapshot


CLUSTER = "outbound|80||s.example.com"


class Script:
    """Answers of a name server, each name's in order; the last one stays. An exception is a failure."""

    def __init__(self, **answers: list[Any]) -> None:
        self.answers = {name.replace("_", "."): list(found) for name, found in answers.items()}
        self.asked: list[str] = []

    def __call__(self, name: str) -> Answer:
        self.asked.append(name)
        left = self.answers[name]
        found = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(found, Exception):
            raise found
        return found if isinstance(found, Answer) else Answer(tuple(found))


def keys(runtime: Runtime) -> list[str]:
    return [one.endpoint.key for one in runtime.clusters()[CLUSTER].endpoints]


def settle(resolver: Resolver) -> float:
    """One step, and all look-ups that it began."""
    before = set(threading.enumerate())
    wait = resolver.step()
    for thread in set(threading.enumerate()) - before:
        thread.join(PATIENCE)
    return wait


# -- what becomes of a snapshot ----------------------------------------------------------------------------


def test_every_address_of_a_name_is_an_endpoint_with_what_its_name_has() -> None:
    """Weight, labels and port stay; an address that two names share counts once."""
    names = Names()
    assert names.learn("a.test", Answer(("10.0.0.1", "10.0.0.2")))
    assert names.learn("b.test", Answer(("10.0.0.2", "10.0.0.3")))
    cluster = names.resolved(snapshot()).clusters[CLUSTER]
    found = [(one.address, one.port, one.weight) for one in cluster.endpoints]
    assert found == [("10.0.0.1", 80, 1), ("10.0.0.2", 80, 1), ("10.0.0.3", 80, 3)]


def test_a_name_that_is_not_known_stays() -> None:
    """Its requests are resolved by the client library until there is an answer."""
    names = Names()
    before = snapshot()
    assert names.resolved(before) is before
    names.learn("a.test", Answer(("10.0.0.1",)))
    assert [one.address for one in names.resolved(before).clusters[CLUSTER].endpoints] == ["10.0.0.1", "b.test"]


def test_logical_dns_uses_the_first_address() -> None:
    """DNS_ROUND_ROBIN, as Envoy's logical DNS."""
    names = Names()
    names.learn("a.test", Answer(("10.0.0.1", "10.0.0.2")))
    resolved = names.resolved(snapshot("DNS_ROUND_ROBIN", endpoints="[{address: a.test}]"))
    assert [one.address for one in resolved.clusters[CLUSTER].endpoints] == ["10.0.0.1"]


def test_another_order_is_no_news() -> None:
    """Name servers turn their answers round; ejections and connections must not suffer."""
    names = Names()
    assert names.learn("a.test", Answer(("10.0.0.1", "10.0.0.2")))
    assert not names.learn("a.test", Answer(("10.0.0.2", "10.0.0.1")))


def test_addresses_and_sockets_are_not_looked_up() -> None:
    """Nor endpoints of clusters that are not DNS."""
    endpoints = (Endpoint(address="10.0.0.1", port=80), Endpoint(address="::1", port=80))
    found = {
        "a": Cluster(name="a", host="a", port=80, discovery=Discovery.DNS, endpoints=endpoints),
        "b": Cluster(name="b", host="b", port=80, endpoints=(Endpoint(address="b.test", port=80),)),
    }
    lookup = Script()
    settle(Resolver(Runtime(Snapshot(clusters=found), clock=VirtualClock()), lookup))
    assert lookup.asked == []


# -- in time -----------------------------------------------------------------------------------------------


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


def test_answers_are_renewed_when_they_end(clock: VirtualClock) -> None:
    """By their time to live, and each name by its own."""
    lookup = Script(a_test=[Answer(("10.0.0.1",), 5.0), Answer(("10.0.0.9",), 5.0)], b_test=[["10.0.0.3"]])
    runtime = Runtime(snapshot(), clock=clock)
    resolver = Resolver(runtime, lookup)
    settle(resolver)
    assert keys(runtime) == ["10.0.0.1:80", "10.0.0.3:80"]
    clock.advance(4.9)
    assert settle(resolver) == pytest.approx(0.1)
    assert sorted(lookup.asked) == ["a.test", "b.test"]
    clock.advance(0.1)
    settle(resolver)
    assert keys(runtime) == ["10.0.0.9:80", "10.0.0.3:80"]
    assert sorted(lookup.asked) == ["a.test", "a.test", "b.test"]


def test_a_failure_takes_nothing_away(clock: VirtualClock, caplog: pytest.LogCaptureFixture) -> None:
    """The last good answer stays, and the next try comes after dnsRefreshRate (60 s); said once."""
    down = socket.gaierror(socket.EAI_AGAIN, "try again")
    lookup = Script(a_test=[Answer(("10.0.0.1",), 5.0), down, down, ["10.0.0.2"]], b_test=[down])
    runtime = Runtime(snapshot(), clock=clock)
    resolver = Resolver(runtime, lookup)
    with caplog.at_level(logging.WARNING, "meshlib"):
        settle(resolver)
        clock.advance(5.0)
        settle(resolver)
        clock.advance(59.0)
        settle(resolver)
        assert lookup.asked.count("a.test") == 2
        clock.advance(1.0)
        settle(resolver)
    assert keys(runtime) == ["10.0.0.1:80", "b.test:80"]
    assert len([one for one in caplog.records if "a.test" in one.getMessage()]) == 1
    clock.advance(60.0)
    settle(resolver)
    assert keys(runtime) == ["10.0.0.2:80", "b.test:80"]


@pytest.mark.parametrize(("resolution", "left"), [("DNS", ["10.0.0.3:80"]), ("DNS_ROUND_ROBIN", ["10.0.0.1:80"])])
def test_a_name_that_is_gone_has_no_endpoint(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture, resolution: str, left: list[str]
) -> None:
    """As in Envoy 1.39 after NXDOMAIN, where only logical DNS keeps the address; looked for again each 60 s."""
    gone = Answer(())
    lookup = Script(a_test=[Answer(("10.0.0.1",), 5.0), gone, gone, Answer(("10.0.0.2",), 5.0)], b_test=[["10.0.0.3"]])
    names = {"endpoints": "[{address: a.test}]"} if resolution == "DNS_ROUND_ROBIN" else {}
    runtime = Runtime(snapshot(resolution, **names), clock=clock)
    resolver = Resolver(runtime, lookup)
    with caplog.at_level(logging.WARNING, "meshlib"):
        for seconds in (5.0, 59.0, 1.0):
            settle(resolver)
            clock.advance(seconds)
        assert keys(runtime) == left
        settle(resolver)
        assert keys(runtime) == left
    assert lookup.asked.count("a.test") == 3
    assert len([one for one in caplog.records if "a.test" in one.getMessage()]) == 1
    clock.advance(60.0)
    settle(resolver)
    assert keys(runtime)[0] == "10.0.0.2:80"


def test_state_of_addresses_that_stay_survives(clock: VirtualClock) -> None:
    """An ejection is by endpoint, whatever comes and goes beside it."""
    lookup = Script(a_test=[Answer(("10.0.0.1", "10.0.0.2"), 5.0), ["10.0.0.2", "10.0.0.4"]], b_test=[["10.0.0.3"]])
    runtime = Runtime(snapshot(), clock=clock)
    resolver = Resolver(runtime, lookup)
    settle(resolver)
    runtime.clusters()[CLUSTER].endpoints[1].consecutive_5xx = 4
    clock.advance(5.0)
    settle(resolver)
    assert keys(runtime) == ["10.0.0.2:80", "10.0.0.4:80", "10.0.0.3:80"]
    assert runtime.clusters()[CLUSTER].endpoints[0].consecutive_5xx == 4


def test_a_publish_keeps_the_addresses(clock: VirtualClock) -> None:
    """There is no moment at which the new configuration knows names only."""
    runtime = Runtime(snapshot(), clock=clock)
    settle(Resolver(runtime, Script(a_test=[["10.0.0.1"]], b_test=[["10.0.0.3"]])))
    runtime.publish(snapshot())
    assert keys(runtime) == ["10.0.0.1:80", "10.0.0.3:80"]


def test_a_name_server_that_hangs_holds_up_its_own_names_only(clock: VirtualClock) -> None:
    """Look-ups run side by side."""
    release, seen = threading.Event(), threading.Event()

    def lookup(name: str) -> Answer:
        if name == "a.test":
            release.wait(PATIENCE)
        else:
            seen.set()
        return Answer(("10.0.0.7",) if name == "a.test" else ("10.0.0.3",))

    runtime = Runtime(snapshot(), clock=clock)
    resolver = Resolver(runtime, lookup)
    before = set(threading.enumerate())
    resolver.step()
    threads = set(threading.enumerate()) - before
    assert seen.wait(PATIENCE)
    for thread in threads:
        if thread.name.endswith("b.test"):
            thread.join(PATIENCE)
    assert keys(runtime) == ["a.test:80", "10.0.0.3:80"]
    assert resolver.step() > 0  # a.test is not asked again meanwhile
    release.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert keys(runtime) == ["10.0.0.7:80", "10.0.0.3:80"]


# -- its thread --------------------------------------------------------------------------------------------


def names_threads() -> Iterator[threading.Thread]:
    return (one for one in threading.enumerate() if one.name == "meshlib-names")


def test_the_thread_starts_with_the_first_request_and_ends_with_its_owner() -> None:
    """Nothing is looked up by loading; a mesh that nobody has any more leaves no thread."""
    before = set(names_threads())
    resolved = threading.Event()
    runtime = Runtime(snapshot())
    resolver = Resolver(runtime, lambda _: resolved.set() or Answer(("127.0.0.1",)))  # type: ignore[func-returns-value]
    assert set(names_threads()) == before
    resolver.start()
    resolver.start()
    (thread,) = set(names_threads()) - before
    assert resolved.wait(PATIENCE)
    gone = weakref.ref(resolver)
    del resolver, runtime
    while gone() is not None:
        gc.collect()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_configuration_without_names_has_no_thread() -> None:
    """Most have none."""
    before = set(names_threads())
    Resolver(Runtime(Snapshot())).start()
    assert set(names_threads()) == before


def test_close_ends_the_thread() -> None:
    """And what is known stays."""
    before = set(names_threads())
    resolver = Resolver(Runtime(snapshot()), Script(a_test=[["10.0.0.1"]], b_test=[["10.0.0.2"]]))
    resolver.start()
    (thread,) = set(names_threads()) - before
    resolver.close()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_the_system_resolves_names_as_every_program_does() -> None:
    """IPv4 where there is any; what cannot be resolved is an OSError."""
    assert system_lookup("localhost").addresses in (("127.0.0.1",), ("::1",))
    assert best_lookup()("localhost").addresses in (("127.0.0.1",), ("::1",))
    with pytest.raises(OSError, match="resolve"):
        system_lookup("nowhere.test")
    with pytest.raises(OSError, match="no name of DNS"):
        system_lookup("a" * 64 + ".test")


# -- times to live -----------------------------------------------------------------------------------------


class NameServer:
    """A name server on loopback that knows the IPv4 addresses of one name."""

    def __init__(self, name: str, addresses: list[str], ttl: int) -> None:
        self._zone = {name: dns.rrset.from_text(f"{name}.", ttl, "IN", "A", *addresses)}
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            text, sender = self._socket.recvfrom(512)
            if not text:
                return
            question = dns.message.from_wire(text)
            answer = dns.message.make_response(question)
            found = self._zone.get(question.question[0].name.to_text(omit_final_dot=True))
            if found is None:
                answer.set_rcode(dns.rcode.NXDOMAIN)
            elif question.question[0].rdtype == dns.rdatatype.A:
                answer.answer.append(found)
            self._socket.sendto(answer.to_wire(), sender)

    def close(self) -> None:
        self._socket.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join(PATIENCE)
        self._socket.close()


@pytest.fixture
def name_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    server = NameServer("shop.test", ["10.0.0.1", "10.0.0.2"], 7)
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers, resolver.port, resolver.lifetime = ["127.0.0.1"], server.port, PATIENCE
    monkeypatch.setattr(dns.resolver, "default_resolver", resolver)
    yield server
    server.close()


@pytest.mark.usefixtures("name_server")
def test_the_extra_tells_times_to_live() -> None:
    """With dnspython an answer is good for as long as its name server says; what it does not know the system may."""
    lookup = best_lookup()
    found = lookup("shop.test")
    assert (sorted(found.addresses), found.ttl) == (["10.0.0.1", "10.0.0.2"], 7.0)  # in any order, as of any server
    assert lookup("localhost").ttl is None
    assert lookup("other.test").addresses == ()
    with pytest.raises(OSError, match="no name of DNS"):
        lookup("a..test")
