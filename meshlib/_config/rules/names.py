"""Names, addresses and labels, as Istio checks them (pkg/config/validation/agent, pkg/config/labels)."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Final

__all__ = [
    "address_problem",
    "domain_problem",
    "fqdn_problem",
    "hosts_overlap",
    "is_address",
    "is_block",
    "is_label",
    "is_subset_of",
    "namespaced_host_problems",
    "partial_wildcard_problem",
    "sni_problem",
    "subnet_problem",
    "unix_problem",
]

_LABEL: Final = re.compile(r"[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?\Z")
_WILDCARD_LABEL: Final = re.compile(r"(?:\*|(?:\*|\*-)?[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?)\Z")
_LONGEST_LABEL: Final = 63
_LONGEST_DOMAIN: Final = 255
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,18}\Z")
_PREFIX_LENGTH: Final = re.compile(r"(?:0|[1-9][0-9]{0,2})\Z")
_OUTBOUND: Final = "outbound_"
_OUTBOUND_FORMAT: Final = "outbound_.<PORT>_._.<HOSTNAME>"


def is_label(text: str) -> bool:
    """A DNS label: letters, digits and inner hyphens, at most 63 of them."""
    return len(text) <= _LONGEST_LABEL and _LABEL.match(text) is not None


# -- host names ------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def fqdn_problem(name: str) -> str:
    """What is wrong with a host name; empty if nothing is."""
    return _length_problem(name) or _labels_problem(name)


@lru_cache(maxsize=4096)
def domain_problem(name: str) -> str:
    """What is wrong with a host name that may begin with a wildcard; empty if nothing is."""
    problem = _length_problem(name)
    if problem:
        return problem
    first, dot, rest = name.partition(".")
    if len(first) > _LONGEST_LABEL or _WILDCARD_LABEL.match(first) is None:
        return f'domain name "{name}" invalid (label "{first}" invalid)'
    return _labels_problem(rest) if dot else ""


def _length_problem(name: str) -> str:
    if not name:
        return "empty domain name not allowed"
    if len(name.encode("utf-8", "replace")) > _LONGEST_DOMAIN:
        return f'domain name "{name}" too long (max {_LONGEST_DOMAIN})'
    return ""


def _labels_problem(name: str) -> str:
    labels = name.split(".")
    if _NUMBER.match(labels[-1]) is not None:
        return f'domain name "{name}" invalid (top level domain "{labels[-1]}" cannot be all-numeric)'
    if not labels[-1]:
        labels.pop()  # a final dot
    for label in labels:
        if not is_label(label):
            return f'domain name "{name}" invalid (label "{label}" invalid)'
    return ""


def sni_problem(name: str) -> str:
    """As a domain, or the name that a gateway in AUTO_PASSTHROUGH mode sees: ``outbound_.<port>_._.<host>``."""
    problem = _length_problem(name)
    if problem or not name.startswith(_OUTBOUND):
        return problem or domain_problem(name)
    parts = name.split("_")
    if len(parts) < 4:
        return f"domain name {name} invalid, should follow '{_OUTBOUND_FORMAT}' format"
    port, host = parts[1].strip("."), parts[3].strip(".")
    for part, wanted in ((port, r"[0-9]"), (host, r"[a-zA-Z]")):
        if re.search(wanted, part) is None:
            return f'domain name "{name}" invalid (label "{part}" invalid). should follow {_OUTBOUND_FORMAT} format'
    return ""


def partial_wildcard_problem(host: str) -> str:
    """A wildcard stands alone or for whole first labels."""
    if "*" in host and len(host) != 1 and not host.startswith("*."):
        return f'partial wildcard "{host}" not allowed'
    return ""


def namespaced_host_problems(host: str, kind: str, *, takes_none: bool = False) -> list[str]:
    """What is wrong with ``namespace/host`` of a ``gateway`` (where a host alone is fine) or a ``sidecar``."""
    namespace, slash, name = host.partition("/")
    if not slash:
        return _bare_host_problems(host, kind) if kind == "gateway" else ["host must be of form namespace/dnsName"]
    problems = []
    if not namespace or not name:
        problems.append("config namespace and dnsName in host entry cannot be empty")
    if not _is_namespace(namespace, kind, takes_none=takes_none):
        problems.append(f'invalid namespace value "{namespace}" in {kind}')
    return problems + _bare_host_problems(name, kind)


def _is_namespace(namespace: str, kind: str, *, takes_none: bool) -> bool:
    if kind == "sidecar":
        namespace = namespace.removeprefix("~")  # excluded
        return namespace in ("", "*", ".") or is_label(namespace)
    return namespace in ("*", ".") or (namespace == "~" and takes_none) or is_label(namespace)


def _bare_host_problems(name: str, kind: str) -> list[str]:
    problems = []
    if name != "*" and "." not in name:
        problems.append("short names (non FQDN) are not allowed")
    wrong = domain_problem(name)
    if wrong and (kind == "sidecar" or not is_address(name)):
        problems.append(wrong)
    partial = partial_wildcard_problem(name)
    return [*problems, partial] if partial else problems


def hosts_overlap(one: str, other: str) -> bool:
    """Whether two host names, each possibly a wildcard, can be about the same host (host.Name.Matches)."""
    if one.startswith("*") and other.startswith("*"):
        shorter, longer = sorted((one, other), key=len)
        return longer[1:].endswith(shorter[1:])
    if one.startswith("*"):
        return other.endswith(one[1:])
    return one.endswith(other[1:]) if other.startswith("*") else one == other


def is_subset_of(host: str, owner: str) -> bool:
    """Whether every host that ``host`` stands for is one of ``owner`` (host.Name.SubsetOf)."""
    if not owner.startswith("*"):
        return host == owner and not host.startswith("*")
    if host.startswith("*"):
        return len(host) >= len(owner) and host[1:].endswith(owner[1:])
    return host.endswith(owner[1:])


# -- addresses -------------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def is_address(text: str) -> bool:
    """An IPv4 or IPv6 address, the latter perhaps with a zone."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def address_problem(text: str) -> str:
    """What is wrong with an address; empty if nothing is."""
    return "" if is_address(text) else f"{text} is not a valid IP"


def is_block(text: str) -> bool:
    """An address and the length of its prefix, such as 10.0.0.0/8; no zone."""
    address, _, length = text.rpartition("/")
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return _PREFIX_LENGTH.match(length) is not None and is_address(address) and "%" not in text


def subnet_problem(text: str) -> str:
    """What is wrong with an address or a block; empty if nothing is."""
    if text.count("/") != 1:
        return address_problem(text)
    return "" if is_block(text) else f"{text} is not a valid CIDR block"


def unix_problem(path: str) -> str:
    """What is wrong with the path of a Unix socket, written without ``unix://``."""
    if not path:
        return "unix address must not be empty"
    if path.startswith("@") or (path.startswith("/") and not path.endswith("/")):
        return ""
    return f"{path} is not an absolute path to a file"
