"""The functions of one mesh: their targets, and the breakers that were handed in for them."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from meshlib._calls.attempt import CallAttempt
from meshlib._calls.classification import Classify
from meshlib._calls.decorator import govern, run
from meshlib._calls.fallbacks import Fallback, LastGood
from meshlib._calls.pybreaker_gate import PybreakerGate
from meshlib._calls.target import DEFAULT_METHOD, Options, Target
from meshlib._calls.tenacity_rules import Retry, Stop, Wait, refuse_async
from meshlib._runtime import Runtime

if TYPE_CHECKING:
    from pybreaker import CircuitBreaker

__all__ = ["Calls"]

P = ParamSpec("P")
R = TypeVar("R")

_REMEMBERED: Final = 1024
_PLAIN: Final = Options()


class Calls:
    """Makes governed functions; see :class:`meshlib.Mesh` for what the arguments mean."""

    __slots__ = ("_gates", "_lock", "_runtime", "_targets")

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._lock = Lock()
        self._targets: dict[str, Target] = {}
        self._gates: dict[int, PybreakerGate] = {}  # by the breaker's id; a gate keeps its breaker alive

    def decorator(
        self,
        host: str,
        *,
        subset: str | None,
        port: int | None,
        method: str | None,
        fallback: Fallback | None,
        classify: Classify | None,
        stop: Stop | None,
        wait: Wait | None,
        retry: Retry | None,
        breaker: CircuitBreaker | None,
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """What makes a function a governed one."""
        refuse_async(stop=stop, wait=wait, retry=retry, classify=classify)
        _check_host(host)
        if fallback is not None and not (callable(fallback) or isinstance(fallback, LastGood)):
            raise TypeError(f"fallback is {fallback!r}, it is to be a function of the call's arguments, or a LastGood")
        options = Options(
            subset=subset or "",
            port=port,
            method=(method or DEFAULT_METHOD).upper(),
            fallback=fallback,
            classify=classify,
            stop=stop,
            wait=wait,
            retry=retry,
            gate=None if breaker is None else self._gate(breaker),
        )
        return lambda function: govern(function, Target(self._runtime, host, options))

    def run(self, host: str, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call a function once."""
        return run(self._target(host), function, *args, **kwargs)

    def attempt(self, host: str) -> CallAttempt:
        """A block of code as one attempt."""
        return CallAttempt(self._target(host))

    def _target(self, host: str) -> Target:
        target = self._targets.get(host)
        if target is None:
            _check_host(host)
            with self._lock:
                if len(self._targets) >= _REMEMBERED:
                    self._targets.clear()
                target = self._targets[host] = Target(self._runtime, host, _PLAIN)
        return target

    def _gate(self, breaker: CircuitBreaker) -> PybreakerGate:
        """The gate of a breaker: one for all functions that it was handed in for."""
        with self._lock:
            gate = self._gates.get(id(breaker))
            if gate is None:
                gate = self._gates[id(breaker)] = PybreakerGate(breaker, self._runtime.clock)
            return gate

    def __repr__(self) -> str:
        return f"<Calls hosts={len(self._targets)} breakers={len(self._gates)}>"


def _check_host(host: object) -> None:
    """Raise for what no rule can be for; it would be called by no policy, and nobody would notice."""
    if not isinstance(host, str):
        raise TypeError(f'{host!r} is no host; write @mesh.call("reviews") above the function')
    if not host or "/" in host or any(character.isspace() for character in host):
        raise ValueError(f"{host!r} is no host; write it as VirtualServices do, without scheme and path: reviews")
