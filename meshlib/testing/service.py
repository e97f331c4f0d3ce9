"""A workload of a simulation: it makes requests by the configuration as it sees it."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from meshlib._drivers import agovern
from meshlib._engine.commands import Copy, LocalReply, Send
from meshlib._engine.good_responses import Taped
from meshlib._explain import Explanation, explain
from meshlib._http import Failure, Headers, Outcome, RequestHead, Response
from meshlib._runtime import Runtime
from meshlib.mesh import request_head
from meshlib.testing.exchange import SimulatedExchange
from meshlib.testing.loads import Every, Load, Users, launch, one_by_one, run_users
from meshlib.testing.messages import UpstreamRequest, may_have_body
from meshlib.testing.results import Attempt, Call, Calls
from meshlib.testing.transport import Answer
from meshlib.workload import Workload

if TYPE_CHECKING:
    from meshlib.testing.world import World

__all__ = ["Service"]

_NO_HEADERS: Final[Mapping[str, str]] = {}
Each: TypeAlias = "str | Callable[[int], str]"
EachHeaders: TypeAlias = "Mapping[str, str] | Callable[[int], Mapping[str, str]] | None"


class Service:
    """One workload of a simulation. ``name`` is what the timeline calls it."""

    def __init__(self, world: World, name: str, workload: Workload, runtime: Runtime) -> None:
        self.world = world
        self.name = name
        self.workload = workload
        self.runtime = runtime
        self._heads: dict[str, RequestHead] = {}
        self.opened: Counter[tuple[str, str]] = Counter()
        """Its connections to each ``address:port``, by cluster, where it is limited how many may be pending."""

    # -- one request ---------------------------------------------------------------------------------

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: object = b"",
        number: int = 0,
    ) -> Call:
        """Make one request; for code that runs in the simulation, such as a handler. Redirects are not followed."""
        given = headers or _NO_HEADERS
        world = self.world
        world.require_loop()
        call = Call(number, method, url, self, given)
        head, fields = self._head(method, url, given)
        exchange = self.runtime.begin(head, fields, _always)
        assert isinstance(exchange, SimulatedExchange)
        transport = _Transport(world, self, exchange, head, fields, _content(body, fields))
        call.attempts = transport.attempts
        call.started = exchange.started
        exchange.is_clients = False
        try:
            reply = await agovern(exchange, transport, world.timers)
        finally:
            world.coverage.note(exchange)
        if isinstance(reply, LocalReply):
            call.body, call.headers = reply.body, Headers(reply.headers)
        else:
            answer: Answer = reply.handle
            if isinstance(reply, Taped):
                reply.tape.feed(answer.body)
                reply.tape.keep()
            call.body, call.headers = answer.body, reply.headers
            if exchange.changes_response:
                changed = Headers(reply.headers)
                exchange.mutate_response(changed)
                call.headers = changed
            exchange.finish()
        if not may_have_body(head.method, reply.status):
            call.body = b""
        call.status = reply.status
        call.latency = world.clock.monotonic() - call.started
        call.flags, call.details = exchange.flags, exchange.details
        call.route = exchange.route.name if exchange.route is not None else ""
        call.destination = exchange.live.cluster.name if exchange.live is not None else ""
        return call

    def _head(self, method: str, url: str, given: Mapping[str, str]) -> tuple[RequestHead, Headers]:
        """As :func:`meshlib.mesh.request_head`, which takes a URL apart anew each time."""
        known = self._heads.get(url)
        if known is None:
            known = self._heads[url] = request_head(method, url, _NO_HEADERS)
            known.change_path(self.runtime.plain_path(known.path))  # as clients have it
        fields = Headers(given)
        authority = fields.setdefault("host", known.authority)
        head = RequestHead(
            method.upper(), known.scheme, authority, known.path, fields, port=known.port, host=known.host
        )
        return head, fields

    def request(self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: object = b"") -> Call:
        """Make one request and wait for its answer."""
        return self.world.blocking.wait(self.call(method, url, headers=headers, body=body))

    def get(self, url: str, *, headers: Mapping[str, str] | None = None) -> Call:
        """GET, and wait for the answer."""
        return self.request("GET", url, headers=headers)

    # -- many ------------------------------------------------------------------------------------------

    def send(
        self,
        method: str,
        url: Each,
        *,
        times: int = 1,
        every: float | None = None,
        load: Load | Users | None = None,
        headers: EachHeaders = None,
        body: object = b"",
    ) -> Calls:
        """Make ``times`` requests and wait until all are answered.

        One after another, unless ``every`` (seconds) or a ``load`` says when each starts.
        ``url`` and ``headers`` may be functions of the request's number, which counts from 0.
        """
        calls, work = self._plan(method, url, times, _load(every, load), headers, body)
        self.world.blocking.wait(work)
        calls.freeze()
        return calls

    def start(
        self,
        method: str,
        url: Each,
        *,
        times: int,
        every: float | None = None,
        load: Load | Users | None = None,
        headers: EachHeaders = None,
        body: object = b"",
    ) -> Calls:
        """As :meth:`send`, in the background: the calls appear in the result as virtual time passes."""
        calls, work = self._plan(method, url, times, _load(every, load), headers, body)
        self.world.background(work)
        return calls

    def _plan(
        self, method: str, url: Each, times: int, load: Load | Users | None, headers: EachHeaders, body: object
    ) -> tuple[Calls, Coroutine[Any, Any, None]]:
        if times < 0:
            raise ValueError(f"times is {times}, it is to be 0 or more")
        made: list[Call | None] = []
        calls = Calls(made, self.world.timeline, self.name)

        async def one(number: int) -> None:
            made.append(None)
            place = len(made) - 1
            fields = headers(number) if callable(headers) else headers
            target = url(number) if callable(url) else url
            made[place] = await self.call(method, target, headers=fields, body=body, number=number)

        if load is None:
            work = one_by_one(one, times)
        elif isinstance(load, Users):
            work = run_users(one, times, load, self.world.load_chance())
        else:
            instants = load.instants(self.world.load_chance())
            work = launch(one, itertools.islice(instants, times))
        return calls, work

    # -- questions ------------------------------------------------------------------------------------

    def explain(self, method: str, url: str, *, headers: Mapping[str, str] | None = None) -> Explanation:
        """What the mesh would do with a request of this workload, and why. Sends nothing."""
        return explain(self.runtime.published.snapshot, request_head(method, url, headers or {}))

    @property
    def ejected(self) -> list[str]:
        """Endpoints that are out just now, as this workload sees it."""
        return sorted(
            {host.key for live in self.runtime.clusters().values() for host in live.endpoints if host.is_ejected}
        )

    def __repr__(self) -> str:
        return f"<Service {self.name} in {self.workload.namespace}>"


def _always() -> bool:
    return True


def _load(every: float | None, load: Load | Users | None) -> Load | Users | None:
    if every is not None and load is not None:
        raise ValueError("give either every= or load=")
    if every is not None and every < 0:
        raise ValueError(f"every is {every!r} seconds, it is to be 0 or more")
    return Every(every) if every is not None else load


def _content(body: object, fields: Headers) -> bytes:
    if isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode()
    fields.setdefault("content-type", "application/json")
    return json.dumps(body).encode()


class _Transport:
    """The way of one call to its upstreams."""

    __slots__ = ("_body", "_exchange", "_fields", "_head", "_service", "attempts", "world")

    def __init__(
        self,
        world: World,
        service: Service,
        exchange: SimulatedExchange,
        head: RequestHead,
        fields: Headers,
        body: bytes,
        attempts: list[Attempt] | None = None,
    ) -> None:
        self.world = world
        self._service = service
        self._exchange = exchange
        self._head = head
        self._fields = fields
        self._body = body
        self.attempts: list[Attempt] = [] if attempts is None else attempts

    async def send(self, send: Send) -> Outcome:
        clock, cluster, endpoint, head = self.world.clock, send.cluster, send.endpoint, self._head
        started = clock.monotonic()
        place = head.host, cluster.original_port or head.port
        where = endpoint.key if endpoint is not None else f"{place[0]}:{place[1]}"
        attempt = Attempt(cluster.name, cluster.subset, where, started)
        self.attempts.append(attempt)
        request = UpstreamRequest(
            head.method, send.path or head.path, send.authority or head.authority, self._fields, self._body
        )
        try:
            outcome = await self.world.serve(self._service, cluster, endpoint, request, place, self._exchange)
        except asyncio.CancelledError:
            attempt.duration = clock.monotonic() - started
            is_late = send.timeout is not None and attempt.duration >= send.timeout - 1e-9
            attempt.failure = "timeout" if is_late else "local reset"
            raise
        attempt.duration = clock.monotonic() - started
        if type(outcome) is Response:
            attempt.status, attempt.failure = outcome.status, ""
        else:
            assert isinstance(outcome, Failure)
            attempt.failure = outcome.kind.value
        return outcome

    async def discard(self, response: Response) -> None:
        """Nothing holds a response."""

    def beside(self, headers: Headers) -> _Transport:
        """The same request, for an attempt at the same time."""
        return _Transport(self.world, self._service, self._exchange, self._head, headers, self._body, self.attempts)

    def adopt(self, winner: _Transport) -> None:
        """The attempts are in one list."""

    def mirror(self, copy: Copy) -> None:
        """A copy arrives in the background, and its answer is dropped."""
        head = self._head
        request = UpstreamRequest(
            head.method, copy.path or head.path, head.authority, Headers(self._fields), self._body
        )
        self.world.background(self.world.serve(self._service, copy.cluster, copy.endpoint, request, ("", 0)))
