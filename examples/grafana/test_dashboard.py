"""The dashboard is what its script makes, and asks only for what the mesh shows."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

from meshlib.telemetry.families import DESCRIPTIONS
from meshlib.telemetry.labels import standard_labels
from meshlib.telemetry.peers import UNKNOWN_PEER

HERE = Path(__file__).parent
DASHBOARD: dict[str, Any] = json.loads((HERE / "dashboard.json").read_text(encoding="utf-8"))
QUERIES: list[str] = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]


def test_the_file_is_what_the_script_makes() -> None:
    """After a change run the script again."""
    assert runpy.run_path(str(HERE / "make_dashboard.py"))["dashboard"]() == DASHBOARD


def test_every_metric_exists() -> None:
    """A histogram by its buckets, a counter with its _total."""
    for query in QUERIES:
        for name in re.findall(r"\b(?:istio|meshlib)_\w+", query):
            base = name.removesuffix("_bucket")
            assert base in DESCRIPTIONS, query
            assert (base != name) == (DESCRIPTIONS[base][0] == "histogram"), query


def test_every_label_of_requests_exists() -> None:
    """Those of Istio's metrics, and the bounds of buckets."""
    labels = standard_labels(
        "source",
        (UNKNOWN_PEER, UNKNOWN_PEER),
        service=("", "", ""),
        protocol="",
        code="",
        grpc="",
        flags="",
        policy="",
    )
    for query in (one for one in QUERIES if "istio_" in one):
        named = re.findall(r"(\w+)(?:=~|!~|!=|=)\"", query)
        grouped = [name.strip() for group in re.findall(r"by \(([^)]*)\)", query) for name in group.split(",")]
        assert {*named, *grouped} - {"le"} <= set(labels), query


def test_panels_do_not_overlap() -> None:
    """Three beside each other on Grafana's grid of 24."""
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells
