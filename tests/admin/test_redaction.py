"""What never leaves the admin interface."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshlib._explain.explanation import Json
from meshlib.admin.messages import json_answer
from meshlib.admin.redaction import HIDDEN, redacted, redacted_text, redacted_yaml

SECRET = "hunter2hunter2"


@pytest.mark.parametrize(
    "value",
    [
        {"headers": {"authorization": f"Custom {SECRET}"}},
        {"headers": {"Cookie": [f"a={SECRET}", f"b={SECRET}"]}},
        {"x-api-key": SECRET},
        {"client_secret": SECRET},
        {"nested": [{"password": {"inner": SECRET}}]},
        {"kty": "oct", "k": SECRET},
        {"kty": "RSA", "n": "public", "d": SECRET},
        {"private_key": SECRET},
        {"access_token": SECRET},
        f"Bearer {SECRET}",
        f"authorization: bearer   {SECRET}",
        f"https://user:{SECRET}@example.com/",
        f"/path?access_token={SECRET}&page=2",
        f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\n{SECRET} and cut off",
        f"header x-api-key exact '{SECRET}' does not hold",
        f'header authorization prefix "it\'s {SECRET}" does not hold',
    ],
    ids=lambda value: json.dumps(value)[:40],
)
def test_secrets_are_taken_out(value: Json) -> None:
    """By the name they stand under, or by what they look like."""
    shown = json.dumps(redacted(value))
    assert SECRET not in shown
    assert HIDDEN in shown


def test_a_token_is_taken_out_wherever_it_stands() -> None:
    """Three dotted parts of base64, as every JWT begins."""
    token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJqYXNvbiJ9.c2lnbmF0dXJl"
    assert redacted_text(f"token {token} was refused") == f"token {HIDDEN} was refused"


@pytest.mark.parametrize(
    "text",
    ["outbound|9080|v1|reviews.default.svc.cluster.local", "uri prefix '/basic' does not hold", "spiffe://a/ns/b/sa/c",
     "header end-user exact 'jason' does not hold", "http://reviews:9080/", "127.0.0.1:8080"],
)  # fmt: skip
def test_what_is_no_secret_stays(text: str) -> None:
    """A view without its facts would be of no use."""
    assert redacted_text(text) == text


def test_figures_stay_under_any_name() -> None:
    """Numbers and truth values are no secrets, nor is what is empty."""
    value: Json = {"token": 3, "password": None, "secret": True, "credential": "", "tokens": ["a"]}
    assert redacted(value) == value


YAML = """\
spec:
  http:
  - match:
    - headers:
        x-api-key:
          exact: hunter2hunter2

          # even after an empty line: hunter2hunter2
        end-user: {exact: jason}
    - headers: {cookie: {regex: hunter2hunter2}, end-user: {exact: hunter2hunter2}}
  jwtRules:
  - jwks: |
      {"keys": [{"kty": "oct", "k": "hunter2hunter2"}]}
    issuer: me
  - "password": hunter2hunter2
    timeout: 3s
"""


def test_lines_of_yaml_keep_what_is_no_secret() -> None:
    """Of a secret key what stands beside it, in it and under it is hidden; the lines stay where they are."""
    shown = list(redacted_yaml(YAML.splitlines()))
    assert SECRET not in "\n".join(shown)
    assert len(shown) == len(YAML.splitlines())
    for kept in ("  http:", "        end-user: {exact: jason}", "    issuer: me", "    timeout: 3s"):
        assert kept in shown


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_redaction_keeps_the_shape_and_ends(value: Json) -> None:
    """Once is enough: what was redacted has nothing left to take out."""
    once = redacted(value)
    assert type(once) is type(value)
    assert redacted(once) == once


@given(JSON)
def test_an_answer_is_json(value: Json) -> None:
    """Whatever stands in it, lone surrogates among it, and however deep."""
    body = json_answer(value).body
    streamed = json_answer({"all": iter([value, value])}, levels=1).body
    assert json.loads(streamed) == {"all": [json.loads(body)] * 2}
    assert json.loads(body) == json.loads(json.dumps(redacted(value), ensure_ascii=False).encode("utf-8", "replace"))
