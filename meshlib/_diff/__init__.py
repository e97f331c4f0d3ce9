"""What another configuration changes: not which lines, but what becomes of requests, and who is let in.

Both configurations are asked about the same requests, made from the conditions that their
rules have; where the answers differ, that is a change.
"""

from __future__ import annotations

from meshlib._diff.change import Change
from meshlib._diff.compare import compare

__all__ = ["Change", "compare"]
