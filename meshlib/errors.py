"""Every error meshlib raises.

One base, :class:`MeshError`; one leaf for each cause that a caller would treat
differently. The facts stand in attributes, the message says what happened, where,
what was expected and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from meshlib.diagnostics import Finding

__all__ = [
    "BreakerOpenError",
    "CallTimeoutError",
    "ConfigError",
    "MeshClosedError",
    "MeshError",
    "MissingExtraError",
    "RefusedError",
    "SourceError",
    "UnsupportedVersionError",
]


class MeshError(Exception):
    """Base of all errors raised by meshlib.

    ``status_hint`` is the HTTP status a server would answer with if the error
    escaped a handler; None where no status fits.
    """

    status_hint: int | None = None


class ConfigError(MeshError):
    """The configuration holds at least one finding of level error.

    ``findings`` has all findings of all files, in file order; the message quotes
    the first errors with file, line and remedy.
    """

    def __init__(self, findings: Sequence[Finding]) -> None:
        self.findings = tuple(findings)
        errors = [finding for finding in self.findings if finding.level == "error"]
        lines = [str(finding) for finding in errors[:10]]
        if len(errors) > 10:
            lines.append(f"… and {len(errors) - 10} more")
        super().__init__("\n".join(lines) or "the configuration is not usable")


class SourceError(MeshError):
    """A source could not be read: no such file, no permission, a pattern without match."""

    def __init__(self, source: str, reason: str, remedy: str) -> None:
        self.source, self.reason, self.remedy = source, reason, remedy
        super().__init__(f"{source}: {reason}; {remedy}")


class MeshClosedError(MeshError):
    """A mesh that was closed is asked for a new client, or to watch its files."""

    def __init__(self) -> None:
        super().__init__(
            "this mesh is closed: it makes no more clients and watches no files; load it anew with Mesh.load(…)"
        )


class MissingExtraError(MeshError, ImportError):
    """A dependency is not installed; the message names the extra that brings it (empty: it always comes)."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        self.package, self.extra = package, extra
        brought_by = f"proxyless-mesh[{extra}]" if extra else "proxyless-mesh"
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed; "
            f"install it with: pip install '{brought_by}'"
        )


class UnsupportedVersionError(MeshError, ImportError):
    """An installed package is older than what meshlib works with; the message names the remedy."""

    def __init__(self, package: str, found: str, minimum: str) -> None:
        self.package, self.found, self.minimum = package, found, minimum
        super().__init__(
            f"{package} {found} is not supported: meshlib needs {package}>={minimum}; "
            f"update it with: pip install --upgrade '{package}>={minimum}'"
        )


class RefusedError(MeshError):
    """The mesh answered in place of the upstream, and the caller asked for an exception.

    ``status``, ``body`` and ``flags`` are what Envoy would have sent and logged
    (``flags`` is a tuple of response flags such as ``("UH",)``); ``details`` is
    Envoy's response code detail; ``host`` is the host that was called.
    """

    def __init__(self, *, status: int, body: str, flags: tuple[str, ...], details: str, host: str) -> None:
        self.status, self.body, self.flags, self.details, self.host = status, body, flags, details, host
        self.status_hint = status
        shown = ",".join(flags) or "-"
        # Not super(): an adapter's error also derives from its library's, whose constructor wants other things.
        Exception.__init__(
            self, f"{host}: {status} from the mesh ({details}, flags {shown}){': ' + body if body else ''}"
        )


class CallTimeoutError(RefusedError, TimeoutError):
    """A function did not answer within the time that the mesh gives it."""


class BreakerOpenError(RefusedError):
    """A breaker is open and the call was not made.

    Where pybreaker is imported, what is raised is also a
    :class:`pybreaker.CircuitBreakerError`.
    """
