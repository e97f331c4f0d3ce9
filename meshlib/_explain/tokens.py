"""What a gateway does before it looks for a route: it checks the tokens of the request (semantics 0.1)."""

from __future__ import annotations

from meshlib._engine.inbound import Authenticate
from meshlib._engine.jwt import Unauthorized
from meshlib._explain.explanation import Explanation
from meshlib._http import Headers, RequestHead
from meshlib._snapshot.snapshot import Snapshot

__all__ = ["pass_gateway"]


def pass_gateway(snapshot: Snapshot, request: RequestHead, check: Authenticate, said: str) -> RequestHead | Explanation:
    """The request as routes see it, with claims and their headers, or the refusal of its token.

    Only at a gateway: the token rules of other workloads are about what arrives there.
    """
    if snapshot.unlisted is not None or snapshot.security.authentication is None:
        return request
    answer = check(request)
    if isinstance(answer, Unauthorized):
        return Explanation(
            outcome="unauthorized",
            request=said,
            status=answer.status,
            body=answer.body.encode(),
            response_headers={name: (value,) for name, value in answer.headers},
        )
    headers = Headers(request.headers)
    for name in answer.remove_headers:
        headers.popall(name, None)
    for name, value in answer.set_headers:
        headers[name] = value
    path = request.path if answer.path is None else answer.path
    passed = RequestHead(
        request.method, request.scheme, request.authority, path, headers, port=request.port, host=request.host
    )
    passed.claims = dict(answer.claims) if answer.has_token else request.claims
    return passed
