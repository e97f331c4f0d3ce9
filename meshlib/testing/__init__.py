"""Fakes for tests: time that stands still until told, and upstreams that follow a script."""

from meshlib.testing.clock import VirtualClock
from meshlib.testing.loop import VirtualLoop, run_virtual
from meshlib.testing.transport import Answer, ScriptedTransport, SyncScriptedTransport

__all__ = [
    "Answer",
    "ScriptedTransport",
    "SyncScriptedTransport",
    "VirtualClock",
    "VirtualLoop",
    "run_virtual",
]
