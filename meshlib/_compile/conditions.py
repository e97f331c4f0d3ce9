"""From the values of an authorization rule to compiled conditions (semantics 6.4).

Every list is read twice: as what must hold and as what must not. What cannot be
understood never lets a request through: in an ALLOW it makes its list never match, in
all other actions always; in a ``not`` list it is the other way round.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_network
from typing import Final

from meshlib._compile.findings import Findings
from meshlib._snapshot.conditions import (
    PATH,
    AddressCondition,
    Always,
    Blocks,
    ClaimCondition,
    Condition,
    HeaderCondition,
    Known,
    Never,
    Not,
    PortCondition,
    RequestPrincipalCondition,
    TextCondition,
    TextSet,
)
from meshlib._snapshot.inbound import Address, InboundRequest
from meshlib._snapshot.routes import Origin

__all__ = ["Conditions", "PatternProgram", "text_set"]

_SCHEME: Final = "spiffe://"
_CERTIFICATES: Final = "x-forwarded-client-cert"
_LITERAL: Final = r"[a-zA-Z0-9\-._~%!$&'()*+,;:@=]"
"""What a path template takes for a character of a segment (uri_template_internal; observed on Envoy 1.39)."""
_CLAIM_KEY: Final = re.compile(r"request\.auth\.claims((?:\[[^\[\]]+\])+)\Z")
_HEADER_KEY: Final = re.compile(r"request\.headers\[([^\[\]]+)\]\Z")


class PatternProgram:
    """A regular expression of ours that must match the whole text."""

    __slots__ = ("_match", "pattern")

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self._match = re.compile(pattern).fullmatch

    def matches(self, text: str) -> bool:
        """True if the whole text matches."""
        return self._match(text) is not None

    def __repr__(self) -> str:
        return f"<PatternProgram {self.pattern}>"


def text_set(values: Iterable[str], *, before: str = "") -> TextSet:
    """String forms: ``*`` any, ``*x`` suffix, ``x*`` prefix, else exact. ``before`` stands before exact and prefix."""
    written = tuple(values)
    exact, prefixes, suffixes = set(), [], []
    for value in written:
        if value == "*":
            continue
        if value.startswith("*"):
            suffixes.append(value[1:])
        elif value.endswith("*"):
            prefixes.append(before + value[:-1])
        else:
            exact.add(before + value)
    return TextSet(written, frozenset(exact), tuple(prefixes), tuple(suffixes), has_any="*" in written)


# -- what is read of a request -----------------------------------------------------------------------


def _host(request: InboundRequest) -> str:
    return request.head.authority.lower()


def _method(request: InboundRequest) -> str:
    return request.head.method


def _path(request: InboundRequest) -> str:
    return request.head.path_only


def _peer(request: InboundRequest) -> str:
    return request.peer


def _sni(request: InboundRequest) -> str:
    return request.sni or ""


def _tells_sni(request: InboundRequest) -> bool:
    return request.sni is not None


def _tells_certificates(request: InboundRequest) -> bool:
    """Envoy adds an element with the hash of the peer's certificate, which servers do not show."""
    return not request.peer or _CERTIFICATES in request.head.headers


def _source(request: InboundRequest) -> Address | None:
    return request.source


def _remote(request: InboundRequest) -> Address | None:
    return request.remote


def _destination(request: InboundRequest) -> Address | None:
    return request.destination


class NotUnderstoodError(ValueError):
    """A value that has no meaning here."""


