"""What a calling proxy says of its workload: the header ``x-envoy-peer-metadata`` of Istio's metadata exchange.

The header is base64 of a ``google.protobuf.Struct``; of it only the texts are read that
Istio's metrics use. It is not proven by anything: who calls without mutual TLS can claim
to be anybody, as with a sidecar.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Iterator, Mapping
from typing import Final

from meshlib.telemetry.peers import Peer, peer_of_labels

__all__ = ["peer_of_text"]

_LONGEST: Final = 8192
_REMEMBERED: Final = 1024
_DEEPEST: Final = 4

_seen: dict[str, Peer | None] = {}


def peer_of_text(text: str) -> Peer | None:
    """The workload that such a header names; None if it says nothing that can be read."""
    try:
        return _seen[text]
    except KeyError:
        pass
    peer = _decode(text) if len(text) <= _LONGEST else None
    if len(_seen) >= _REMEMBERED:
        _seen.clear()
    _seen[text] = peer
    return peer


def _decode(text: str) -> Peer | None:
    try:
        fields = _struct(b64decode(text, validate=True), 0)
    except (binascii.Error, ValueError, IndexError):
        return None
    labels = fields.get("LABELS")
    return peer_of_labels(
        {name: value for name, value in labels.items() if isinstance(value, str)}
        if isinstance(labels, Mapping)
        else {},
        workload=_text(fields, "WORKLOAD_NAME"),
        namespace=_text(fields, "NAMESPACE"),
        cluster=_text(fields, "CLUSTER_ID"),
    )


def _text(fields: Mapping[str, object], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""


# -- google.protobuf.Struct on the wire: fields {1: entry}, entry {1: key, 2: value}, value {3: text, 5: struct} --


def _struct(data: bytes, depth: int) -> dict[str, object]:
    if depth > _DEEPEST:
        raise ValueError("too deep")
    found: dict[str, object] = {}
    for number, entry in _fields(data):
        if number != 1 or not isinstance(entry, bytes):
            continue
        parts = dict(_fields(entry))
        key, value = parts.get(1, b""), parts.get(2, b"")
        if not isinstance(key, bytes) or not isinstance(value, bytes):
            continue
        for kind, content in _fields(value):
            if isinstance(content, bytes) and kind == 3:
                found[key.decode()] = content.decode()
            elif isinstance(content, bytes) and kind == 5:
                found[key.decode()] = _struct(content, depth + 1)
    return found


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        match tag & 7:
            case 0:
                value, place = _varint(data, place)
                yield tag >> 3, value
            case 1:
                place += 8
            case 2:
                length, place = _varint(data, place)
                if place + length > len(data):
                    raise ValueError("cut off")
                yield tag >> 3, data[place : place + length]
                place += length
            case 5:
                place += 4
            case _:
                raise ValueError("not a message")


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, place
        shift += 7
        if shift > 63:
            raise ValueError("too long a number")
