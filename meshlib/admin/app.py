"""The admin interface of the meshes of one process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable

from meshlib._runtime import forked
from meshlib.admin.asgi import Interface
from meshlib.admin.endpoints import Endpoints
from meshlib.admin.feed import Feed
from meshlib.admin.guard import Guard
from meshlib.admin.member import Governed, name_members
from meshlib.admin.messages import Answer, Ask, BadAskError, problem

__all__ = ["AdminApp"]


class AdminApp(Interface):
    """The admin interface of one or several meshes of this process.

    It answers loopback addresses only (``allow_remote=True``: all) under loopback names
    and ``allowed_hosts``, and changes nothing (``allow_control=True``: faults can be set).
    Mount it in an ASGI application, or serve it on a port of its own. Behind
    ``allow_remote`` the authentication is yours: put a middleware around it.
    """

    def __init__(
        self,
        meshes: Iterable[Governed],
        *,
        allow_control: bool = False,
        allow_remote: bool = False,
        allowed_hosts: Iterable[str] = (),
    ) -> None:
        self._members = name_members(list(meshes))
        clock = self._members[0].runtime.clock
        super().__init__(Guard(allow_remote=allow_remote, allowed_hosts=allowed_hosts), Feed(clock.time))
        for member in self._members:
            self.feed.add(member.name, member.runtime.observe)
        self._endpoints = Endpoints(self._members, clock.time, allow_control=allow_control)
        if hasattr(os, "register_at_fork"):
            forked.watch(self)

    def close(self) -> None:
        """Listen to the meshes no more. The page then shows what it has."""
        self.feed.detach()
        for member in self._members:
            member.tally.stop()

    async def reply(self, ask: Ask) -> Answer:
        """In a thread: the dump of a large mesh must not stall the application's event loop."""
        return await asyncio.to_thread(self._endpoints.answer, ask)

    def answer(self, ask: Ask) -> Answer:
        """The answer to a request for anything but ``/events``; blocks while it is made."""
        refused = self.refusal(ask)
        if refused is not None:
            return refused
        try:
            return self._endpoints.answer(ask)
        except BadAskError as error:
            return problem(str(error), error.status)

    def reset_after_fork(self) -> None:
        """In a forked child: new locks; what the parent has counted is the parent's."""
        self.feed.reset_after_fork()
        for member in self._members:
            member.tally.reset_after_fork()
            member.faults.reset_after_fork()

    def __repr__(self) -> str:
        return f"<AdminApp members={len(self._members)} {self.feed!r}>"
