"""The engine's exchange in a simulation: the very same steps; where blocking code drives them, waits are virtual."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from meshlib._drivers import take_turn
from meshlib._engine.commands import Backoff, Copy, Race, Reply, Send, Steps, Wait
from meshlib._engine.exchange import Exchange
from meshlib._engine.published import Published
from meshlib._http import Failure, Headers, Outcome, RequestHead
from meshlib._snapshot.clusters import UNLIMITED
from meshlib.testing.messages import UpstreamRequest

if TYPE_CHECKING:
    from meshlib.testing.service import Service

__all__ = ["SimulatedExchange"]

# Clients that send mirrored copies beside the transport that a simulation gives them.
_SEND_COPIES: Final = ("meshlib.adapters.httpx", "meshlib.adapters.urllib3")


class SimulatedExchange(Exchange):
    """Tells the world of the simulation what it did, and waits on its clock.

    ``limit`` is the attempt's timeout. ``is_clients``: a real client drives it; who drives it on the simulation's own
    loop, and takes note of it, says so. ``is_connecting``: its connection is pending; ``is_refused``: it will not come.
    """

    def __init__(
        self,
        service: Service,
        published: Published,
        request: RequestHead,
        headers: Headers,
        can_replay: Callable[[], bool],
    ) -> None:
        super().__init__(published, request, headers, can_replay)
        self._service = service
        self.limit: float | None = None
        self.is_clients = True
        self.is_connecting = False
        self.is_refused = False

    def connecting(self) -> bool:
        """As the engine does, unless a connection of the endpoint is idle: as many stay open as were needed at once."""
        live, host = self.live, self.endpoint
        if live is None or live.max_pending >= UNLIMITED:
            return True
        if host is not None and host.active <= self._service.opened[live.cluster.name, host.key]:
            return True  # it is active already itself
        self.is_connecting, self.is_refused = super().connecting(), False
        return self.is_connecting

    def connected(self) -> None:
        """As the engine does, where a connection was made. It stays open if it may carry a second request."""
        if not self.is_connecting:
            return
        self.is_connecting = False
        super().connected()
        live, host = self.live, self.endpoint
        if live is None or host is None or self.is_refused:
            return
        if live.cluster.policy.connection_pool.max_requests_per_connection != 1:
            self._service.opened[live.cluster.name, host.key] += 1

    def _end_attempt(self, outcome: Outcome) -> Reply | None:
        """As the engine does; what broke off, or was cut off, has lost its connection."""
        if isinstance(outcome, Failure) and outcome.sent:
            self._lose_connection()
        return super()._end_attempt(outcome)

    def abandon(self) -> None:
        """As the engine does; whoever gives up closes the connection that answers too late."""
        if self._is_counted:
            self._lose_connection()
        super().abandon()

    def _lose_connection(self) -> None:
        if self.live is not None and self.endpoint is not None:
            key = self.live.cluster.name, self.endpoint.key
            self._service.opened[key] = max(self._service.opened[key] - 1, 0)

    def start(self) -> Send | Reply | None:
        """As the engine does; nothing at one go for real clients, of which the simulation wants to see every step."""
        return None if self.is_clients else super().start()

    def steps(self) -> Steps:
        """As the engine does; for real clients counted for the coverage report."""
        return self._clients_steps() if self.is_clients else super().steps()

    def _clients_steps(self) -> Steps:
        world = self._service.world
        steps = super().steps()
        try:
            if asyncio._get_running_loop() is not world.loop:
                return (yield from self._watched(steps, is_blocking=True))
            if type(self.request).__module__.startswith(_SEND_COPIES):
                return (yield from self._watched(steps, is_blocking=False))
            return (yield from steps)
        finally:
            world.coverage.note(self)

    def _watched(self, steps: Steps, *, is_blocking: bool) -> Steps:
        """Do here what the client would do in real time or over a real connection."""
        blocking = self._service.world.blocking
        try:
            command = next(steps)
            while True:
                if type(command) is Copy:
                    self._send_copy(command)
                    command = steps.send(None)
                    continue
                if is_blocking and type(command) is Wait:
                    blocking.wait(take_turn(command))
                    command = steps.send(None)
                    continue
                if is_blocking and type(command) is Backoff and command.seconds > 0.0:
                    blocking.sleep(command.seconds)
                    command = Backoff(0.0, command.discard)
                elif type(command) is Race and is_blocking:
                    command = command.first  # one thread at a time: no second attempt beside it
                if type(command) is Send:
                    self.limit = command.timeout
                command = steps.send((yield command))
        except StopIteration as done:
            reply: Reply = done.value
            return reply
        finally:
            steps.close()

    def _send_copy(self, copy: Copy) -> None:
        """A mirrored copy, without the body: only the client has that."""
        head, world = self.request, self._service.world
        request = UpstreamRequest(head.method, copy.path or head.path, head.authority, Headers(self.headers))
        world.background(world.serve(self._service, copy.cluster, copy.endpoint, request, ("", 0)))
