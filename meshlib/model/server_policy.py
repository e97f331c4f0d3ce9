"""ServerPolicy: our own kind, for what Istio has no field for on the serving side. Opt-in.

``apiVersion: meshlib.dev/v1alpha1``.
"""

from __future__ import annotations

from meshlib.model.base import Maybe, Spec
from meshlib.model.client_policy import CircuitBreaker, Deadline, Fallback
from meshlib.model.selectors import TypeWorkloadSelector

__all__ = ["ServerPolicySpec"]


class ServerPolicySpec(Spec, frozen=True, kw_only=True):
    """What workloads in ``selector`` (absent: of the namespace) do beyond Istio with inbound requests.

    ``deadline`` is taken over from the request; ``circuit_breaker`` watches the handler,
    and ``fallback`` answers in its place.
    """

    selector: Maybe[TypeWorkloadSelector] = None
    fallback: Maybe[Fallback] = None
    circuit_breaker: Maybe[CircuitBreaker] = None
    deadline: Maybe[Deadline] = None
