"""``meshlib ca``: a development CA that issues SPIFFE certificates."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from meshlib.cli.options import Amount, UnreadableError, output_option, paint
from meshlib.errors import MeshError, SourceError

if TYPE_CHECKING:
    from meshlib.security.authority import Issued

__all__ = ["ca"]

_DIRECTORY: Final = click.option(
    "--ca",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default="mesh-ca",
    show_default=True,
    metavar="DIR",
    help="Directory of the authority.",
)


@click.group(short_help="Make certificates for laptops and tests.")
def ca() -> None:
    """A development CA: SPIFFE certificates as Istio's agent has them, for laptops and tests.

    Not for production: the key of the root lies in a file.
    """


@ca.command()
@_DIRECTORY
@click.option("--trust-domain", default="cluster.local", show_default=True, metavar="NAME", help="Of all identities.")
@click.option("--days", type=click.IntRange(1, 3650), default=365, show_default=True, help="Life of the root.")
def init(directory: Path, trust_domain: str, days: int) -> None:
    """Make a new authority: root-cert.pem and root-key.pem."""
    from meshlib.security import DevelopmentCA

    with _clear_errors():
        DevelopmentCA.create(directory, trust_domain=trust_domain, lifetime=timedelta(days=days))
    click.echo(f"authority of {trust_domain} made in {directory}; keep root-key.pem to yourself")


@ca.command()
@click.argument("out", type=click.Path(file_okay=False, path_type=Path))
@_DIRECTORY
@click.option("--namespace", "-n", default="default", show_default=True, metavar="NAME", help="Of the workload.")
@click.option("--service-account", default="default", show_default=True, metavar="NAME", help="Of the workload.")
@click.option("--name", "names", multiple=True, metavar="NAME", help="Also a DNS name or an address; repeatable.")
@click.option("--hours", type=Amount(0.01, 8760), default=24.0, show_default=True, help="Life of it.")
def issue(
    out: Path, directory: Path, namespace: str, service_account: str, names: tuple[str, ...], hours: float
) -> None:
    """Write a key and a certificate of a workload to OUT, as Istio mounts them; run again to renew them.

    Servers made with meshlib.security.server_context use renewed files without a restart.
    """
    from meshlib.security.authority import DevelopmentCA, describe

    with _clear_errors():
        authority = DevelopmentCA.open(directory)
        files = authority.issue(
            out,
            namespace=namespace,
            service_account=service_account,
            names=names,
            lifetime=timedelta(hours=hours),
        )
        identity = authority.spiffe_id(namespace, service_account)
        (made,) = describe(files.chain)
    good = round((made.not_after - datetime.now(UTC)) / timedelta(hours=1), 2)  # the root may end earlier
    click.echo(f"{identity}, good for {good:g} h, written to {out}")


@ca.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@output_option("text", "json")
def show(path: Path, output: str) -> None:
    """Print whose certificates a PEM file, or a directory of them, holds. Keys are never shown.

    Status 1 if one of them is not valid now.
    """
    from meshlib.security.authority import describe

    files = sorted(file for file in path.glob("*.pem") if "key" not in file.stem) if path.is_dir() else [path]
    if not files:
        message = f"{path} holds no certificates; name a PEM file, or a directory with such files"
        raise UnreadableError(message)
    with _clear_errors():
        found = [(file, one) for file in files for one in describe(file)]
    now = datetime.now(UTC)
    if output == "json":
        click.echo(json.dumps([_row(file, one) for file, one in found], indent=2, ensure_ascii=False))
    else:
        for file, one in found:
            click.echo(_line(file, one, now))
    raise SystemExit(0 if all(one.not_before <= now < one.not_after for _, one in found) else 1)


def _row(file: Path, one: Issued) -> dict[str, object]:
    return {
        "file": str(file),
        "names": list(one.names),
        "issuer": one.issuer,
        "not_before": one.not_before.isoformat(),
        "not_after": one.not_after.isoformat(),
        "authority": one.is_authority,
    }


def _line(file: Path, one: Issued, now: datetime) -> str:
    name = "authority" if one.is_authority else " ".join(one.names) or "no name"
    if now < one.not_before:
        state = paint(f"not valid before {one.not_before:%Y-%m-%d %H:%M} UTC", "error")
    elif now >= one.not_after:
        state = paint(f"expired {one.not_after:%Y-%m-%d %H:%M} UTC", "error")
    else:
        state = paint(f"valid until {one.not_after:%Y-%m-%d %H:%M} UTC", "good")
    return f"{file}: {paint(name, 'strong')}, issued by {one.issuer or 'nobody'}, {state}"


class _clear_errors:  # noqa: N801 - used as a statement
    """Our errors without a traceback: status 2 for what cannot be read, 1 for what cannot be done."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, SourceError | OSError):
            raise UnreadableError(str(error)) from error
        if isinstance(error, MeshError):
            raise click.ClickException(str(error)) from error
