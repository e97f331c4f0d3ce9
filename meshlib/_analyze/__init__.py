"""Analysis: what is wrong between resources, in Istio's messages, and hazards that Istio does not look for."""

from __future__ import annotations
