"""``meshlib.check``: the analysis as one call, for users' own tests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from meshlib._analyze.analysis import analyze
from meshlib._analyze.hazards.scene import PRODUCTION, HazardSettings
from meshlib._analyze.suppression import Suppression
from meshlib.diagnostics import Finding
from meshlib.sources.files import ConfigInput, expand

__all__ = ["check"]


def check(
    config: ConfigInput,
    *,
    namespace: str = "",
    suppress: Iterable[str] = (),
    chain: Sequence[str] = (),
    production: Sequence[str] = PRODUCTION,
) -> list[Finding]:
    """Everything that ``meshlib analyze`` has to say about a configuration.

    ``config`` is what :meth:`meshlib.Mesh.load` takes: a directory, a file, a pattern, YAML
    text, resources, or a list of those. ``namespace`` is that of objects that name none
    (default: ``default``). ``suppress`` leaves findings out, each written
    ``CODE=Kind name.namespace`` with ``*`` for any text. ``chain`` are hosts that call one
    another in this order; ``production`` are patterns of namespaces where no fault belongs.

    Raises :class:`meshlib.errors.SourceError` for what cannot be read, ValueError for a
    suppression of another form. What is wrong in the configuration is never raised.
    """
    suppressions = [Suppression.parse(text) for text in suppress]
    settings = HazardSettings(chain=tuple(chain), production=tuple(production))
    analysis = analyze(expand(config), namespace=namespace, suppressions=suppressions, settings=settings)
    return list(analysis.findings)
