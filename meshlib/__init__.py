"""The same Istio YAML, applied inside a Python process.

``Mesh.load("mesh/")`` reads the resources; ``mesh.aiohttp()`` and its kin hand out clients
that are governed by them. Names are imported when they are first used, so that
``import meshlib`` costs next to nothing.
"""

import os

TYPE_CHECKING = False  # typing itself would be a fifth of the import time
if TYPE_CHECKING:
    from meshlib._analyze.check import check
    from meshlib._calls.fallbacks import LastGood
    from meshlib._inbound.inbound import ForbiddenError, Inbound
    from meshlib.diagnostics import Finding
    from meshlib.errors import ConfigError, MeshError, MissingExtraError, RefusedError, SourceError
    from meshlib.mesh import Mesh
    from meshlib.workload import Workload

__all__ = [
    "ConfigError",
    "Finding",
    "ForbiddenError",
    "Inbound",
    "LastGood",
    "Mesh",
    "MeshError",
    "MissingExtraError",
    "RefusedError",
    "SourceError",
    "Workload",
    "__version__",
    "check",
]

__version__ = "0.1.0.dev0"

_HOMES = {
    "ConfigError": "meshlib.errors",
    "Finding": "meshlib.diagnostics",
    "ForbiddenError": "meshlib._inbound.inbound",
    "Inbound": "meshlib._inbound.inbound",
    "LastGood": "meshlib._calls.fallbacks",
    "Mesh": "meshlib.mesh",
    "MeshError": "meshlib.errors",
    "MissingExtraError": "meshlib.errors",
    "RefusedError": "meshlib.errors",
    "SourceError": "meshlib.errors",
    "Workload": "meshlib.workload",
    "check": "meshlib._analyze.check",
}


def __getattr__(name: str) -> object:
    """Import a public name on its first use (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module

    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _refuse_mixture(directory: str) -> None:
    """Raise if the files of the 3D library of the same import name lie between ours."""
    try:
        files = os.listdir(directory)
    except OSError:  # imported from a zip: nothing can have been mixed in
        return
    if any(file.startswith(("mrmeshpy", "mrviewerpy")) for file in files):
        msg = (
            f"{directory} mixes the files of two projects: 'proxyless-mesh' (this one) and 'meshlib' (a library for "
            "3D meshes) share the import name meshlib and cannot live in one environment; run: "
            "pip uninstall --yes meshlib meshlib-core proxyless-mesh && pip install proxyless-mesh"
        )
        raise ImportError(msg, name=__name__, path=directory)


_refuse_mixture(os.path.dirname(__file__))
