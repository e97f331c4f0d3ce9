"""The servers under attack."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from meshlib import Mesh, Workload
from tests.security.targets import KINDS, POLICIES, Target


@pytest.fixture(scope="module", params=KINDS)
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    """Each kind of server in turn; uvicorn with both of its parsers."""
    mesh = Mesh.load(POLICIES, workload=Workload(namespace="shop", labels={"app": "web"}))
    with KINDS[request.param](mesh) as port:
        yield Target(port)
