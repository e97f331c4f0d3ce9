"""Choosing one endpoint of a cluster. One file per algorithm, all behind :class:`Balancer`."""

from meshlib._engine.balancing.base import Balancer, Host
from meshlib._engine.balancing.consistent import HashTable
from meshlib._engine.balancing.factory import make_balancer
from meshlib._engine.balancing.pools import make_pools
from meshlib._engine.balancing.tiers import TieredBalancer

__all__ = ["Balancer", "HashTable", "Host", "TieredBalancer", "make_balancer", "make_pools"]
