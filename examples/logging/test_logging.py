"""What the collectors expect is what the access log writes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from meshlib import Mesh, Workload
from meshlib.telemetry.log_format import DEFAULT_FIELDS
from meshlib.testing import VirtualClock
from tests.telemetry.calls import REVIEWS, call

HERE = Path(__file__).parent
TEXT = "accessLogFile: /dev/stdout\n"


def line_of(config: str, caplog: pytest.LogCaptureFixture) -> str:
    """The line of one call."""
    caplog.set_level("INFO")
    mesh = Mesh.load(f"{REVIEWS}---\n{config}", workload=Workload(namespace="shop"), clock=VirtualClock())
    call(mesh, 200, headers={"user-agent": "probe/1.0"})
    return caplog.messages[-1]


def test_the_fields_are_there(caplog: pytest.LogCaptureFixture) -> None:
    """Time and status, by which both collectors go."""
    line = json.loads(line_of((HERE / "mesh.yaml").read_text(encoding="utf-8"), caplog))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["start_time"])
    assert line["response_code"] == 200
    for name in ("fluent-bit.conf", "fluentd.conf", "parsers.conf"):
        text = (HERE / name).read_text(encoding="utf-8")
        for field in re.findall(r"(?:\$|key |Time_Key +|time_key )(\w+_\w+)$", text, re.MULTILINE):
            if field not in ("pos_file", "key_name"):
                assert field in DEFAULT_FIELDS


def test_the_line_of_text_is_parsed_as_a_whole(caplog: pytest.LogCaptureFixture) -> None:
    """The parser of Fluent Bit, which is a regular expression."""
    (pattern,) = re.findall(r"Regex +(\^\\\[.*)$", (HERE / "parsers.conf").read_text(encoding="utf-8"), re.MULTILINE)
    found = re.match(pattern.replace("(?<", "(?P<"), line_of(TEXT, caplog))
    assert found is not None
    assert set(found.groupdict()) == set(DEFAULT_FIELDS)
    assert (found["response_code"], found["user_agent"], found["route_name"]) == ("200", "probe/1.0", "default-route")
