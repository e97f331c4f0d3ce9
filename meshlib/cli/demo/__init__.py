"""Bookinfo on loopback, governed by its Istio YAML: ``meshlib demo``."""
