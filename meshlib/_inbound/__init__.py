"""Requests that arrive: what all server adapters have in common."""
