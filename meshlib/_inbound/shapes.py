"""What the names of the header fields of a request tell by themselves.

The same client sends the same names with every request, so what follows from them
alone is found out once.
"""

from __future__ import annotations

import re
from typing import Final

from meshlib._context import PROPAGATED
from meshlib._engine.recent import Recent
from meshlib._snapshot.peers import PEER_HEADERS, PEER_METADATA

__all__ = ["DEADLINE", "REQUEST_ID", "Names", "Shape", "shape_of", "shapes"]

Names = tuple[bytes, ...]

REQUEST_ID: Final = b"x-request-id"
DEADLINE: Final = b"x-envoy-expected-rq-timeout-ms"
_PLAIN: Final = re.compile(rb"[a-z0-9!#$%&'*+.^`|~-]+")
"""As ASGI wants names to be; with ``_`` a name may be taken for another one."""
_COUNTED: Final = frozenset((b"content-type", b"content-length", PEER_METADATA.encode()))
_REMEMBERED: Final = 512
_LONGEST: Final = 2048


class Shape:
    """``carried`` are the fields that calls made while serving carry on, with their names as text.

    ``carried_besides`` are those but the id of the request.
    ``is_plain`` false: nothing is said of a request with these names. ``is_bare``: it has no
    body and does not say who sends it, as those do that have ``peer`` headers (Istio's metadata
    exchange). ``has_deadline``: it says until when it is waited for. ``is_quiet``: nothing in it is for
    anybody but the application.
    """

    __slots__ = ("carried", "carried_besides", "has_deadline", "is_bare", "is_plain", "is_quiet", "names", "peer")

    def __init__(self, names: Names) -> None:
        self.names = frozenset(names)
        self.is_plain = all(map(_PLAIN.fullmatch, names))
        texts = [(name, name.decode("latin-1")) for name in names]
        self.carried = tuple((name, text) for name, text in texts if text in PROPAGATED)
        self.carried_besides = tuple(pair for pair in self.carried if pair[0] != REQUEST_ID)
        self.is_bare = _COUNTED.isdisjoint(names)
        self.has_deadline = DEADLINE in self.names
        self.peer = tuple(name for name in PEER_HEADERS if name.encode() in self.names)
        self.is_quiet = self.is_bare and not self.has_deadline and not self.peer

    def __repr__(self) -> str:
        return f"<Shape names={len(self.names)}>"


shapes: Final[Recent[Names, Shape]] = Recent(_REMEMBERED)


def shape_of(names: Names) -> Shape:
    """What these names tell; ``shapes`` are those of late."""
    shape = shapes.get(names)
    if shape is None:
        shape = Shape(names)
        if sum(map(len, names)) <= _LONGEST:
            shapes.keep(names, shape)
    return shape
