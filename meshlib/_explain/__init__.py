"""Explanations: a snapshot and a request in, what would happen and why out."""

from __future__ import annotations

from meshlib._explain.candidates import with_candidates
from meshlib._explain.explain import explain
from meshlib._explain.explanation import Explanation
from meshlib._explain.requests import request_from_json, workload_from_json

__all__ = ["Explanation", "explain", "request_from_json", "with_candidates", "workload_from_json"]
