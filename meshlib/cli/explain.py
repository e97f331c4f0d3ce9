"""``meshlib explain``: what would happen to a request, every rule that was tried, and why (not)."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import click

from meshlib.cli.findings import findings_text, is_failure
from meshlib.cli.inputs import load_config, subject, workload_of
from meshlib.cli.lines import STDIN, parsed_line, read_lines, tell_unknown
from meshlib.cli.options import Inputs, UnreadableError, config_options, output_option, paint
from meshlib.cli.tokens import TokenInputs, given_keys, moment, token_options

if TYPE_CHECKING:
    from meshlib._config.load import ConfigSet
    from meshlib._explain import Explanation
    from meshlib._snapshot.snapshot import Snapshot
    from meshlib.workload import Workload

__all__ = ["explain"]

_CLIENT_KEYS: Final = ("kind", "namespace", "labels")
_REQUEST_KEYS: Final = ("method", "host", "port", "path", "headers", "scheme", "protocol", "sni", "grpc")
_HELP: Final = """Say what would happen to a request, every rule that was tried, and why (not). Nothing is sent.

\b
  meshlib explain -f mesh/ GET http://reviews:9080/ -H 'end-user: jason'
  meshlib explain -f mesh/ --requests requests.jsonl

Of many requests each is a line of JSON, {"from": {"namespace", "labels"}, "request": {"method", "host", "port",
"path", "headers"}}, and so is each answer. "from" is who asks; without it, the workload of the flags does. Weights
are listed, not drawn, so that the same question always has the same answer.
"""


@click.command(help=_HELP, short_help="Say what would happen to a request, and why.")
@click.argument("method", required=False)
@click.argument("url", required=False)
@config_options
@click.option("--header", "-H", multiple=True, metavar="'NAME: VALUE'", help="Header of the request; repeatable.")
@click.option("--requests", metavar="FILE", help="Requests as JSON lines; - for standard input, the default.")
@click.option("--gateway", is_flag=True, help="The workload is an ingress gateway; its --label selects Gateways.")
@token_options
@output_option("text", "json")
def explain(
    inputs: Inputs,
    method: str | None,
    url: str | None,
    header: tuple[str, ...],
    requests: str | None,
    gateway: bool,
    tokens: TokenInputs,
    output: str,
) -> None:
    """Answer one request, or a line for each; the help text is for the user."""
    if method is not None and url is None and "://" in method:
        method, url = "GET", method
    if (method is None) is not (url is None) or (url is not None and requests is not None):
        raise click.UsageError("give either METHOD and URL, or --requests FILE")
    if STDIN in inputs.paths and url is None and requests in (None, STDIN):
        raise click.UsageError("standard input cannot be both the configuration and the requests")
    config = load_config(inputs)
    answers = _Answers(config, replace(workload_of(inputs), gateway=gateway), tokens)
    if method is not None and url is not None:
        explanation = answers.explain_url(method, url, _headers(header))
        if output == "json":
            passed = [step.to_json() for step in explanation.passed_over()]
            click.echo(json.dumps({**explanation.to_json(), "passed_over": passed}, ensure_ascii=False))
        else:
            click.echo(str(explanation))
    else:
        _answer_lines(answers, requests or STDIN)
    _report(config)


class _Answers:
    """Explains requests of any client of one configuration; each client's snapshot is compiled once."""

    def __init__(self, config: ConfigSet, workload: Workload, tokens: TokenInputs) -> None:
        from meshlib._compile import Config

        self._resources = config.resources
        self._config = Config(config.resources)
        self._keys, self._now = given_keys(tokens), moment(tokens)
        self._workload = workload
        self._snapshots: dict[str, Snapshot] = {}

    def explain_url(self, method: str, url: str, headers: Mapping[str, str]) -> Explanation:
        """Explain a request of the flags' workload."""
        from meshlib._authorize import token_check
        from meshlib._explain import explain, with_candidates
        from meshlib.mesh import request_head

        try:
            head = request_head(method, url, headers)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        snapshot, resources = self._snapshot(self._workload), self._resources
        found = explain(snapshot, head, token_check(snapshot.security, self._keys, self._now))
        return with_candidates(found, snapshot, head, self._workload, lambda: resources)

    def explain_line(self, line: bytes, place: str) -> Explanation:
        """Explain a line of JSON. Raises ValueError if it is not of the form described."""
        from meshlib._authorize import token_check
        from meshlib._explain import explain, request_from_json, workload_from_json

        match parsed_line(line):
            case {"from": dict() as client, "request": dict() as asked}:
                tell_unknown(place, "from", client, _CLIENT_KEYS)
                workload = workload_from_json(client, self._workload)
            case {"request": dict() as asked, **others} if others.get("from") is None:
                workload = self._workload
            case _:
                raise ValueError('expected {"from"?: {…}, "request": {…}}')
        tell_unknown(place, "request", asked, _REQUEST_KEYS)
        snapshot = self._snapshot(workload)
        check = token_check(snapshot.security, self._keys, self._now)
        return explain(snapshot, request_from_json(asked, snapshot), check)

    def _snapshot(self, workload: Workload) -> Snapshot:
        key = repr(workload)  # its labels are a mapping, so that it cannot be hashed itself
        if key not in self._snapshots:
            self._snapshots[key] = self._config.compile(workload)
        return self._snapshots[key]


def _headers(given: Iterable[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for text in given:
        name, colon, value = text.partition(":")
        name = name.strip().lower()
        if not colon or not name:
            message = f"{text!r} is not of the form 'name: value'"
            raise click.BadParameter(message, param_hint="--header")
        headers[name] = f"{headers[name]},{value.strip()}" if name in headers else value.strip()
    return headers


def _answer_lines(answers: _Answers, source: str) -> None:
    for place, line in read_lines(source):
        try:
            answer = answers.explain_line(line, place).to_json()
        except ValueError as error:
            raise UnreadableError(f"{place}: {error}") from error
        click.echo(json.dumps(answer, ensure_ascii=False))


def _report(config: ConfigSet) -> None:
    """Say on standard error what is wrong with the configuration; end with 1 if a resource had to be left out."""
    errors = [finding for finding in config.findings if finding.level == "error"]
    if errors:
        for line in findings_text(errors, subject(config), paint=paint):
            click.echo(line, err=True)
    sys.exit(1 if is_failure(errors) else 0)
