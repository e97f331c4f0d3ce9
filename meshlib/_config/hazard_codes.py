"""The codes of hazards (MESH135–MESH189): configuration that is right, and still hurts; see ``meshlib._analyze``."""

from __future__ import annotations

from meshlib._config.code_info import CodeInfo, row

__all__ = ["HAZARD_CODES"]

HAZARD_CODES: dict[str, CodeInfo] = {
    "MESH135": row(
        "warning",
        "retries longer than the timeout",
        "All tries together may take longer than the timeout of the route, so the last ones never happen or are cut.",
        "raise the timeout, or lower attempts or perTryTimeout",
    ),
    "MESH136": row(
        "warning",
        "unsafe requests are repeated",
        "The route takes POST or PATCH requests and repeats them after an answer of the server, which may have acted.",
        "match the methods that are safe, narrow retryOn, or set retrySafety: idempotent in a ClientPolicy",
    ),
    "MESH137": row(
        "warning",
        "retries multiply along a chain",
        "Each service of a chain repeats its calls: when the last one fails, it gets the product of all tries.",
        "retry at one place of the chain, or give the others a retry budget",
    ),
    "MESH138": row(
        "info",
        "retries without a budget",
        "Nothing bounds the retries that are under way at once, so that an outage multiplies its own load.",
        "set trafficPolicy.retryBudget or connectionPool.http.maxRetries in a DestinationRule of the host",
    ),
    "MESH139": row(
        "warning",
        "failover that never happens",
        "Traffic leaves a locality only when its endpoints are ejected, and nothing ejects them.",
        "add outlierDetection beside the locality settings",
    ),
    "MESH140": row(
        "warning",
        "ejection that never happens",
        "One endpoint of so few is a larger share than maxEjectionPercent (10 if not set) allows, so none is ejected.",
        "raise maxEjectionPercent, or run more endpoints",
    ),
    "MESH141": row(
        "warning",
        "fault in production",
        "A fault is injected in a namespace whose name says production.",
        "remove the fault, or move it to another namespace",
    ),
    "MESH142": row(
        "warning",
        "policy that denies everything",
        "Every request to the workloads of the policy is denied, whatever other policies say.",
        "give the rule a from, to or when",
    ),
    "MESH143": row(
        "warning",
        "policy that denies nothing",
        "An ALLOW policy with an empty rule lets every request in, so that other ALLOW policies have no effect.",
        "give the rule a from, to or when, or remove the policy",
    ),
    "MESH144": row(
        "warning",
        "allowed by exception only",
        "An ALLOW rule says only what it is not: everybody else is let in, also who has no identity at all.",
        "name who or what is allowed, and put the exceptions into a DENY policy",
    ),
    "MESH145": row(
        "warning",
        "token not required",
        "Tokens are checked where there are some, but a request without any passes: no policy asks for one.",
        "add an AuthorizationPolicy with requestPrincipals, or a DENY with notRequestPrincipals",
    ),
    "MESH146": row(
        "warning",
        "regular expression that explodes",
        "A repeat within a repeat can match the same text in very many ways: engines that backtrack hang on it.",
        "let the inner part begin or end with something that the rest of it cannot match",
    ),
    "MESH147": row(
        "warning",
        "weight to a subset without endpoints",
        "A share of the requests is sent to a subset that no endpoint belongs to: each of them fails with 503.",
        "correct the labels of the subset, or take its weight away until it has endpoints",
    ),
    "MESH148": row(
        "info",
        "field approximated",
        "The field works here, with a difference to Istio.",
        "read the note, and decide whether the difference matters",
    ),
    "MESH149": row(
        "warning",
        "route in the shadow of another",
        "An earlier rule takes every request of this match, by the beginning of its path.",
        "move the more specific rule before the general one",
    ),
}
