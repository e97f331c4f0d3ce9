"""Choosing one endpoint of a cluster. One file per algorithm, all behind :class:`Balancer`."""

from meshlib._engine.balancing.base import Balancer, Host
from meshlib._engine.balancing.consistent import HashTable
from meshlib._engine.balancing.factory import make_balancer

__all__ = ["Balancer", "HashTable", "Host", "make_balancer"]
