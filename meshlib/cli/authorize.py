"""``meshlib authorize``: whether requests to a workload are let in, and what decided."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click

from meshlib.cli.findings import findings_text, is_failure
from meshlib.cli.inputs import load_config, subject, workload_of
from meshlib.cli.lines import STDIN, parsed_line, read_lines, tell_unknown
from meshlib.cli.options import Inputs, UnreadableError, config_options, output_option, paint
from meshlib.cli.tokens import TokenInputs, given_keys, moment, token_options

if TYPE_CHECKING:
    from meshlib._authorize import Answer, GivenKeys
    from meshlib._config.load import ConfigSet
    from meshlib._engine.decisions import Decision
    from meshlib._snapshot.security import Security
    from meshlib.workload import Workload

__all__ = ["authorize"]

_REQUEST_KEYS: Final = (
    "method", "scheme", "host", "path", "port", "principal", "source_ip", "remote_ip", "destination_ip", "sni",
    "headers", "token", "claims", "protocol", "transport",
)  # fmt: skip
_WORKLOAD_KEYS: Final = ("namespace", "labels", "service_account", "ip")
_ANSWERS: Final = ("allow", "deny", "unavailable")
_HELP: Final = """Say whether requests to a workload would be let in, and which policy decided.

\b
  meshlib authorize -f mesh/ -n shop --label app=web GET http://web:8080/admin --principal cluster.local/ns/a/sa/b
  meshlib authorize -f mesh/ --requests requests.jsonl --jwks https://issuer/keys=keys.json

