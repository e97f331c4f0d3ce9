"""URLs: what Go takes, as the API server of the oracle has judged it."""

from __future__ import annotations

import pytest

from meshlib.model.urls import go_scheme, http_url, image_url

HTTP = [
    *("http://a", "http:x", "HTTP://a", "http:/a", "http:///a", "https://", "http://[::1]/", "http://[::1]:80/"),
    *("http://a:80/", "http://a:/", "http://a/b c", "http://a/?%zz", "http://u:p@a/", "http://%e4/", "http://%25/"),
    *("http://<a>/", "http://é/", "http://u@@a/", "http://u/x@a/", "http://[fe80::1%25eth0]/", 'http://a"b'),
]
NOT_HTTP = [
    *("", "a", "/a", "*", "ftp://a", ":a", "1a:b", "http://[::1", "http://[::1]a", "http://[a]/", "http://[]/"),
    *("http://[::1]:x/", "http://a:b/", "http://a:80:90/", "http://::1/", "http://[1.2.3.4]/", "http://[::1%25]/"),
    *("http://a b/", "http://a/%zz", "http://u p@a/", "http://%41/", "http://a^b/", "http://{a}/", "http://a|b"),
    *("http://a`", "http://a\\b", "http://a%2fb/", "\thttp://a", "http://a\x7f", "https://a/" + "x" * 2040),
]
IMAGES = ["a", "a/b:c", "1.2.3.4:80/x", "file:///x", "oci:x", "//a", "/a", "a?b:c", "http://[::1", "http://a b", "a]b"]
NO_IMAGES = [
    "",
    "a:80",
    "ghcr.io:443/x",
    "data:x",
    "a b",
    "a%zz",
    ":a",
    "a#b:c",
    "1a:b",
    "ht_tp:x",
    "é:b",
    "[a]:b",
    "a[b]",
]


@pytest.mark.parametrize("text", HTTP)
def test_an_http_url(text: str) -> None:
    """Kept as it is written."""
    assert http_url(text) == text


@pytest.mark.parametrize("text", NOT_HTTP)
def test_no_http_url(text: str) -> None:
    """Of another scheme, too long, or nothing that Go parses."""
    with pytest.raises(ValueError, match="expected an http or https URL"):
        http_url(text)


@pytest.mark.parametrize("text", IMAGES)
def test_an_image(text: str) -> None:
    """What is no URL may be one without its scheme."""
    assert image_url(text) == text


@pytest.mark.parametrize("text", NO_IMAGES)
def test_no_image(text: str) -> None:
    """A port without a scheme reads as a scheme."""
    with pytest.raises(ValueError, match="schemes http, https, oci and file"):
        image_url(text)


def test_the_scheme_is_in_small_letters() -> None:
    """None is what is no URL, empty what has no scheme."""
    assert (go_scheme("HTTPS://a"), go_scheme("/a"), go_scheme("a")) == ("https", "", None)
