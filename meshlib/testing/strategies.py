"""Hypothesis strategies: requests, outages and routing configurations, for statements about all of them.

"No single endpoint failure may surface as an error"::

    @given(outage=outages(["10.0.0.1:9080", "10.0.0.2:9080"]))
    def test_it(outage):
        with Simulation("mesh/") as sim:
            outage.strike(sim.upstream("reviews"))
            assert sim.send("GET", "http://reviews/", times=50).statuses == {200: 50}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from meshlib.testing.messages import FAILURES, Way

if TYPE_CHECKING:
    from meshlib.testing.upstreams import Upstream

__all__ = ["DrawnRequest", "Outage", "outages", "requests", "splits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnRequest:
    """One request: what to hand to ``sim.request()``."""

    method: str
    url: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """Some endpoints fail in one way (a status, or one of :data:`Way`), from ``after`` for ``lasting`` seconds."""

    endpoints: tuple[str, ...]
    way: Way | int
    after: float
    lasting: float
    probability: float

    def strike(self, upstream: Upstream) -> None:
        """Let it happen."""
        for endpoint in self.endpoints:
            part = upstream.endpoint(endpoint)
            when: dict[str, Any] = {
                "after": self.after,
                "lasting": self.lasting,
                "probability": self.probability,
            }
            if isinstance(self.way, int):
                part.respond(self.way, **when)
            else:
                part.fail(self.way, **when)


def requests(
    host: str,
    *,
    methods: Sequence[str] = ("GET", "HEAD", "POST", "PUT", "DELETE"),
    paths: Sequence[str] = ("/",),
    headers: Sequence[str] = (),
) -> st.SearchStrategy[DrawnRequest]:
    """Requests to ``host`` (a name, with a port if need be): drawn methods, paths beneath ``paths``, header values."""
    words = st.text("abcdefghijklmnopqrstuvwxyz0123456789-._~", max_size=12)
    tails = st.one_of(st.just(""), words, words.map(lambda word: f"?{word}=1"))
    values = st.text("abcdefghijklmnopqrstuvwxyz0123456789 -_", max_size=12).map(str.strip)
    return st.builds(
        lambda method, path, tail, fields: DrawnRequest(
            method=method, url=f"http://{host}{path}{tail}", headers=dict(fields)
        ),
        st.sampled_from(methods),
        st.sampled_from(paths),
        tails,
        st.dictionaries(st.sampled_from(headers), values) if headers else st.just({}),
    )


def outages(
    endpoints: Sequence[str],
    *,
    at_most: int = 1,
    ways: Sequence[Way | int] = (*FAILURES, 500, 502, 503, 504),
    within: float = 60.0,
) -> st.SearchStrategy[Outage]:
    """Outages of up to ``at_most`` of the endpoints (``address:port``), beginning and ending ``within`` seconds."""
    return st.builds(
        lambda chosen, way, after, lasting, probability: Outage(
            endpoints=tuple(sorted(chosen)), way=way, after=after, lasting=lasting, probability=probability
        ),
        st.sets(st.sampled_from(endpoints), min_size=1, max_size=at_most),
        st.sampled_from(ways),
        st.floats(0.0, within / 2),
        st.floats(0.1, within / 2),
        st.sampled_from((0.1, 0.5, 1.0)),
    )


def splits(host: str, subsets: Sequence[str], *, namespace: str = "default") -> st.SearchStrategy[dict[str, Any]]:
    """VirtualServices that split a host's requests over its subsets by drawn weights, which add up to 100."""
    cuts = st.lists(st.integers(0, 100), min_size=len(subsets) - 1, max_size=len(subsets) - 1).map(sorted)

    def build(cuts: list[int]) -> dict[str, Any]:
        ends = [0, *cuts, 100]
        route = [
            {"destination": {"host": host, "subset": subset}, "weight": ends[place + 1] - ends[place]}
            for place, subset in enumerate(subsets)
        ]
        return {
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": {"name": host.partition(".")[0], "namespace": namespace},
            "spec": {"hosts": [host], "http": [{"route": route}]},
        }

    return cuts.map(build)
