"""What somebody meant who wrote a name that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from functools import cache

from meshlib._config.old_names import old_field
from meshlib.model.kinds import KINDS, spec_class
from meshlib.model.shapes import shape_of, walk

__all__ = ["field_hint", "nearest"]

_SHOWN = 12
_NEARLY_THE_SAME = 0.85


def nearest(name: str, known: Iterable[str], cutoff: float = 0.7) -> str | None:
    """The known name that ``name`` was probably meant to be: other case, ``snake_case``, or a slip."""
    by_letters: dict[str, str] = {}
    for candidate in known:
        by_letters.setdefault(_letters(candidate), candidate)
    close = difflib.get_close_matches(_letters(name), by_letters, n=1, cutoff=cutoff)
    return by_letters[close[0]] if close else None


def field_hint(name: str, known: Iterable[str], kind: str) -> str:
    """The remedy for an unknown field: what replaced it, nearly that name here or elsewhere, or a name near to it."""
    names = sorted(known)
    if (successor := old_field(kind, name, names)) is not None:
        return successor
    if (meant := nearest(name, names, _NEARLY_THE_SAME)) is not None:
        return f"did you mean {meant}?"
    if (place := elsewhere(name, kind)) is not None:
        return place
    if (meant := nearest(name, names)) is not None:
        return f"did you mean {meant}?"
    if not names:
        return "remove it: no field is known here"
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"remove it, or use one of {', '.join(names[:_SHOWN])}{rest}"


def elsewhere(name: str, kind: str) -> str | None:
    """Where a field of that name exists: in the same kind if possible, else where it stands nearest to the top."""
    places = _places().get(_letters(name), {})
    if kind in places:
        return f"{_last(places[kind])} belongs to {places[kind]}"
    if places:
        other = min(places, key=lambda candidate: (places[candidate].count("."), candidate))
        return f"{_last(places[other])} is a field of {other}: {places[other]}"
    return None


@cache
def _places() -> Mapping[str, Mapping[str, str]]:
    """For the letters of each field name the kinds that have it, with its shortest path there."""
    found: dict[str, dict[str, str]] = {}
    for kind in KINDS.values():
        if kind.treatment in ("applied", "modelled"):
            for path, _ in walk(shape_of(spec_class(kind)), "spec"):
                if path.endswith(("[]", "*")):
                    continue
                name = _letters(_last(path))
                best = found.setdefault(name, {}).setdefault(kind.name, path)
                if len(path) < len(best):
                    found[name][kind.name] = path
    return found


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def _letters(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()
