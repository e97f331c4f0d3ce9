"""From the model to the snapshot: resources are resolved, merged and compiled for one workload."""

from __future__ import annotations

from meshlib._compile.snapshot import Config, compile_snapshot

__all__ = ["Config", "compile_snapshot"]
