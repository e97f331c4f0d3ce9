"""The one reader of keys of each runtime, and what the metrics show of it."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from meshlib._inbound.keys import KeyManager
from meshlib._runtime import Runtime

__all__ = ["key_manager"]

_managers: WeakKeyDictionary[Runtime, KeyManager] = WeakKeyDictionary()


def key_manager(runtime: Runtime) -> KeyManager:
    """The one reader of keys of a runtime, however many servers it has."""
    manager = _managers.get(runtime)
    if manager is None:
        manager = _managers[runtime] = KeyManager()
        runtime.views.append(manager.figures)
    return manager
