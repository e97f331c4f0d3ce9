"""Reads what the shared flags name: texts, resources, findings. All judging is done by the library."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Final, TextIO, TypeAlias

from meshlib.cli.options import Inputs, UnreadableError
from meshlib.cli.texts import read_texts
from meshlib.errors import SourceError

if TYPE_CHECKING:
    from meshlib._config.load import ConfigSet
    from meshlib.diagnostics import Finding
    from meshlib.sources import SourceText
    from meshlib.workload import Workload

__all__ = ["load_config", "made_strict", "read_inputs", "shown_progress", "subject", "workload_of"]

_REFUSED_FIELD: Final = "MESH031"
_PATIENCE: Final = 0.5
"""Seconds of silence before progress is shown."""

Progress: TypeAlias = Callable[[int, int, int], None]


def load_config(inputs: Inputs) -> ConfigSet:
    """Read and judge everything that the flags name.

    Findings on fields that meshlib does not apply are errors with ``--strict``.
    """
    from meshlib._config.load import load

    texts = read_inputs(inputs)
    with shown_progress() as progress:
        config = load(texts, default_namespace=inputs.namespace or "default", progress=progress)
    _check_mesh_config(inputs.mesh_config, config)
    return replace(config, findings=made_strict(config.findings)) if inputs.strict else config


def _check_mesh_config(path: str | None, config: ConfigSet) -> None:
    """A file that was given for the mesh's settings and has none would leave the defaults in force, unnoticed."""
    kinds = {resource.kind for resource in config.resources}
    found = [f"{resource.kind} {resource.metadata.name}" for resource in config.resources if resource.file == path]
    if found and "MeshConfig" not in kinds:
        message = (
            f"{path}: holds {found[0]}, but no MeshConfig; name a file with the fields of MeshConfig, "
            "or with the ConfigMap istio"
        )
        raise UnreadableError(message)


def read_inputs(inputs: Inputs) -> list[SourceText]:
    """The texts that the flags name. Raises UnreadableError."""
    paths = [*inputs.paths, *([inputs.mesh_config] if inputs.mesh_config else [])]
    try:
        return read_texts(paths)
    except SourceError as error:
        raise UnreadableError(str(error)) from error


def made_strict(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings with every field that meshlib does not apply as an error."""
    return tuple(replace(finding, level="error") if finding.code == _REFUSED_FIELD else finding for finding in findings)


def workload_of(inputs: Inputs) -> Workload:
    """The workload that the flags describe; what they leave out is read from the environment."""
    from meshlib.sources.environment import workload_from_environment

    found = workload_from_environment(os.environ)
    return replace(
        found,
        namespace=inputs.namespace or found.namespace,
        labels=inputs.labels or found.labels,
        service_account=inputs.service_account or found.service_account,
    )


def subject(config: ConfigSet) -> str:
    """What came of the reading, in words: ``3 usable resources, 2 documents skipped (Deployment)``."""
    count, skipped = len(config.resources), len(config.skipped)
    text = f"{count} usable resource{'s' if count != 1 else ''}"
    if skipped:
        kinds = ", ".join(sorted({one.kind for one in config.skipped}))
        text += f", {skipped} document{'s' if skipped != 1 else ''} skipped ({kinds})"
    return text


@contextmanager
def shown_progress(stream: TextIO | None = None, *, patience: float = _PATIENCE) -> Iterator[Progress | None]:
    """Progress on ``stream`` (default: standard error), if that is a terminal and the work takes its time."""
    stream = stream or sys.stderr
    if stream is None or not stream.isatty():  # None: a process without a console
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("reading"), BarColumn(), DownloadColumn(), TextColumn("{task.fields[resources]} resources"))
    bar = Bar(*columns, console=Console(file=stream), transient=True)
    task = bar.add_task("reading", resources=0)
    began = monotonic()

    def progress(done: int, total: int, resources: int) -> None:
        if monotonic() - began >= patience:
            bar.update(task, completed=done, total=total, resources=resources)
            bar.start()

    try:
        yield progress
    finally:
        bar.stop()