Maker = Callable[[Sequence[str]], Condition]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Makes the conditions of one policy. ``allows`` is whether its action is ALLOW."""

    namespace: str
    allows: bool
    trust_domains: tuple[str, ...]
    origin: Origin
    findings: Findings

    # -- lists ----------------------------------------------------------------------------------------

    def both(self, make: Maker, field: str, values: Sequence[str], not_values: Sequence[str]) -> list[Condition]:
        """The condition of a list and that of its ``not`` list, as far as they are written."""
        made = []
        if values:
            condition = self._made(make, field, values, doubt=self.doubt)
            made.append(condition if condition is None else self._if_known(condition, condition))
        if not_values:
            name = f"not{field[0].upper()}{field[1:]}"
            condition = self._made(make, name, not_values, doubt=None)
            written = f"{name} [{', '.join(not_values)}]"
            made.append(self.doubt(written) if condition is None else self._if_known(condition, Not(condition)))
        return [condition for condition in made if condition is not None]

    def _if_known(self, condition: Condition, wanted: Condition) -> Condition:
        """``wanted``, which is about what ``condition`` reads: where a server cannot tell, nobody is let through."""
        if isinstance(condition, AddressCondition):
            read = condition.read
            return Known(wanted, lambda request: read(request) is not None, not self.allows)
        if isinstance(condition, TextCondition) and condition.read is _sni:
            return Known(wanted, _tells_sni, not self.allows)
        if isinstance(condition, HeaderCondition) and condition.header == _CERTIFICATES:
            return Known(wanted, _tells_certificates, not self.allows)
        return wanted

    def _made(
        self, make: Maker, field: str, values: Sequence[str], *, doubt: Callable[[str], Condition] | None
    ) -> Condition | None:
        try:
            return make(values)
        except NotUnderstoodError as error:
            self.findings.add("MESH090", self.origin, f"{field}: {error}", field=field)
            return None if doubt is None else doubt(f"{field} [{', '.join(values)}]")

    def doubt(self, written: str) -> Condition:
        """What stands for a condition that cannot be understood: it never lets a request through."""
        return Never(written) if self.allows else Always(written)

    # -- who --------------------------------------------------------------------------------------------

    def principals(self, values: Sequence[str]) -> Condition:
        """``<trust domain>/ns/<namespace>/sa/<account>``; our own trust domains stand for each other."""
        expanded = [one for value in values for one in self._aliases(value)]
        made = text_set(expanded, before=_SCHEME)
        return TextCondition("principal", _peer, _renamed(made, values))

    def _aliases(self, principal: str) -> list[str]:
        """The principal in all trust domains of the mesh, if it is in one of them (semantics 6.5)."""
        domain, _, rest = principal.partition("/")
        if principal.count("/") != 4 or domain == "*":
            return [principal]
        pattern = text_set([domain])
        if domain != "cluster.local" and not any(map(pattern.matches, self.trust_domains)):
            return [principal]
        # Asked of Istio 1.31: *.td stays as it is beside those of our trust domains that do not end so.
        suffix = domain[1:] if domain.startswith("*") else None
        return [
            principal if suffix is not None and alias.endswith(suffix) else f"{alias}/{rest}"
            for alias in self.trust_domains
        ]

    def namespaces(self, values: Sequence[str]) -> Condition:
        """The namespace in the peer's SPIFFE id; ``*`` anywhere."""
        patterns = [rf".*/ns/{'.*'.join(map(re.escape, value.split('*')))}/.*" for value in values]
        return TextCondition("namespace", _peer, _programs(values, patterns))

    def service_accounts(self, values: Sequence[str]) -> Condition:
        """``<namespace>/<account>``, or an account of the policy's namespace."""
        patterns = []
        for value in values:
            namespace, slash, account = value.rpartition("/")
            if not slash:
                namespace = self.namespace
            patterns.append(rf"spiffe://.+/ns/{re.escape(namespace)}/(?:.+/|)sa/{re.escape(account)}(?:/.+)?")
        return TextCondition("serviceAccount", _peer, _programs(values, patterns))

    def peer_domains(self, values: Sequence[str]) -> Condition:
        """The trust domain of the peer's SPIFFE id; our own stand for each other where one is written out."""
        patterns = []
        own = self.trust_domains
        # Asked of Istio 1.31: forms with * are left alone, and so is "cluster.local" where it is none of ours.
        for value in dict.fromkeys(name for one in values for name in (own if one in own else (one,))):
            if value == "*":
                patterns.append("spiffe://.*")
            elif value.startswith("*"):
                patterns.append(rf"spiffe://[^/]*{re.escape(value[1:])}/.*")
            elif value.endswith("*"):
                patterns.append(rf"spiffe://{re.escape(value[:-1])}[^/]*/.*")
            else:
                patterns.append(rf"spiffe://{re.escape(value)}/.*")
        return TextCondition("trustDomain", _peer, _programs(values, patterns))

    def request_principals(self, values: Sequence[str]) -> Condition:
        """``<iss>/<sub>``, split at the last slash; a form without one is about one of the two."""
        return RequestPrincipalCondition(tuple(values), tuple(map(_issuer_and_subject, values)))

    # -- where from ---------------------------------------------------------------------------------------

    def ip_blocks(self, values: Sequence[str]) -> Condition:
        """The address of the direct peer."""
        return AddressCondition("source.ip", _source, _blocks(values))

    def remote_ip_blocks(self, values: Sequence[str]) -> Condition:
        """The address of the original client."""
        return AddressCondition("remote.ip", _remote, _blocks(values))

    def destination_ips(self, values: Sequence[str]) -> Condition:
        """Our own address."""
        return AddressCondition("destination.ip", _destination, _blocks(values))

    # -- what ---------------------------------------------------------------------------------------------

    def hosts(self, values: Sequence[str]) -> Condition:
        """The Host header with its port, in any case."""
        return TextCondition("host", _host, _renamed(text_set(value.lower() for value in values), values))

    def methods(self, values: Sequence[str]) -> Condition:
        """The method, as written."""
        return TextCondition("method", _method, text_set(values))

    def paths(self, values: Sequence[str]) -> Condition:
        """The path without its query; a value with ``{*}`` or ``{**}`` is a template for all of it."""
        plain = text_set(value for value in values if not _is_template(value))
        templates = tuple(PatternProgram(_template(value)) for value in values if _is_template(value))
        made = TextSet(tuple(values), plain.exact, plain.prefixes, plain.suffixes, templates, plain.has_any)
        return TextCondition(PATH, _path, made)

    def ports(self, values: Sequence[str]) -> Condition:
        """The port of the workload."""
        numbers = set()
        for value in values:
            if not value.isascii() or not value.isdigit() or int(value) > 65535:
                raise NotUnderstoodError(f"{value!r} is not a port between 0 and 65535")
            numbers.add(int(value))
        return PortCondition(frozenset(numbers))

    def server_names(self, values: Sequence[str]) -> Condition:
        """The server name of the TLS handshake."""
        return TextCondition("connection.sni", _sni, text_set(values))

    # -- when ---------------------------------------------------------------------------------------------

    def when(self, key: str) -> tuple[Maker, bool] | None:
        """What makes the condition of a ``when`` key, and whether it needs HTTP; None for an unknown key."""
        if (header := _HEADER_KEY.match(key)) is not None:
            return partial(_header, header[1].lower()), True
        if (claim := _CLAIM_KEY.match(key)) is not None:
            path = tuple(claim[1][1:-1].split("]["))
            return partial(_claim, path), True
        makers: dict[str, tuple[Maker, bool]] = {
            "source.ip": (self.ip_blocks, False),
            "remote.ip": (self.remote_ip_blocks, False),
            "source.namespace": (self.namespaces, False),
            "source.principal": (self.principals, False),
            "source.serviceAccount": (self.service_accounts, False),
            "source.trustDomain": (self.peer_domains, False),
            "destination.ip": (self.destination_ips, False),
            "destination.port": (self.ports, False),
            "connection.sni": (self.server_names, False),
            "request.auth.principal": (self.request_principals, True),
            "request.auth.audiences": (partial(_claim, ("aud",)), True),
            "request.auth.presenter": (partial(_claim, ("azp",)), True),
        }
        return makers.get(key)


