"""What the names of the header fields of a request tell by themselves.

The same client sends the same names with every request, so what follows from them
alone is found out once.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from operator import itemgetter
from typing import Any, Final, TypeAlias

from meshlib._context import PROPAGATED, is_carriable
from meshlib._snapshot.peers import PEER_HEADERS, PEER_METADATA

__all__ = ["DEADLINE", "REQUEST_ID", "Fields", "Names", "Shape", "Values"]

Names: TypeAlias = tuple[bytes, ...]
Values: TypeAlias = tuple[bytes, ...]
"""Those of the header fields of a request, in the order of their names."""
Fields: TypeAlias = dict[bytes, bytes]

REQUEST_ID: Final = b"x-request-id"
DEADLINE: Final = b"x-envoy-expected-rq-timeout-ms"
_PLAIN: Final = re.compile(rb"[a-z0-9!#$%&'*+.^`|~-]+")
"""As ASGI wants names to be; with ``_`` a name may be taken for another one."""
_COUNTED: Final = frozenset((b"content-type", b"content-length", PEER_METADATA.encode()))


class Shape:
    """The ``names`` of header fields, of which ``deciding`` are looked at by who decides.

    ``is_plain`` false: nothing else is said of a request with these names, which are not as they should be or
    repeat one another. ``decides`` takes the values of the deciding fields out of all values; ``present`` are the bits
    of those that are there. ``id_at`` is where the id of the request stands, if it has one. ``carried_besides`` are the
    fields that calls made while serving carry on besides that, and their names as text. ``is_bare``: it has no body and
    does not say who sends it, as those do that have ``peer`` headers (Istio's metadata exchange). ``has_deadline``: it
    says until when it is waited for. ``has_trailers``: it may have some behind its body. ``is_quiet``: nothing in it
    is for anybody but the application.
    """

    __slots__ = (
        "carried_besides", "decides", "has_deadline", "has_trailers", "id_at", "is_bare", "is_plain", "is_quiet",
        "names", "peer", "present",
    )  # fmt: skip

    def __init__(self, names: Names, deciding: Names = ()) -> None:
        self.names = names
        self.is_plain = all(map(_PLAIN.fullmatch, names)) and len(set(names)) == len(names)
        self.present = sum(1 << number for number, name in enumerate(deciding) if name in names)
        places = [names.index(name) for name in deciding if name in names]
        self.decides: Callable[[Values], Any] = itemgetter(*places) if places else _nothing
        self.id_at = names.index(REQUEST_ID) if REQUEST_ID in names else None
        texts = [(place, name.decode("latin-1")) for place, name in enumerate(names) if name != REQUEST_ID]
        self.carried_besides = tuple((place, text) for place, text in texts if text in PROPAGATED)
        self.is_bare = _COUNTED.isdisjoint(names)
        self.has_deadline = DEADLINE in names
        self.has_trailers = b"transfer-encoding" in names
        self.peer = tuple(name for name in PEER_HEADERS if name.encode() in names)
        self.is_quiet = self.is_bare and not self.has_deadline and not self.peer

    def fields(self, values: Values) -> Fields:
        """The header fields of a request."""
        return dict(zip(self.names, values, strict=True))

    def carried_of(self, values: Values, request_id: str) -> dict[str, str]:
        """The headers that calls made while serving it carry on."""
        carried = {"x-request-id": request_id} if is_carriable(request_id) else {}
        for place, name in self.carried_besides:
            value = values[place].decode("utf-8", "surrogateescape")
            if is_carriable(value):
                carried[name] = value
        return carried

    def __repr__(self) -> str:
        return f"<Shape names={len(self.names)}>"


def _nothing(_: Values) -> tuple[()]:
    return ()
