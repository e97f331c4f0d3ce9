"""``meshlib fields``: the support matrix."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, TypeAlias

import click

from meshlib.cli.options import output_option, paint

if TYPE_CHECKING:
    from meshlib.model.status import FieldStatus

__all__ = ["fields"]

_STATUSES = ("honoured", "approximated", "refused")
_STYLES = {"honoured": "good", "approximated": "warning", "refused": "error"}

_Matrix: TypeAlias = "dict[str, Mapping[str, FieldStatus]]"


@click.command(short_help="Print what works as in Istio, and what does not.")
@click.argument("kinds", nargs=-1, metavar="[KIND]...")
@click.option("--status", type=click.Choice(_STATUSES), help="Only fields with this status.")
@output_option("text", "json")
def fields(kinds: tuple[str, ...], status: str | None, output: str) -> None:
    """Print which fields of Istio's kinds work as in Istio, with a difference, or not at all.

    Without a KIND: all of them.
    """
    matrix = _filtered(_matrix(kinds), status)
    if output == "json":
        rows = {
            kind: {path: {"status": field.status, "note": field.note} for path, field in paths.items()}
            for kind, paths in matrix.items()
        }
        click.echo(json.dumps({"kinds": rows}, indent=2, ensure_ascii=False))
        return
    for line in _table(matrix):
        click.echo(line)


def _matrix(names: tuple[str, ...]) -> _Matrix:
    from meshlib.model.kinds import KINDS
    from meshlib.model.status import field_status

    known = {kind.name: kind for kind in KINDS.values() if kind.treatment != "discovery"}
    by_lower = {name.lower(): name for name in known}
    for name in names:
        if name.lower() not in by_lower:
            message = f"{name!r} is none of {', '.join(sorted(known))}"
            raise click.BadParameter(message, param_hint="KIND")
    wanted = [by_lower[name.lower()] for name in names] or sorted(known)
    return {name: field_status(name) for name in dict.fromkeys(wanted)}


def _filtered(matrix: _Matrix, status: str | None) -> _Matrix:
    if status is None:
        return matrix
    return {
        kind: {path: field for path, field in paths.items() if field.status == status} for kind, paths in matrix.items()
    }


def _table(matrix: _Matrix) -> Iterator[str]:
    counts: Counter[str] = Counter(field.status for paths in matrix.values() for field in paths.values())
    parts = ", ".join(f"{counts[status]} {status}" for status in _STATUSES if counts[status])
    yield f"{counts.total()} fields of {len(matrix)} kind{'s' if len(matrix) != 1 else ''}: {parts or 'none'}"
    for kind, paths in matrix.items():
        if not paths:
            continue
        yield ""
        yield paint(kind, "strong")
        width = min(64, max(map(len, paths)))
        for path, field in paths.items():
            status = paint(f"{field.status:<12}", _STYLES[field.status])
            yield f"  {path:<{width}}  {status}  {paint(field.note, 'dim')}".rstrip()
