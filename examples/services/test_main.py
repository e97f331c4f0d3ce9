"""The services say what they promise."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

MAIN = Path(__file__).with_name("main.py")


def test_services_of_two_frameworks_call_each_other(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The story runs as a script and ends well."""
    monkeypatch.syspath_prepend(str(MAIN.parent))
    try:
        runpy.run_path(str(MAIN), run_name="__main__")
    finally:
        for name in ("web", "ratings"):
            sys.modules.pop(name, None)
    first, pages, agree, beta, retries, denied = capsys.readouterr().out.splitlines()
    assert first == "GET / was sent on to /products/1: teapot, 5 stars"
    assert pages == "20 pages: {'kettle': 10, 'teapot': 10}"
    assert agree == "web, ratings and web again saw one request id for each page: True"
    assert beta == "beta users: {'v2': 5}"
    assert retries.startswith("one server of ratings answers nothing but 503: ")
    assert int(retries.split()[8]) > 5
    assert denied == "DELETE at ratings itself: 403 RBAC: access denied"
