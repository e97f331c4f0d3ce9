"""DNS by a script: names of ServiceEntries get addresses, for as long as their time to live on the virtual clock."""

from __future__ import annotations

from collections.abc import Callable

from meshlib._compile.hosts import is_address
from meshlib._names.lookup import Answer
from meshlib._names.resolver import Resolver
from meshlib._runtime import Runtime
from meshlib._snapshot.snapshot import Snapshot

__all__ = ["ScriptedNames"]


class ScriptedNames:
    """The answers of the name servers. Names that none were given for stay names. ``on_news`` gets each snapshot."""

    def __init__(self, on_news: Callable[[Snapshot], None]) -> None:
        self._answers: dict[str, Answer] = {}
        self._resolvers: list[_Resolver] = []
        self._on_news = on_news

    def answer(self, name: str, addresses: tuple[str, ...], ttl: float) -> None:
        """What is answered for a name from now on; without addresses that there is no such name."""
        if wrong := [one for one in addresses if not is_address(one)]:
            raise ValueError(f"{wrong[0]!r} is no address; {name} resolves to addresses, such as '192.0.2.1'")
        self._refresh()  # what was due before got the answer of then
        self._answers[name] = Answer(addresses, ttl)
        self._refresh()

    def _refresh(self) -> None:
        for resolver in self._resolvers if self._answers else ():
            resolver.refresh()

    def look_up(self, name: str) -> Answer | None:
        """As a name server would; None for a name that no answer was given for."""
        return self._answers.get(name)

    def serve(self, runtime: Runtime) -> None:
        """The runtime resolves by these answers."""
        resolver = _Resolver(runtime, self.look_up, self._on_news)
        self._resolvers.append(resolver)
        if self._answers:
            resolver.refresh()


class _Resolver(Resolver):
    """The mesh's own, without threads: what is due is looked up before the next request."""

    def __init__(
        self, runtime: Runtime, lookup: Callable[[str], Answer | None], on_news: Callable[[Snapshot], None]
    ) -> None:
        super().__init__(runtime, lookup)
        self._runtime = runtime
        self._on_news = on_news
        self._seen: Snapshot | None = None
        self._next = 0.0

    def refresh(self) -> None:
        """Look up what is due, now and before each request."""
        runtime = self._runtime
        runtime.on_use = self.refresh
        if runtime.compiled is self._seen and runtime.clock.monotonic() < self._next:
            return
        self._seen = runtime.compiled
        before = runtime.published.snapshot
        self.step()
        self._next = min(self._due.values(), default=float("inf"))
        if runtime.published.snapshot is not before:
            self._on_news(runtime.published.snapshot)

    def _begin(self, name: str) -> None:
        """The answer comes at once."""
        self._look_up(name)
