"""DNS for clusters whose endpoints are names: looked up in the background, never while a request waits."""

from meshlib._names.lookup import Answer, Lookup, system_lookup
from meshlib._names.records import Names
from meshlib._names.resolver import Resolver

__all__ = ["Answer", "Lookup", "Names", "Resolver", "system_lookup"]