Of many requests each is a line of JSON, {"workload"?: {"namespace", "labels", "service_account", "ip"}, "request":
{"method", "host", "path", "port", "principal", "source_ip", "headers", "token"}, "ext_authz"?: "allow" | "deny" |
"unavailable"}, and so is each answer. Without "workload" it is that of the flags. "ext_authz" is what an external
authorizer would answer. Without --principal the request of the arguments comes in plain text. Status 1 if it is
denied; lines have their answers in the output.
"""


@click.command(help=_HELP, short_help="Say whether a request would be let in, and why.")
@click.argument("method", required=False)
@click.argument("url", required=False)
@config_options
@click.option("--header", "-H", multiple=True, metavar="'NAME: VALUE'", help="Header of the request; repeatable.")
@click.option("--principal", metavar="ID", help="Identity of the peer: cluster.local/ns/NAMESPACE/sa/ACCOUNT.")
@click.option("--source-ip", metavar="ADDRESS", help="Address of the peer.")
@click.option("--requests", metavar="FILE", help="Requests as JSON lines; - for standard input, the default.")
@token_options
@output_option("text", "json")
def authorize(
    inputs: Inputs,
    method: str | None,
    url: str | None,
    header: tuple[str, ...],
    principal: str | None,
    source_ip: str | None,
    requests: str | None,
    tokens: TokenInputs,
    output: str,
) -> None:
    """Answer one request, or a line for each; the help text is for the user."""
    if (method is None) is not (url is None) or (url is not None and requests is not None):
        raise click.UsageError("give either METHOD and URL, or --requests FILE")
    if STDIN in inputs.paths and url is None and requests in (None, STDIN):
        raise click.UsageError("standard input cannot be both the configuration and the requests")
    config = load_config(inputs)
    answers = _Answers(config, workload_of(inputs), given_keys(tokens), moment(tokens))
    denied = False
    if method is not None and url is not None:
        asked = _asked(method, url, header, principal, source_ip)
        try:
            decision = answers.decide({"request": asked})
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        denied = _print_one(decision, output, _rule_text(answers.security_of({}), decision))
        if decision.reason.endswith(_nobody()):
            _tell_unaddressed(config, answers.workload)
    else:
        _answer_lines(answers, requests or STDIN)
    _report(config, denied=denied)


class _Answers:
    """Decides about requests to any workload of one configuration; each is compiled once."""

    def __init__(self, config: ConfigSet, workload: Workload, keys: GivenKeys, now: float) -> None:
        from meshlib._compile import Config

        self._config = Config(config.resources)
        self.workload = workload
        self._keys = keys
        self._now = now
        self._compiled: dict[str, Security] = {}

    def decide(self, line: Mapping[str, Any]) -> Decision:
        """The decision about a described request. Raises ValueError if it is not of the form described."""
        from meshlib._authorize import authorize, inbound_from_json, token_check

        asked = line.get("request")
        described = line.get("workload") or {}
        if not isinstance(asked, Mapping) or not isinstance(described, Mapping):
            raise ValueError('expected {"workload"?: {…}, "request": {…}, "ext_authz"?: …}')
        answer: Answer = line.get("ext_authz") or "allow"
        if answer not in _ANSWERS:
            raise ValueError(f"'ext_authz' must be one of {', '.join(_ANSWERS)}, not {answer!r}")
        security = self.security_of(described)
        request = inbound_from_json(asked, workload_ip=str(described.get("ip") or ""))
        check = None if asked.get("claims") is not None else token_check(security, self._keys, self._now)
        return authorize(security, request, authenticate=check, answer=answer, transport=asked.get("transport"))

    def security_of(self, described: Mapping[str, Any]) -> Security:
        """What protects a described workload; without a description that of the flags."""
        key = json.dumps(described, sort_keys=True, default=str)
        if key not in self._compiled:
            workload = self.workload
            if described:
                labels = described.get("labels") or {}
                if not isinstance(labels, Mapping):
                    raise ValueError(f"'labels' of the workload must be a mapping, not {labels!r}")
                workload = replace(
                    workload,
                    namespace=str(described.get("namespace") or workload.namespace),
                    labels={str(name): str(value) for name, value in labels.items()},
                    service_account=str(described.get("service_account") or "default"),
                )
            self._compiled[key] = self._config.compile(workload).security
        return self._compiled[key]


def _asked(
    method: str, url: str, header: tuple[str, ...], principal: str | None, source_ip: str | None
) -> dict[str, Any]:
    from meshlib._authorize import RequestError, described_request

    headers: dict[str, list[str]] = {}
    for text in header:
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            message = f"{text!r} is not of the form 'name: value'"
            raise click.BadParameter(message, param_hint="--header")
        headers.setdefault(name.strip().lower(), []).append(value.strip())
    try:
        return described_request(
            method.upper(), url, headers=headers, principal=principal or None, source_ip=source_ip, claims=None
        )
    except RequestError as error:
        raise click.UsageError(str(error)) from None


def _rule_text(security: Security, decision: Decision) -> str:
    """Where the rule that decided stands, and what it wants; empty if none did."""
    for policy in (*security.custom, *security.deny, *security.allow):
        if f"{policy.namespace}/{policy.name}" == decision.policy and decision.rule is not None:
            rule, origin = policy.rules[decision.rule], policy.origin
            line = policy.lines[decision.rule] if decision.rule < len(policy.lines) else origin.line
            return f"{origin.file}:{line}: {rule.describe() or 'a rule that is about every request'}"
    return ""


def _nobody() -> str:
    from meshlib._engine.authz import NOBODY

    return NOBODY


def _tell_unaddressed(config: ConfigSet, workload: Workload) -> None:
    """Say on standard error that there are policies, but about others: who forgets the flags is allowed everything."""
    count = sum(1 for resource in config.resources if resource.kind == "AuthorizationPolicy")
    if count:
        labels = ",".join(f"{name}={value}" for name, value in sorted(workload.labels.items()))
        me = f"{workload.namespace} ({labels or 'without labels'})"
        click.echo(f"none of {count} AuthorizationPolicies is about {me}: -n and --label say who is called", err=True)


def _print_one(decision: Decision, output: str, rule: str) -> bool:
    from meshlib._authorize import decision_to_json

    if output == "json":
        click.echo(json.dumps(decision_to_json(decision), ensure_ascii=False))
        return not decision.allowed
    word = paint("allowed", "good") if decision.allowed else paint(f"denied ({decision.status})", "error")
    where = f" by AuthorizationPolicy {decision.policy}, rule {decision.rule}" if decision.policy else ""
    click.echo(f"{word}{where}: {decision.reason}")
    if rule:
        click.echo(f"  {rule}")
    if decision.shadow:
        click.echo(f"dry run: {decision.shadow}")
    return not decision.allowed


def _answer_lines(answers: _Answers, source: str) -> None:
    from meshlib._authorize import decision_to_json

    for place, line in read_lines(source):
        try:
            decision = answers.decide(_described(line, place))
        except ValueError as error:
            raise UnreadableError(f"{place}: {error}") from error
        click.echo(json.dumps(decision_to_json(decision), ensure_ascii=False))


def _described(line: bytes, place: str) -> Mapping[str, Any]:
    found = parsed_line(line)
    if not isinstance(found, Mapping):
        raise ValueError("expected a JSON object")
    for what, known in (("request", _REQUEST_KEYS), ("workload", _WORKLOAD_KEYS)):
        part = found.get(what)
        if isinstance(part, Mapping):
            tell_unknown(place, what, part, known)
    return found


def _report(config: ConfigSet, *, denied: bool) -> None:
    """Say on standard error what is wrong with the configuration."""
    errors = [finding for finding in config.findings if finding.level == "error"]
    if errors:
        for line in findings_text(errors, subject(config), paint=paint):
            click.echo(line, err=True)
    sys.exit(1 if denied or is_failure(errors) else 0)
