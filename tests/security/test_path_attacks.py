"""Attacks with paths and targets, through real servers: what a policy guards is never served under another name."""

from __future__ import annotations

import json
import re

import pytest

from tests.security.targets import Target

# -- paths ----------------------------------------------------------------------------------------

SAME_PATH = [
    "/vault",
    "/vault?",
    "/vault?x=/../..",
    "/vault/",
    "/vault/x",
    "/vault//",
    "/vault/.",
    "/vault/x/..",
    "/./vault",
    "/././vault",
    "/x/../vault",
    "/../vault",
    "/../../vault",
    "/x/./../vault",
    "/%76ault",
    "/%76%61%75%6C%74",
    "/%2e/vault",
    "/%2E/vault",
    "/x/%2e%2e/vault",
    "/x/.%2e/vault",
    "/x/%2E./vault",
    "/x/..;/vault",
    "/x/..;a=b/vault",
    "/.;/vault",
    "/x\\..\\vault",
    "\\vault",
    "/x/..\\vault",
    "/vault;/../vault",
    "/vault/..;/vault",
    "/vault/%2e%2e/vault",
]


@pytest.mark.parametrize("path", SAME_PATH)
def test_another_spelling_of_a_path_is_the_same_path(target: Target, path: str) -> None:
    """Refused, however it is written."""
    assert target.get(path)[0] in (400, 403)


OTHER_PATHS = [
    "//vault",
    "///vault",
    "/.//vault",
    "/x/..//vault",
    "//x/../vault",
    "//vault/../vault",
    "/%2fvault",
    "/%2Fvault",
    "/x%2f..%2fvault",
    "/%5cvault",
    "/%5Cvault",
    "/%255cvault",
    "/%252e/vault",
    "/%c0%afvault",
    "/%e0%80%afvault",
    "/%u002fvault",
    "/vault%00",
    "/%00/vault",
    "/vault%20",
    "/vault%09",
    "/vault%0a",
    "/vault%0d%0ax:y",
    "/vault%23",
    "/vault%3f",
    "/vault;",
    "/vault;x=y",
    "/vault.",
    "/vault.json",
    "/Vault",
    "/VAULT",
    "/vaul%54",
    "/vault%2f",
    "/vault%2f..",
    "/vaul\u0074%cc%81",
    "/%ef%bd%96ault",
]


@pytest.mark.parametrize("path", OTHER_PATHS)
def test_what_is_let_through_is_another_path(target: Target, path: str) -> None:
    """The application never gets the guarded path from a request that was judged as another one."""
    status, body = target.get(path)
    if status == 200:
        seen = json.loads(body)["path"]
        assert seen != "/vault"
        assert not seen.startswith("/vault/") or "%2f" in path.lower(), seen
    else:
        assert status in (400, 403, 404)  # werkzeug's routes take no line ends


RAW_TARGETS = {
    "fragment": b"/vault#x",
    "fragment before": b"/#/vault",
    "fragment and path": b"/vault#/../..",
    "whole URL": b"http://public.test/vault",
    "whole URL of the admin host": b"http://admin.test/",
    "whole URL with a name": b"http://public.test@admin.test/vault",
    "whole URL, other scheme": b"x:/vault",
    "whole URL, https": b"https://public.test/vault",
    "whole URL without path": b"http://public.test",
    "whole URL in the path": b"/http://public.test/../../../vault",
    "no slash": b"vault",
    "asterisk": b"*",
    "authority": b"public.test:80",
    "two slashes and a host": b"//public.test/vault",
    "two slashes are the path": b"//vault",
    "three slashes": b"///vault",
    "NUL": b"/\x00/vault",
    "NUL at the end": b"/vault\x00",
    "tab": b"/va\tult",
    "vertical tab": b"/va\x0bult",
    "carriage return": b"/va\rult",
    "delete": b"/vault\x7f",
    "no UTF-8": b"/\xff/../vault",
    "full width": "/\uff56ault".encode(),
    "no-break space": b"/vault\xa0",
    "space": b"/x /vault",
    "backslash": b"\\vault",
    "dots and a backslash": b"/x\\..\\vault",
    "empty": b"",
}


@pytest.mark.parametrize("name", RAW_TARGETS)
def test_a_strange_target_opens_nothing(target: Target, name: str) -> None:
    """Whatever a server makes of it, the guarded path is not what the application gets."""
    request = b"GET " + RAW_TARGETS[name] + b" HTTP/1.1\r\nHost: public.test\r\nConnection: close\r\n\r\n"
    for path in target.open_paths(request):
        assert path.rstrip("/") != "/vault"
        assert not path.startswith("/vault/")
    assert not re.search(rb'"host": ?"[^"]*admin', target.send(request))
