"""Production YAML in a unit test: simulations on virtual time, scripted upstreams, and the fakes they are made of.

:class:`Simulation` is where to begin. Names are imported when they are first used: the
pytest plugin lies here too, and must cost nothing where it is not used.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from meshlib.testing.access import Decided, Decisions
    from meshlib.testing.clock import VirtualClock
    from meshlib.testing.latency import exponential, lognormal, sampled, uniform
    from meshlib.testing.loads import Bursts, Every, Poisson, Users
    from meshlib.testing.loop import VirtualLoop, run_virtual
    from meshlib.testing.memory_loop import StuckError
    from meshlib.testing.messages import Break, UpstreamRequest
    from meshlib.testing.recording import Recording
    from meshlib.testing.replaying import Change, Replay, replay
    from meshlib.testing.results import Attempt, Call, Calls
    from meshlib.testing.service import Service
    from meshlib.testing.simulation import Simulation
    from meshlib.testing.transport import Answer, ScriptedTransport, SyncScriptedTransport
    from meshlib.testing.upstreams import Upstream

__all__ = [
    "Answer",
    "Attempt",
    "Break",
    "Bursts",
    "Call",
    "Calls",
    "Change",
    "Decided",
    "Decisions",
    "Every",
    "Poisson",
    "Recording",
    "Replay",
    "ScriptedTransport",
    "Service",
    "Simulation",
    "StuckError",
    "SyncScriptedTransport",
    "Upstream",
    "UpstreamRequest",
    "Users",
    "VirtualClock",
    "VirtualLoop",
    "exponential",
    "lognormal",
    "replay",
    "run_virtual",
    "sampled",
    "uniform",
]

_HOMES = {
    "Answer": "transport",
    "Attempt": "results",
    "Break": "messages",
    "Bursts": "loads",
    "Call": "results",
    "Calls": "results",
    "Change": "replaying",
    "Decided": "access",
    "Decisions": "access",
    "Every": "loads",
    "Poisson": "loads",
    "Recording": "recording",
    "Replay": "replaying",
    "ScriptedTransport": "transport",
    "Service": "service",
    "Simulation": "simulation",
    "StuckError": "memory_loop",
    "SyncScriptedTransport": "transport",
    "Upstream": "upstreams",
    "UpstreamRequest": "messages",
    "Users": "loads",
    "VirtualClock": "clock",
    "VirtualLoop": "loop",
    "exponential": "latency",
    "lognormal": "latency",
    "replay": "replaying",
    "run_virtual": "loop",
    "sampled": "latency",
    "uniform": "latency",
}


def __getattr__(name: str) -> object:
    """Import a public name on its first use (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    value: object = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
