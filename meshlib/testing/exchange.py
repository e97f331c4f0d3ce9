"""The engine's exchange in a simulation: the very same steps; where blocking code drives them, waits are virtual."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from meshlib._drivers import take_turn
from meshlib._engine.commands import Backoff, Reply, Steps, Wait
from meshlib._engine.exchange import Exchange
from meshlib._engine.published import Published
from meshlib._http import Headers, RequestHead

if TYPE_CHECKING:
    from meshlib.testing.world import World

__all__ = ["SimulatedExchange"]


class SimulatedExchange(Exchange):
    """Tells the world of the simulation what it did, and waits on its clock."""

    __slots__ = ("_world",)

    def __init__(
        self,
        world: World,
        published: Published,
        request: RequestHead,
        headers: Headers,
        can_replay: Callable[[], bool],
    ) -> None:
        super().__init__(published, request, headers, can_replay)
        self._world = world

    def steps(self) -> Steps:
        """The engine's, counted for the coverage report."""
        world = self._world
        steps = super().steps()
        try:
            if asyncio._get_running_loop() is world.loop:
                return (yield from steps)
            return (yield from self._paced(steps))
        finally:
            world.coverage.note(self)

    def _paced(self, steps: Steps) -> Steps:
        """Wait here, on virtual time, so that a blocking driver has nothing left to sleep for."""
        blocking = self._world.blocking
        try:
            command = next(steps)
            while True:
                if type(command) is Wait:
                    blocking.wait(take_turn(command))
                    command = steps.send(None)
                    continue
                if type(command) is Backoff and command.seconds > 0.0:
                    blocking.sleep(command.seconds)
                    command = Backoff(0.0, command.discard)
                command = steps.send((yield command))
        except StopIteration as done:
            reply: Reply = done.value
            return reply
        finally:
            steps.close()
