"""Durations and base64, as Go and the API server read them."""

from __future__ import annotations

import pytest

from meshlib.model.scalars import any_duration, decode_base64, duration, fine_duration, parse_duration

SECONDS = {
    "5s": 5,
    "1.5s": 1.5,
    ".5s": 0.5,
    "5.s": 5,
    "+5s": 5,
    "100ms": 0.1,
    "1500000us": 1.5,
    "1500000µs": 1.5,
    "1500000μs": 1.5,
    "1h30m": 5400,
    "1m1.5s": 61.5,
    "2562047h": 2562047 * 3600,
}
REFUSED = ["", "5", "s", ".s", "5 s", " 5s", "5s ", "5S", "1d", "1e3s", "٣s", "--5s", "10000000000s", "5s-1s", "1..5s"]


@pytest.mark.parametrize(("text", "seconds"), SECONDS.items())
def test_durations_are_seconds(text: str, seconds: float) -> None:
    """Every spelling that Go's time.ParseDuration takes is read as seconds."""
    assert duration(text) == seconds


@pytest.mark.parametrize("text", REFUSED)
def test_other_spellings_are_refused(text: str) -> None:
    """What Go refuses is refused with an example of what to write."""
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["0", "0s", "-5s", "999us", "1ns"])
def test_most_durations_are_at_least_a_millisecond(text: str) -> None:
    """Zero, negative and tiny values are refused, except where any duration is taken."""
    with pytest.raises(ValueError, match="at least 1ms"):
        duration(text)
    assert any_duration(text) < 0.001


def test_most_durations_are_whole_milliseconds() -> None:
    """Istio refuses 1.5ms for a timeout, and takes it for a reporting interval."""
    with pytest.raises(ValueError, match="ms precision"):
        duration("1.5ms")
    assert fine_duration("1.5ms") == 0.0015


def test_a_duration_shows_its_unit() -> None:
    """The repr is what somebody would write."""
    assert repr(duration("90s")) == "90s"


@pytest.mark.parametrize("text", ["***", "aGVsbG8", "-_-_", "aGVs\nbG8=", ""])
def test_base64_is_strict_and_not_quoted(text: str) -> None:
    """Bad base64 is refused without showing it, for it may be a secret."""
    with pytest.raises(ValueError, match="base64") as refusal:
        decode_base64(text)
    assert not text or text not in str(refusal.value)


def test_base64_is_decoded() -> None:
    """Padded standard base64 is read."""
    assert decode_base64("aGVsbG8=") == b"hello"