def _header(name: str, values: Sequence[str]) -> Condition:
    return HeaderCondition(name, text_set(values), is_present="*" in values)


def _claim(path: tuple[str, ...], values: Sequence[str]) -> Condition:
    return ClaimCondition(path, text_set(values))


def _renamed(made: TextSet, written: Sequence[str]) -> TextSet:
    return TextSet(tuple(written), made.exact, made.prefixes, made.suffixes, made.programs, made.has_any)


def _programs(written: Sequence[str], patterns: Iterable[str]) -> TextSet:
    return TextSet(tuple(written), programs=tuple(map(PatternProgram, patterns)))


def _issuer_and_subject(value: str) -> tuple[TextSet, TextSet]:
    """The forms of the two parts. A star is one at either end of the whole value only (asked of Istio 1.31).

    So ``*/*`` is any issuer and the subject ``*``; ``a*/b`` is the issuer ``a*``.
    """
    anything = text_set(["*"])
    issuer, slash, subject = value.rpartition("/")
    if value == "*":
        return anything, anything
    if value.startswith("*"):
        return (text_set([issuer]), _literal(subject)) if slash else (anything, text_set([value]))
    if value.endswith("*"):
        if not slash:
            return text_set([value]), anything
        return _literal(issuer), anything if subject == "*" else TextSet((subject,), prefixes=(subject[:-1],))
    return (_literal(issuer), _literal(subject)) if slash else (_literal(value), _literal(""))


def _literal(text: str) -> TextSet:
    return TextSet((text,), frozenset({text}))


def _blocks(values: Sequence[str]) -> Blocks:
    networks: dict[tuple[int, int], set[int]] = {}
    for value in values:
        try:
            network = ip_network(value, strict=False)
        except ValueError:
            raise NotUnderstoodError(f"{value!r} is neither an IP address nor a block such as 10.0.0.0/8") from None
        # As in Envoy, ::ffff:10.0.0.1 is no IPv4 address here; of the client's address it is another way to write one.
        version, number = network.version, int(network.network_address)
        bits = network.max_prefixlen - network.prefixlen
        networks.setdefault((version, bits), set()).add(number >> bits)
    return Blocks(
        tuple(values), tuple((version, bits, frozenset(found)) for (version, bits), found in networks.items())
    )


def _is_template(value: str) -> bool:
    return "{*}" in value or "{**}" in value


def _template(value: str) -> str:
    """The regular expression of a path template; a ``*`` that is a whole segment acts as ``{*}``."""
    if not value.startswith("/"):
        raise NotUnderstoodError(f"the path template {value!r} does not begin with /")
    segments = value.replace("{**}", "**").replace("{*}", "*").split("/")[1:]
    parts = []
    for position, segment in enumerate(segments):
        if segment == "**":
            if any("*" in later for later in segments[position + 1 :]):
                raise NotUnderstoodError(f"{value!r}: nothing but plain segments may follow {{**}}")
            parts.append(rf"(?:{_LITERAL}|/)*")
        elif segment == "*":
            parts.append(f"{_LITERAL}+")
        elif "*" in segment or "{" in segment or "}" in segment:
            raise NotUnderstoodError(f"{value!r}: {{*}} and {{**}} must be whole segments of a path template")
        else:
            parts.append(re.escape(segment))
    return "/" + "/".join(parts)
