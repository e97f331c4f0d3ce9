"""The codes of what Istio's own rules refuse (MESH070–MESH089); see :mod:`meshlib._config.rules`."""

from __future__ import annotations

from meshlib._config.code_info import CodeInfo, row

__all__ = ["ISTIO_CODES"]

ISTIO_CODES: dict[str, CodeInfo] = {
    "MESH070": row(
        "error",
        "host or name not valid",
        "A host, gateway or other name breaks the rules that Istio's admission webhook has for it.",
        "correct the name as the message says",
    ),
    "MESH071": row(
        "error",
        "port or protocol not valid",
        "A port, its name or its protocol is one that Istio refuses here.",
        "correct the port as the message says",
    ),
    "MESH072": row(
        "error",
        "TLS settings do not fit",
        "The TLS mode, its certificates and the protocol of the port contradict each other.",
        "give the mode the certificates that it needs, from one source",
    ),
    "MESH073": row(
        "error",
        "route not valid",
        "The parts of a route exclude each other, or a value is one that Istio refuses.",
        "keep one action, and correct the value that the message names",
    ),
    "MESH074": row(
        "error",
        "match not valid",
        "A condition of a route can never be what was meant: it is empty, or Istio does not know it.",
        "correct or remove the condition",
    ),
    "MESH075": row(
        "error",
        "header not valid",
        "The name or the value of a header cannot be matched, set or removed.",
        "correct the header; pseudo headers and Host have their own fields",
    ),
    "MESH076": row(
        "error",
        "exportTo not valid",
        "exportTo takes namespaces, . for the own one and * for all, each once.",
        "keep the entries that are meant",
    ),
    "MESH077": row(
        "error",
        "subset or weight not valid",
        "Subsets have names of their own, and several targets a weight above zero in all.",
        "rename the subset, or write the weights",
    ),
    "MESH078": row(
        "error",
        "traffic policy not valid",
        "Parts of a traffic policy contradict each other or need one another.",
        "correct the policy as the message says",
    ),
    "MESH079": row(
        "error",
        "policy not valid",
        "A rule, condition or attachment of a policy is one that Istio refuses.",
        "correct the rule as the message says",
    ),
    "MESH080": row(
        "error",
        "listener not valid",
        "A Gateway or Sidecar listens where it cannot, twice, or for no host.",
        "correct the server or listener as the message says",
    ),
    "MESH081": row(
        "error",
        "address not valid",
        "An address, block, socket or endpoint is not of the form that its place needs.",
        "write an IP address, a block such as 10.0.0.0/8, or a host name where names are allowed",
    ),
    "MESH082": row(
        "error",
        "token rule not valid",
        "A rule for tokens has no issuer, or its keys cannot be read.",
        "add the issuer, or correct the JSON of the keys",
    ),
    "MESH083": row(
        "error",
        "extension not valid",
        "An expression, tag or patch is one that Istio refuses.",
        "correct it as the message says",
    ),
    "MESH084": row(
        "error",
        "regular expression not valid",
        "The expression breaks RE2's syntax, or is longer than the 1024 characters that Istio allows.",
        "write it in RE2's syntax: no look-around, no back-references",
    ),
    "MESH085": row(
        "warning",
        "Istio warns about this",
        "Istio takes the resource, and tells whoever applies it that something is hardly meant or deprecated.",
        "follow the message, or keep it knowingly",
    ),
}
